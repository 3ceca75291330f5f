"""Whether probabilities mean what they say.

Letters: k members, b examples, c classes, m bins. Bins are sums and counts, so
that batches and devices add up exactly; the error comes last.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Probabilities = Float[Array | np.ndarray, "b c"]
Labels = Int[Array | np.ndarray, "b"]
Mask = Bool[Array | np.ndarray, "b"]
BINS = 15


class Bins(NamedTuple):
  """Sums over the examples of each bin of confidence; add two of them.

  Attributes:
    confidence: of the largest probabilities.
    correct: of right answers.
    count: of examples.
  """

  confidence: Float[Array, "m"]
  correct: Float[Array, "m"]
  count: Float[Array, "m"]


def calibration_bins(
  probabilities: Probabilities,
  labels: Labels,
  *,
  bins: int = BINS,
  where: Mask | None = None,
) -> Bins:
  """Sorts answers into bins of equal width by their largest probability.

  Args:
    probabilities: p.
    labels: the true classes.
    bins: how many; of an answer with confidence q it is min(floor(bins q),
      bins - 1).
    where: True for the examples that count.

  Returns:
    The bins; draw a reliability diagram from them.
  """
  confidence, correct, counted = _answers(probabilities, labels, where)
  place = jnp.minimum((bins * confidence).astype(jnp.int32), bins - 1)
  return _gather(place, bins, confidence, correct, counted)


def expected_calibration_error(bins: Bins) -> Float[Array, ""]:
  """The mean gap between confidence and accuracy (ECE), a fraction.

  Equation: sum_m n_m / n |acc_m - conf_m|
  Source: Guo et al. 2017, arXiv 1706.04599, eq. 3

  Args:
    bins: of `calibration_bins`.

  Returns:
    The error; 0 without an example.
  """
  gap = jnp.abs(bins.correct - bins.confidence).sum()
  return gap / jnp.maximum(bins.count.sum(), 1.0)


def adaptive_calibration_error(
  probabilities: Probabilities, labels: Labels, *, bins: int = BINS
) -> Float[Array, ""]:
  """ECE with bins of equally many examples.

  Source: Nixon et al. 2019, arXiv 1904.01685, of the largest probability alone

  Args:
    probabilities: p.
    labels: the true classes.
    bins: how many; they differ by one example at most.

  Returns:
    The error.
  """
  confidence, correct, counted = _answers(probabilities, labels, None)
  order = jnp.argsort(confidence)
  place = jnp.arange(len(order)) * bins // len(order)
  found = _gather(place, bins, confidence[order], correct[order], counted)
  return expected_calibration_error(found)


class EnsembleBrier(NamedTuple):
  """A member's Brier score is the ensemble's and what the members differ by.

  Attributes:
    ensemble: of the mean probability, one value per example.
    members: the mean over the members.
    variance: 1/K sum_k ||p_k - mean||^2; members = ensemble + variance.
  """

  ensemble: Float[Array, "b"]
  members: Float[Array, "b"]
  variance: Float[Array, "b"]


def ensemble_brier(
  probabilities: Float[Array | np.ndarray, "k b c"], labels: Labels
) -> EnsembleBrier:
  """Brier scores of an ensemble, its members, and the difference.

  Args:
    probabilities: p of each member.
    labels: the true classes.

  Returns:
    The three, per example.
  """
  p = jnp.asarray(probabilities, jnp.float32)
  mean = p.mean(0)
  target = jax.nn.one_hot(labels, p.shape[-1])
  return EnsembleBrier(
    jnp.square(mean - target).sum(-1),
    jnp.square(p - target[None]).sum(-1).mean(0),
    jnp.square(p - mean[None]).sum(-1).mean(0),
  )


class BrierParts(NamedTuple):
  """Brier = uncertainty - resolution + reliability + within.

  Attributes:
    uncertainty: of the classes by themselves.
    resolution: how far the groups' class frequencies are from the whole's.
    reliability: how far the groups' mean forecasts are from their frequencies.
    within: what is left because forecasts differ within a group.
  """

  uncertainty: Float[Array, ""]
  resolution: Float[Array, ""]
  reliability: Float[Array, ""]
  within: Float[Array, ""]


def brier_decomposition(
  probabilities: Probabilities, labels: Labels
) -> BrierParts:
  """Murphy's decomposition, grouped by the predicted class.

  Source: Murphy 1973; Stephenson et al. 2008 for what is within the groups

  Args:
    probabilities: p.
    labels: the true classes.

  Returns:
    The parts, which add up to the mean Brier score.
  """
  p = jnp.asarray(probabilities, jnp.float32)
  n, c = p.shape
  group = jax.nn.one_hot(p.argmax(-1), c)
  target = jax.nn.one_hot(labels, c)
  count = group.sum(0)
  share = count / n
  over = jnp.maximum(count, 1.0)[:, None]
  seen = jnp.matmul(group.T, target, precision="highest") / over
  said = jnp.matmul(group.T, p, precision="highest") / over
  base = target.mean(0)
  own = p.argmax(-1)
  apart = p - said[own]
  within = jnp.square(apart) - 2 * apart * (target - seen[own])
  return BrierParts(
    (base * (1 - base)).sum(),
    (share * jnp.square(seen - base[None]).sum(-1)).sum(),
    (share * jnp.square(said - seen).sum(-1)).sum(),
    within.sum(-1).mean(),
  )


def _answers(probabilities, labels, where):
  p = jnp.asarray(probabilities, jnp.float32)
  counted = jnp.ones(len(p)) if where is None else where.astype(jnp.float32)
  correct = (p.argmax(-1) == labels).astype(jnp.float32)
  confidence = p.max(-1)
  if where is not None:
    confidence = jnp.where(where, confidence, 0.0)
  return confidence, correct, counted


def _gather(place, bins, confidence, correct, counted) -> Bins:
  def total(x):
    return jnp.zeros(bins).at[place].add(x * counted)

  return Bins(total(confidence), total(correct), total(jnp.ones_like(counted)))
