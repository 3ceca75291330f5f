"""Filtered ranks: where the true answer stands among all entities.

Questions are taken some at a time, candidates in chunks of bounded memory, and
a rank is a count: nothing is sorted. Other true answers, of any split, are left
out. Ties go half and half; were scores to collapse, the optimistic and the
pessimistic rank would part, and both are reported.

Letters: b questions, n entities (this device's, where their table is divided),
d width.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from kd_jax import accel
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.ote import inputs, tables
from kd_jax.methods.ote.config import Config
from kd_jax.methods.ote.model import SIDES, Side
from kd_jax.methods.ote.scorer import Scorer, score_all, scorer
from kd_jax.metrics import Mean, mean

PyTree = Any
# Known answers that are crossed out at a time.
_WINDOW = 64
# More than this between the two ends of ties, of a mean reciprocal rank, and
# the scores have collapsed.
TOLERANCE = 0.01


class Ranks(NamedTuple):
  """Where answers stand, 1 being first.

  Attributes:
    optimistic: before all candidates of the same score.
    realistic: in their middle.
    pessimistic: after them. A score that is NaN counts as a tie.
  """

  optimistic: Float[Array, "b"]
  realistic: Float[Array, "b"]
  pessimistic: Float[Array, "b"]


def cross_out(
  answers: Int[Array, "a"],
  start: Int[Array, "b"],
  count: Int[Array, "b"],
  entities: int,
  first: Any = 0,
) -> Bool[Array, "b n"]:
  """Marks the known answers of questions.

  Args:
    answers: known answers of all questions, one after the other.
    start: where each question's begin.
    count: how many it has.
    entities: rows on this device.
    first: the number of the first of them.

  Returns:
    True for known answers.
  """
  rows = jnp.arange(len(start))[:, None]
  window = jnp.arange(_WINDOW)

  def more(carry):
    return carry[0] * _WINDOW < count.max()

  def mark(carry):
    i, marked = carry
    place = i * _WINDOW + window[None]
    at = jnp.minimum(start[:, None] + place, len(answers) - 1)
    entity = answers[at] - first
    # A negative number would count from the end.
    fine = (place < count[:, None]) & (entity >= 0)
    entity = jnp.where(fine, entity, entities)
    return i + 1, marked.at[rows, entity].set(True, mode="drop")

  nothing = jnp.zeros((len(start), entities), bool)
  return jax.lax.while_loop(more, mark, (jnp.int32(0), nothing))[1]


def ranks(
  s: Scorer, side: Side, batch: Mapping[str, Array], answers: Int[Array, "a"]
) -> Ranks:
  """Filtered ranks of the true answers of some questions.

  Args:
    s: the scorer.
    side: what is asked for.
    batch: columns of `inputs.questions`.
    answers: its "answers".

  Returns:
    The ranks.
  """
  scores = score_all(s, side, batch["kept"], batch["relation"])
  n = scores.shape[1]
  first = tables.first_row(s.entity, s.shared)
  place = batch["answer"] - first
  here = (place >= 0) & (place < n)
  own = jnp.take_along_axis(scores, jnp.where(here, place, 0)[:, None], 1)
  # Read before anything is crossed out, from the scores that it is among.
  own = accel.sum(jnp.where(here[:, None], own, 0.0), s.shared)
  out = cross_out(answers, batch["start"], batch["count"], n, first)
  real = (jnp.arange(n) + first < s.entities)[None]
  higher = ((scores > own) & ~out & real).sum(1)
  not_lower = (~(scores < own) & ~out & real).sum(1)
  higher, not_lower = (
    1.0 + accel.sum(x, s.shared).astype(jnp.float32)
    for x in (higher, not_lower)
  )
  return Ranks(higher, (higher + not_lower) / 2, not_lower)


def make_evaluation(
  config: Config,
  margin: float,
  entities: int,
  present: Mapping[Side, tuple[int, ...]] | None = None,
) -> Callable[..., dict[str, Mean]]:
  """Builds the measure of a product.

  Args:
    config: the arm's configuration.
    margin: gamma of the arm's stage.
    entities: how many there are.
    present: by side, which categories the questions have; with them come ranks
      by side, category and degree, None leaves these out.

  Returns:
    `(product, data, *, axis_name=None) -> {name: Mean}`, for products with
    "params" and data with "questions" and "edges".
  """

  def run(product, data, *, axis_name=None):
    shared = axis_name if config.shard_entities else None
    s = scorer(
      config, margin, product["params"], data["edges"], entities, shared
    )
    found = [
      _one_side(s, side, data["questions"][side], axis_name, present)
      for side in SIDES
    ]
    return _merge(found)

  return run


def _one_side(s, side, data, axis_name, present):
  def eval_step(s, batch, *, axis_name=None):
    found = ranks(s, side, batch, data["answers"])
    values = _measures(found, batch["where"])
    if present is not None:
      values |= _by_group(found, side, batch, present[side])
    return accel.sum(values, axis_name)

  # Devices that share the table ask every question together.
  each = None if s.shared else axis_name
  over = pipeline.over_columns(eval_step, s.config.eval_queries)
  return over(s, data["columns"], axis_name=each)


def _measures(found, where):
  rank = found.realistic
  values = {
    "mrr": 1 / rank,
    "mr": rank,
    **{f"hits{k}": (rank <= k).astype(jnp.float32) for k in (1, 3, 10)},
    "mrr_optimistic": 1 / found.optimistic,
    "mrr_pessimistic": 1 / found.pessimistic,
  }
  return {k: mean(v, where) for k, v in values.items()}


def _by_group(found, side, batch, present):
  groups = {f"{side}s": batch["where"]}
  for place in present:
    name = f"{side}s_{inputs.GROUPS[place]}"
    groups[name] = batch["where"] & (batch["category"] == place)
  for place, degree in enumerate(inputs.DEGREES):
    name = f"{side}s_degree_{degree}"
    groups[name] = batch["where"] & (batch["degree"] == place)
  values = {}
  for name, where in groups.items():
    rank = found.realistic
    values[f"{name}_mrr"] = mean(1 / rank, where)
    values[f"{name}_hits10"] = mean((rank <= 10).astype(jnp.float32), where)
  return values


def _merge(found):
  """Both sides' measures; those of the same name are over all questions."""
  merged: dict[str, Mean] = {}
  for values in found:
    for name, value in values.items():
      old = merged.get(name)
      merged[name] = value if old is None else jax.tree.map(jnp.add, old, value)
  return merged


def refuse_collapsed(metrics: Mapping[str, float]) -> None:
  """Refuses numbers that come of ties.

  Args:
    metrics: a run's, "arm.metric" to number.

  Raises:
    UsageError: names an arm whose optimistic and pessimistic ranks differ.
  """
  for name, high in metrics.items():
    if not name.endswith("_mrr_optimistic"):
      continue
    low = metrics[name.replace("optimistic", "pessimistic")]
    if not high - low <= TOLERANCE:
      raise UsageError(
        f"scores have collapsed: {name} is {high:.3f} and the pessimistic one "
        f"{low:.3f}, so that most ranks are ties (or NaN) and none of this "
        "arm's numbers means anything; a smaller learning rate is the usual "
        "cure"
      )
