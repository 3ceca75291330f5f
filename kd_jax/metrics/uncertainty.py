"""Whether doubt tells right from wrong, and the known from the foreign.

A score is larger where there is more doubt: 1 less the largest probability, or
any other.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Scores = Float[Array | np.ndarray, "n"]
Foreign = Float[Array | np.ndarray, "m"]


class RiskCoverage(NamedTuple):
  """The error that is left if the most doubtful are not answered.

  Attributes:
    coverage: the share that is answered.
    risk: the mean error among these.
    area: under the curve; a smaller one is better.
  """

  coverage: Float[Array, "n"]
  risk: Float[Array, "n"]
  area: Float[Array, ""]


def risk_coverage(scores: Scores, errors: Scores) -> RiskCoverage:
  """Answers from the most certain one on.

  Source: Geifman and El-Yaniv 2017, arXiv 1705.08500

  Args:
    scores: doubt.
    errors: 1 for a wrong answer, or a loss. Of equal scores each has the mean
      error of them all, so that their order does not matter.

  Returns:
    The curve.
  """
  n = len(scores)
  order = jnp.argsort(jnp.asarray(scores))
  doubt = jnp.asarray(scores)[order]
  sums = jnp.cumsum(jnp.asarray(errors, jnp.float32)[order])
  sums = jnp.concatenate([jnp.zeros(1), sums])
  first = jnp.searchsorted(doubt, doubt, side="left")
  last = jnp.searchsorted(doubt, doubt, side="right")
  each = (sums[last] - sums[first]) / (last - first)
  answered = jnp.arange(1, n + 1)
  risk = jnp.cumsum(each) / answered
  return RiskCoverage(answered / n, risk, risk.mean())


def auroc(known: Scores, foreign: Foreign) -> Float[Array, ""]:
  """The chance that a foreign example has more doubt than a known one.

  Args:
    known: scores of examples from the training distribution.
    foreign: scores of others; ties count one half.

  Returns:
    The area under the receiver operating characteristic.
  """
  known = jnp.sort(jnp.asarray(known))
  below = jnp.searchsorted(known, jnp.asarray(foreign), side="left")
  until = jnp.searchsorted(known, jnp.asarray(foreign), side="right")
  return (below + until).mean() / (2 * len(known))


def fpr_at_tpr(
  known: Scores, foreign: Foreign, *, tpr: float = 0.95
) -> Float[Array, ""]:
  """The share of known examples taken for foreign where `tpr` are found.

  Args:
    known: scores of examples from the training distribution.
    foreign: scores of the others, which are to be found.
    tpr: the share of them that is; the threshold is the largest score that
      reaches it.

  Returns:
    The share.
  """
  n = len(foreign)
  # A hair below, for 0.95 * 20 is more than 19 in floating point.
  kept = max(1, int(np.ceil(tpr * n - 1e-9)))
  threshold = jnp.sort(jnp.asarray(foreign))[n - kept]
  return (jnp.asarray(known) >= threshold).mean()
