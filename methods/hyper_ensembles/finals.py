"""What each arm adds: its own training, if any, and its measure."""

from typing import Any

import jax
import jax.numpy as jnp

from kd_jax import experiment
from kd_jax.methods.hyper_ensembles import choosing, greedy, judging, pools
from kd_jax.methods.hyper_ensembles.arms import ARMS, NAMES
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.pools import Regime

PyTree = Any


def arm_phases(
  regime: Regime, name: str, config: Config, hows: list[str]
) -> list[experiment.Phase | experiment.WholeRun]:
  """What an arm adds to the shared phases.

  Args:
    regime: its regime.
    name: its name.
    config: its configuration.
    hows: the chosen ensembles of its regime, in the order of their measures.

  Returns:
    Its training, if it has one, and its measure "final".
  """
  arm = ARMS[NAMES[name][1]]
  if arm.kind == "chosen":
    return _chosen(regime, name, config, arm, hows)
  make = {
    "random": _random,
    "batch": _batch,
    "hyper": _tuned,
    "stn": _tuned,
  }[arm.kind]
  return make(regime, name, config, arm)


def _final(regime, name, plan, of_seed, samples=0):
  """The measure of an arm: `of_seed` gives (members, weights)."""

  def run(products, data, seed):
    def one(place):
      members, weights = of_seed(products, data["learn"], place)
      return judging.fare(plan, members, weights, place, data["test"], samples)

    numbers, figures = choosing.over_seeds(one, plan.config.seeds)
    return figures, numbers

  tables = regime.tables
  return experiment.WholeRun(
    "final", run, data={"learn": tables.learn, "test": tables.test}, arm=name
  )


def judge(regime: Regime, hows: list[str]) -> experiment.WholeRun:
  """Measures all chosen ensembles in one program; `_chosen` reads it."""
  plan = regime.plan(regime.config, "single")

  def run(products, data, seed):
    def one(place):
      found = [
        padded(
          *choosing.committee(products, regime, how, place), plan.config.members
        )
        for how in hows
      ]
      members, weights = jax.tree.map(lambda *x: jnp.stack(x), *found)
      return jax.lax.map(
        lambda of: judging.fare(plan, *of, place, data["test"]),
        (members, weights),
      )

    numbers, figures = choosing.over_seeds(one, plan.config.seeds)
    return {"numbers": numbers, "figures": figures}, {}

  return experiment.WholeRun(
    regime.key("judged"), run, data={"test": regime.tables.test}
  )


def padded(
  members: PyTree, weights: jax.Array, k: int
) -> tuple[PyTree, jax.Array]:
  """A committee with k places; those that are added have a weight of 0.

  Args:
    members: stacked.
    weights: of each.
    k: places.

  Returns:
    The committee.
  """
  fill = jnp.minimum(jnp.arange(k), len(weights) - 1)
  return jax.tree.map(lambda x: x[fill], members), jnp.pad(
    weights, (0, k - len(weights))
  )


def _chosen(regime, name, config, arm, hows):
  place = hows.index(arm.how)

  def run(products, data, seed):
    judged = products[regime.key("judged")]
    own = jax.tree.map(lambda x: x[:, place], judged)
    return own["figures"], own["numbers"]

  return [experiment.WholeRun("final", run, arm=name)]


def _random(regime, name, config, arm):
  """As many trainings as stratification may take, each from its own start."""
  k = config.members
  count = config.runs + k * (k - 1)
  plan = regime.plan(config, "single", count)

  def choose(products, seed, place):
    own = pools.member_seeds(seed, pools.RANDOM, count)
    lams = pools.lambdas(plan, seed, count, pools.EXTRA)
    return pools.Trainings(own, lams)

  def of_seed(products, data, place):
    members = jax.tree.map(lambda x: x[place], products[f"{name}.search"])
    p, labels = choosing.probabilities(plan, members, place, data)
    found = greedy.select(p, labels, k, objective=config.objective)
    picks, weights = greedy.members(found.counts, k)
    return jax.tree.map(lambda x: x[picks], members), weights

  return [
    pools.phase(regime, plan, "search", name, count, choose),
    _final(regime, name, plan, of_seed),
  ]


def _batch(regime, name, config, arm):
  """Batch ensembles: with the best single network's lambda, or a search."""
  count = 1 if arm.how == "best" else config.runs
  plan = regime.plan(config, "batch", count)
  even = jnp.full(config.members, 1 / config.members)

  def choose(products, seed, place):
    start = jnp.broadcast_to(pools.member_seed(seed, 0), (count,))
    if arm.how == "best":
      lams = products[regime.key("chosen")]["lams"]
      return pools.Trainings(start, jnp.asarray(lams)[place, :1])
    # As the search of single networks: one start, each run's own order.
    own = pools.member_seeds(seed, pools.SEARCH, count)
    return pools.Trainings(own, pools.lambdas(plan, seed, count), start)

  def of_seed(products, data, place):
    members = jax.tree.map(lambda x: x[place], products[f"{name}.train"])
    if count > 1:
      p, labels = choosing.probabilities(plan, members, place, data)
      best = greedy.score(p, labels, config.objective).argmin()
      members = jax.tree.map(lambda x: x[best][None], members)
    return members, even

  return [
    pools.phase(regime, plan, "train", name, count, choose),
    _final(regime, name, plan, of_seed),
  ]


def _tuned(regime, name, config, arm):
  """Hyper-batch ensembles and self-tuning networks."""
  plan = regime.plan(config, arm.kind)
  samples = config.hyper.samples
  each = plan.members * (1 + samples)

  def choose(products, seed, place):
    return pools.Trainings(pools.member_seed(seed, 0)[None])

  def of_seed(products, data, place):
    members = jax.tree.map(lambda x: x[place], products[f"{name}.train"])
    return members, jnp.full(each, 1 / each)

  return [
    pools.phase(regime, plan, "train", name, 1, choose),
    _final(regime, name, plan, of_seed, samples),
  ]
