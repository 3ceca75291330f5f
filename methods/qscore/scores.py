"""Scores of an example's representation that need no label and no probe.

The Q-Score, what it is made of taken away piece by piece, its first version,
and trivial ones that it must beat. Larger says: more likely right.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax import metrics
from kd_jax.methods.qscore.discovery import Discovery, tail

Features = Float[Array | np.ndarray, "n r"]
# What each is, for tables and figures.
SCORES = {
  "q": "the Q-Score",
  "q_all": "with every coordinate in D",
  "q_lower": "with the rarest for D",
  "q_upper": "with the most common for D",
  "q_random": "with random ones for D",
  "q_test": "with D from the scored examples",
  "q_raw": "of representations as they are",
  "q_top": "an empty set takes its largest",
  "v1": "the first version",
  "peak": "the largest less the mean",
  "sparsity": "less the sum of the unit vector",
  "norm": "the length of the representation",
  "random": "chance",
}


def v1_score(h: Features) -> Float[Array, "n"]:
  """The paper's first version: deviations of the peak over the sum.

  Z / L1 with Z = (max_j h_ij - mu_i) / sigma_i, L1 = ||h_i||_1, h_i unit.

  Args:
    h: representations.

  Returns:
    One score an example; 0 for one without spread.
  """
  h = metrics.unit_rows(h)
  sigma, total = h.std(-1), jnp.abs(h).sum(-1)
  flat = (sigma == 0) | (total == 0)
  below = jnp.where(flat, jnp.ones_like(sigma), sigma * total)
  return jnp.where(flat, jnp.zeros_like(sigma), peak(h) / below)


def peak(h: Features) -> Float[Array, "n"]:
  """The largest coordinate less the mean of all.

  Args:
    h: representations.

  Returns:
    One score an example.
  """
  return jnp.max(h, -1) - jnp.mean(h, -1)


def every_score(
  h: Features, found: Discovery, key: Any, *, low: float, high: float
) -> dict[str, Float[Array, "n"]]:
  """All of `SCORES`.

  Args:
    h: representations to score, as the encoder gave them.
    found: what was discovered on the training set.
    key: draws the random ones.
    low: the band's lower percentile, for "q_test".
    high: its upper one.

  Returns:
    Scores by name.
  """
  h = jnp.asarray(h)
  mask_key, score_key = jax.random.split(key)
  size, unit = found.chosen.sum(), metrics.unit_rows(h)
  own = metrics.active_counts(h, found.eps)
  own = metrics.discriminative(100 * own.total / own.count, low, high)
  place = jax.random.permutation(mask_key, len(found.chosen))
  sets = {
    "q": found.chosen,
    "q_all": jnp.ones_like(found.chosen),
    "q_lower": tail(found.percent, size, "lower"),
    "q_upper": tail(found.percent, size, "upper"),
    "q_random": place < size,
    "q_test": own,
  }
  q = {"eps": found.eps}
  # One program for all sets.
  each = jax.lax.map(
    lambda d: metrics.q_score(h, d, **q), jnp.stack(list(sets.values()))
  )
  scores = dict(zip(sets, each, strict=True))
  scores |= {
    "q_raw": metrics.q_score(h, found.chosen, normalize=False, **q),
    "q_top": metrics.q_score(h, found.chosen, top_if_empty=True, **q),
    "v1": v1_score(h),
    "peak": peak(unit),
    "sparsity": -jnp.abs(unit).sum(-1),
    "norm": jnp.sqrt((h * h).sum(-1)),
    "random": jax.random.uniform(score_key, h.shape[:1]),
  }
  return {name: scores[name] for name in SCORES}
