"""Discovery: which coordinates are discriminative, found without labels.

The paper's section on discriminative features: A over the training set, D the
band between two of its percentiles. Data that does not fit in memory comes in
batches: `metrics.active_counts` of each, added up, give A.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import metrics

Features = Float[Array | np.ndarray, "n r"]
# The paper's first; those of smaller networks after it.
EPSILONS = (4.0, 3.0, 2.5, 2.0, 1.5, 1.0)


class Discovery(NamedTuple):
  """What was found on the training set.

  Attributes:
    eps: the threshold, in an example's own deviations.
    percent: A.
    chosen: D as a mask.
    empty: the share of training examples of whose D nothing stands out, whose
      score is 0.
    active: how many coordinates stand out of a training example, on average.
    tried: the share of empty ones by threshold, in the order they were given.
  """

  eps: Float[Array, ""]
  percent: Float[Array, "r"]
  chosen: Bool[Array, "r"]
  empty: Float[Array, ""]
  active: Float[Array, ""]
  tried: Float[Array, "e"]


def discover(
  h: Features,
  *,
  eps: Sequence[float] = (4.0,),
  low: float = 50.0,
  high: float = 95.0,
  most_empty: float = 0.05,
) -> Discovery:
  """Finds the discriminative coordinates of representations.

  Args:
    h: of the training set (no augmentation, evaluation mode, no projector).
    eps: thresholds to try, the largest first. The first counts that leaves at
      most `most_empty` of the examples without a score, else the last: the
      paper's 4 leaves small networks nearly none (ours).
    low: the band's lower percentile of A.
    high: its upper one.
    most_empty: a share.

  Returns:
    The discovery.
  """

  def at(threshold):
    percent = _percent(metrics.active_counts(h, threshold))
    chosen = metrics.discriminative(percent, low, high)
    none = metrics.q_score(h, chosen, eps=threshold, normalize=False) == 0
    return percent, chosen, none.mean(), percent.sum() / 100

  thresholds = jnp.asarray(eps, jnp.float32)
  percent, chosen, empty, active = jax.lax.map(at, thresholds)
  fits = empty <= most_empty
  place = jnp.where(fits.any(), jnp.argmax(fits), len(thresholds) - 1)
  return Discovery(
    eps=thresholds[place],
    percent=percent[place],
    chosen=chosen[place],
    empty=empty[place],
    active=active[place],
    tried=empty,
  )


def percent_of_batches(
  batches: Iterable[Any], eps: float = 4.0
) -> Float[Array, "r"]:
  """A of representations that come in batches; no (n, r) is kept.

  Args:
    batches: representations (b, r), b as it comes.
    eps: the threshold.

  Returns:
    A, per cent.

  Raises:
    ValueError: if there is no batch.
  """
  counts = jax.jit(metrics.active_counts)
  found = None
  for batch in batches:
    new = counts(batch, eps)
    found = new if found is None else jax.tree.map(jnp.add, found, new)
  if found is None:
    raise ValueError("there is no batch to discover features from")
  return _percent(found)


def tail(percent: Float[Array, "r"], size: Any, side: str) -> Bool[Array, "r"]:
  """As many coordinates from one end of the order by A: a control for D.

  Args:
    percent: A.
    size: how many.
    side: "lower" (the rarest of those that ever stand out) or "upper".

  Returns:
    A mask.
  """
  silent = percent == 0
  key = jnp.where(silent, jnp.inf, percent) if side == "lower" else -percent
  place = jnp.argsort(jnp.argsort(key, stable=True))
  return (place < size) & ~silent


def _percent(counts: metrics.Mean) -> Float[Array, "r"]:
  return 100 * counts.total / jnp.maximum(counts.count, 1.0)
