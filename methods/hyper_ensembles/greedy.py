"""Greedy selection of an ensemble from a pool, with replacement.

Source: Caruana et al. 2004, Ensemble Selection from Libraries of Models; as
`hyper_ens` in Wenzel et al. 2020.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# A model that is taken again must lower the score; it does so a few times.
MOST = 100
OBJECTIVES = ("nll", "error", "nll_and_error")


class Selection(NamedTuple):
  """An ensemble.

  Attributes:
    counts: how often each model of the pool was taken.
    score: of the ensemble on the selection's data.
    first: the model that is best alone.
  """

  counts: Int[Array, "m"]
  score: Float[Array, ""]
  first: Int[Array, ""]

  @property
  def weights(self) -> Float[Array, "m"]:
    """What each model's probabilities are weighted by."""
    return self.counts / jnp.maximum(self.counts.sum(), 1)


def score(
  probabilities: Float[Array, "*m n c"],
  labels: Int[Array, "n"],
  objective: str = "nll",
) -> Float[Array, "*m"]:
  """What selection minimises.

  Args:
    probabilities: of models or ensembles.
    labels: the true classes.
    objective: "nll", "error" (accuracy is 1 less it: a released version
      minimised accuracy itself) or "nll_and_error", their sum.

  Returns:
    The scores; smaller is better.

  Raises:
    ValueError: for an unknown objective.
  """
  if objective not in OBJECTIVES:
    raise ValueError(f"objective is {objective!r}; one of {OBJECTIVES}")
  wide = jnp.broadcast_to(labels, probabilities.shape[:-1])
  seen = jnp.take_along_axis(probabilities, wide[..., None], -1)[..., 0]
  nll = -jnp.log(jnp.maximum(seen, 1e-30)).mean(-1)
  error = (probabilities.argmax(-1) != wide).astype(jnp.float32).mean(-1)
  return {"nll": nll, "error": error, "nll_and_error": nll + error}[objective]


def select(
  probabilities: Float[Array, "m n c"],
  labels: Int[Array, "n"],
  unique: int,
  *,
  objective: str = "nll",
  replacement: bool = True,
  where: Bool[Array, "m"] | None = None,
) -> Selection:
  """Adds the model that helps most until none does, or enough are in.

  Args:
    probabilities: of each model of the pool, on data that it was not trained on
      and that it will not be judged by.
    labels: the true classes.
    unique: how many different models there may be: the cost of the ensemble.
    objective: see `score`.
    replacement: whether a model may be taken again, which raises its weight.
    where: the models that may be taken; all if None.

  Returns:
    The ensemble. It has one model at least, unless none may be taken: those
    whose probabilities are not finite never are.
  """
  probabilities, labels = jnp.asarray(probabilities), jnp.asarray(labels)
  m = len(probabilities)
  allowed = jnp.isfinite(probabilities).all((1, 2))
  if where is not None:
    allowed &= where

  def going(state):
    counts, _, _, better = state
    few = (counts > 0).sum() < unique
    return better & few & (counts.sum() < MOST)

  def add(state):
    counts, total, best, _ = state
    size = counts.sum()
    means = (total[None] + probabilities) / (size + 1)
    scores = score(means, labels, objective)
    open_ = allowed if replacement else allowed & (counts == 0)
    scores = jnp.where(open_, scores, jnp.inf)
    pick = scores.argmin()
    better = scores[pick] < best
    taken = better.astype(jnp.int32)
    counts = counts.at[pick].add(taken)
    total = total + taken * probabilities[pick]
    return counts, total, jnp.minimum(best, scores[pick]), better

  start = (
    jnp.zeros(m, jnp.int32),
    jnp.zeros_like(probabilities[0]),
    jnp.float32(jnp.inf),
    jnp.bool_(True),
  )
  counts, _, best, _ = jax.lax.while_loop(going, add, start)
  alone = jnp.where(allowed, score(probabilities, labels, objective), jnp.inf)
  return Selection(counts, best, alone.argmin().astype(jnp.int32))


def members(
  counts: Int[Array, "m"], unique: int
) -> tuple[Int[Array, "u"], Float[Array, "u"]]:
  """The models that were taken, and their weights, in a fixed shape.

  Args:
    counts: of a selection.
    unique: how many places there are.

  Returns:
    Models, those taken most often first; weights, 0 in places that are left.
  """
  order = jnp.argsort(-counts, stable=True)[:unique]
  taken = counts[order].astype(jnp.float32)
  return order.astype(jnp.int32), taken / jnp.maximum(taken.sum(), 1.0)
