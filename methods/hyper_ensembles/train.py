"""The phases: search, selection, strata, selection again; each arm's own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.methods.hyper_ensembles import (
  choosing,
  greedy,
  judging,
  learner,
  pools,
)
from kd_jax.methods.hyper_ensembles import data as data_
from kd_jax.methods.hyper_ensembles.arms import ARMS, NAMES, in_regime, of_arm
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.pools import Regime

PyTree = Any
Say = Callable[[str], None]
STRATIFIED = ("deep", "hyper_deep", "hyper_deep_once")


def phases(
  config: Config, data: Mapping[str, Any], say: Say
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own by role ("images", "foreign"), for the configured
      regime.
    say: takes lines of news, the costs among them.

  Returns:
    For each regime its search and strata, as far as its arms need them; then
    what each arm adds.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  regimes: dict[str, Regime] = {}
  for name in config.arms:
    regime = NAMES[name][0]
    if regime not in regimes:
      own = in_regime(config, regime)
      tables = data_.load(own, {} if regime else data, say)
      regimes[regime] = Regime(regime, own, tables)
  found: list[Any] = []
  for regime in regimes.values():
    names = [n for n in config.arms if NAMES[n][0] == regime.name]
    found += shared(regime, [NAMES[n][1] for n in names], say)
  for name in config.arms:
    regime = regimes[NAMES[name][0]]
    hows = _hows(
      [a for r, a in map(NAMES.get, config.arms) if r == regime.name]
    )
    found += arm_phases(regime, name, of_arm(config, name), hows)
  return found


def _hows(arms: list[str]) -> list[str]:
  """The chosen ensembles among the arms of a regime."""
  return [ARMS[a].how for a in arms if ARMS[a].kind == "chosen"]


def shared(
  regime: Regime, arms: list[str], say: Say
) -> list[experiment.Phase | experiment.WholeRun]:
  """The search, and what is chosen and trained anew because of it.

  Args:
    regime: the regime.
    arms: the arms, without the regime's name.
    say: takes lines of news.

  Returns:
    The phases that these arms share; none if they need none.
  """
  config = regime.config
  chosen = [a for a in arms if ARMS[a].kind == "chosen"]
  if not chosen and not any(ARMS[a].how == "best" for a in arms):
    return []
  plan = regime.plan(config, "single", config.runs)
  _say_cost(regime, plan, bool(set(chosen) & set(STRATIFIED)), say)

  def search(products, seed, place):
    own = jnp.broadcast_to(pools.member_seed(seed, 0), (config.runs,))
    return own, pools.lambdas(plan, seed, config.runs)

  def strata(products, seed, place):
    k = config.members
    lams = products[regime.key("chosen")]["lams"][place]
    own = [pools.member_seed(seed, j) for j in range(1, k)]
    return jnp.tile(jnp.stack(own), k), jnp.repeat(jnp.asarray(lams), k - 1, 0)

  name = regime.key("search")
  found: list[Any] = [
    pools.phase(regime, plan, name, "", config.runs, search),
    choosing.choose(regime, plan),
  ]
  if set(chosen) & set(STRATIFIED):
    count = config.members * (config.members - 1)
    again = regime.plan(config, "single", count)
    found += [
      pools.phase(regime, again, regime.key("strata"), "", count, strata),
      choosing.choose_again(regime, plan),
    ]
  return [*found, _judge(regime, _hows(arms))] if chosen else found


def _say_cost(regime, plan, stratified, say):
  config = plan.config
  lead = f"{regime.name}: " if regime.name else ""
  shape = jax.eval_shape(
    lambda: (
      learner.create(
        plan, regime.tables.shape, np.uint32(0), np.int32(0)
      ).params
    )
  )
  numbers = sum(x.size for x in jax.tree.leaves(shape))
  more = config.members * (config.members - 1) if stratified else 0
  say(
    f"{lead}{config.seeds} x {config.runs} trainings of {numbers:,} numbers, "
    f"then {config.seeds} x {more}; each is {plan.steps:,} steps"
  )


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


def _judge(regime: Regime, hows: list[str]) -> experiment.WholeRun:
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
    starts = jnp.arange(1, count + 1)
    own = jax.vmap(lambda j: pools.member_seed(seed, j))(starts)
    return own, pools.lambdas(plan, seed, count, pools.EXTRA)

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
    own = jnp.broadcast_to(pools.member_seed(seed, 0), (count,))
    if arm.how == "best":
      lams = products[regime.key("chosen")]["lams"]
      return own, jnp.asarray(lams)[place, :1]
    return own, pools.lambdas(plan, seed, count)

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
    return pools.member_seed(seed, 0)[None], None

  def of_seed(products, data, place):
    members = jax.tree.map(lambda x: x[place], products[f"{name}.train"])
    return members, jnp.full(each, 1 / each)

  return [
    pools.phase(regime, plan, "train", name, 1, choose),
    _final(regime, name, plan, of_seed, samples),
  ]
