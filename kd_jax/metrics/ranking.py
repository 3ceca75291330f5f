"""Whether a score puts the positives first: exact, ties included, inside jit.

A score is larger where an example is more likely positive. Equal scores come in
together. n is static; `where` takes examples out.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

Scores = Float[Array | np.ndarray, "n"]
Flags = Bool[Array | np.ndarray, "n"]


def roc_auc(
  scores: Scores, positive: Flags, *, where: Flags | None = None
) -> Float[Array, ""]:
  """The chance that a positive scores above a negative; a tie counts one half.

  Args:
    scores: larger is more positive.
    positive: the labels.
    where: True for the examples that count.

  Returns:
    The area under the receiver operating characteristic; NaN without a positive
    or without a negative.
  """
  s, good, bad = _sorted(scores, positive, where)
  below = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(bad)])
  first = jnp.searchsorted(s, s, side="left")
  last = jnp.searchsorted(s, s, side="right")
  # Twice the negatives below, and once those that tie.
  beaten = (below[first] + below[last]).astype(jnp.float32)
  pairs = good.sum().astype(jnp.float32) * bad.sum().astype(jnp.float32)
  return (beaten * good).sum() / (2 * pairs)


def average_precision(
  scores: Scores, positive: Flags, *, where: Flags | None = None
) -> Float[Array, ""]:
  """The area under precision and recall, as a sum over distinct thresholds.

  AP = sum_n (R_n - R_{n-1}) P_n. Chance is the share of positives: say both.

  Args:
    scores: larger is more positive.
    positive: the labels.
    where: True for the examples that count.

  Returns:
    The average precision; NaN without a positive.
  """
  s, good, bad = _sorted(scores, positive, where)
  first = jnp.searchsorted(s, s, side="left")
  hits = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(good)])
  seen = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(good + bad)])
  # At an example's threshold all from its first equal on are in.
  found = (hits[-1] - hits[first]).astype(jnp.float32)
  among = (seen[-1] - seen[first]).astype(jnp.float32)
  precision = found / jnp.maximum(among, 1.0)
  return (precision * good).sum() / good.sum().astype(jnp.float32)


def _sorted(
  scores: Scores, positive: Flags, where: Flags | None
) -> tuple[Shaped[Array, "n"], Shaped[Array, "n"], Shaped[Array, "n"]]:
  """Scores from low to high, and 1 for each positive, for each negative."""
  order = jnp.argsort(jnp.asarray(scores))
  positive = jnp.asarray(positive)[order]
  counts = jnp.ones_like(positive)
  if where is not None:
    counts = jnp.asarray(where)[order]
  good = (positive & counts).astype(jnp.int32)
  bad = (~positive & counts).astype(jnp.int32)
  return jnp.asarray(scores)[order], good, bad
