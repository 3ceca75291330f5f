"""Selections: whole phases that read predictions and name members."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kd_jax import experiment
from kd_jax.methods.hyper_ensembles import greedy, judging
from kd_jax.methods.hyper_ensembles.plans import Plan
from kd_jax.methods.hyper_ensembles.pools import Regime

PyTree = Any


def over_seeds(fn: Any, seeds: int, *trees: PyTree) -> PyTree:
  """One seed after another, in one program.

  Args:
    fn: `(place, *trees of one seed) -> tree`.
    seeds: how many.
    *trees: with a leading axis of seeds.

  Returns:
    The results, stacked.
  """
  places = jnp.arange(seeds, dtype=jnp.int32)
  return jax.lax.map(lambda at: fn(*at), (places, *trees))


def probabilities(
  plan: Plan, members: PyTree, place: Array, data: PyTree
) -> tuple[Array, Array]:
  """Validation probabilities of networks, members of each meaned.

  Args:
    plan: the plan.
    members: stacked, n of them.
    place: of the seed.
    data: of `Tables.learn`.

  Returns:
    (n, V, classes), and the labels.
  """
  rows = data["val"][place]
  logits = judging.all_logits(plan, members, data["image"][rows])
  p = jax.nn.softmax(logits)
  p = p.reshape(-1, plan.members, *p.shape[1:]).mean(1)
  return p, data["label"][rows]


def choose(regime: Regime, plan: Plan) -> experiment.WholeRun:
  """The best of the search: alone, the K best, and greedily together.

  Args:
    regime: the regime.
    plan: of the search.

  Returns:
    The phase. Its product: "picks" and "weights" (seeds, K), the best single
    one first; "lams" (seeds, K, h); "top" (seeds, K).
  """
  config = plan.config
  k = config.members

  def of_seed(place, members, data):
    p, labels = probabilities(plan, members, place, data)
    found = greedy.select(p, labels, k, objective=config.objective)
    # What is best alone was taken first, and stands first.
    first = jnp.arange(len(p)) == found.first
    order, _ = greedy.members(found.counts + greedy.MOST * 2 * first, k)
    scores = greedy.score(p, labels, config.objective)
    return {
      "picks": order,
      "weights": found.weights[order],
      "lams": jnp.exp(members.bounds.low[order, 0]),
      "top": jnp.argsort(scores)[:k].astype(jnp.int32),
      "score": found.score,
      "best": scores.min(),
    }

  def run(products, data, seed):
    members = products[regime.key("search")]
    found = over_seeds(
      lambda place, m: of_seed(place, m, data), config.seeds, members
    )
    numbers = {
      "val_greedy": found.pop("score"),
      "val_single": found.pop("best"),
      "unique": (found["weights"] > 0).sum(-1).astype(jnp.float32),
    }
    return found, numbers

  return experiment.WholeRun(
    regime.key("chosen"), run, data=regime.tables.learn
  )


def pool(products: PyTree, regime: Regime, place: Array) -> PyTree:
  """The strata of a seed: slot u * K + j is the u-th lambda from start j.

  Args:
    products: of "search", "chosen" and "strata".
    regime: the regime.
    place: of the seed.

  Returns:
    K * K members, stacked.
  """
  picks = products[regime.key("chosen")]["picks"][place]
  k = len(picks)
  search, others = (
    jax.tree.map(lambda x: x[place], products[regime.key(name)])
    for name in ("search", "strata")
  )
  return jax.tree.map(functools.partial(_strata, picks, k), search, others)


def _strata(picks, k, search, others):
  """The k chosen ones of a leaf, each before its k - 1 other starts."""
  first = jnp.asarray(search)[picks][:, None]
  rest = others.reshape(k, k - 1, *others.shape[1:])
  return jnp.concatenate([first, rest], 1).reshape(k * k, *search.shape[1:])


def choose_again(regime: Regime, plan: Plan) -> experiment.WholeRun:
  """The last step of Algorithm 1: selection among the strata.

  Args:
    regime: the regime.
    plan: of the search.

  Returns:
    The phase. Its product: "picks" and "weights" (seeds, K) with replacement,
    "once_picks" and "once_weights" without.
  """
  config = plan.config
  k = config.members

  def of_seed(place, products, data):
    members = pool(products, regime, place)
    p, labels = probabilities(plan, members, place, data)
    used = products[regime.key("chosen")]["weights"][place] > 0
    found = {}
    for name, again in (("", True), ("once_", False)):
      one = greedy.select(
        p,
        labels,
        k,
        objective=config.objective,
        replacement=again,
        where=jnp.repeat(used, k),
      )
      picks, weights = greedy.members(one.counts, k)
      found |= {f"{name}picks": picks, f"{name}weights": weights}
    return found

  def run(products, data, seed):
    found = over_seeds(
      lambda place: of_seed(place, products, data), config.seeds
    )
    used = products[regime.key("chosen")]["weights"] > 0
    trainings = config.runs + used.sum(-1) * (k - 1)
    return found, {"trainings": trainings.astype(jnp.float32)}

  return experiment.WholeRun(regime.key("again"), run, data=regime.tables.learn)


def committee(
  products: PyTree, regime: Regime, how: str, place: Any
) -> tuple[PyTree, jax.Array]:
  """The members of a chosen ensemble, and their weights.

  Args:
    products: of the shared phases.
    regime: the regime.
    how: "single", "top", "fixed_init", "deep", "hyper_deep" or
      "hyper_deep_once".
    place: of the seed.

  Returns:
    Stacked members and a weight for each.
  """
  chosen = jax.tree.map(lambda x: x[place], products[regime.key("chosen")])
  k = regime.config.members
  even = jnp.full(k, 1 / k)
  if how in ("single", "top", "fixed_init"):
    search = jax.tree.map(lambda x: x[place], products[regime.key("search")])
    picks, weights = {
      "single": (chosen["picks"][:1], jnp.ones(1)),
      "top": (chosen["top"], even),
      "fixed_init": (chosen["picks"], chosen["weights"]),
    }[how]
    return jax.tree.map(lambda x: x[picks], search), weights
  strata = pool(products, regime, place)
  if how == "deep":
    return jax.tree.map(lambda x: x[:k], strata), even
  once = "once_" if how == "hyper_deep_once" else ""
  again = jax.tree.map(lambda x: x[place], products[regime.key("again")])
  picks = again[f"{once}picks"]
  return jax.tree.map(lambda x: x[picks], strata), again[f"{once}weights"]
