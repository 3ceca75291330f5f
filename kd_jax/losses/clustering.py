"""Views of an image are assigned to the same of several prototypes.

Letters: b batch (on this device), B on all of them, n rows of a queue, k
prototypes, c views that assign, v views that predict, s a score (cosine of an
embedding and a prototype), q a code (a soft assignment), e the entropy's
weight, T temperature.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import (
  Number,
  blank,
  lift,
  per_row,
  temperature_like,
)
from kd_jax.losses.self_distillation import across, views

# The logarithm of a row that is not there; finite, so that differences of two
# such numbers are not NaN.
_ABSENT = -1e30


def sinkhorn_codes(
  scores: Float[Array | np.ndarray, "b k"],
  queue_scores: Float[Array | np.ndarray, "n k"] | None = None,
  *,
  epsilon: Number = 0.05,
  iterations: int = 3,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  queue_where: Bool[Array | np.ndarray, "n"] | None = None,
  axis_name: str | None = None,
  stop_gradient: bool = True,
) -> Float[Array, "b k"]:
  """Soft assignments of the batch under which all prototypes are used alike.

  Sinkhorn and Knopp's iteration on logarithms, in which nothing overflows. The
  prototypes' shares are made equal first, each row's sum 1 last: after a few
  iterations rows are exact and shares nearly so.

  Equation: m = s/e; repeat: m_ik -= log sum_j exp m_jk, j over all rows;
    m_ik -= log sum_l exp m_il. q = exp m
  Source: Caron et al. 2020, arXiv 2006.09882, eq. 3 and 4, appendix A
  Checked: the paper's iteration on exponentials in float64, with a queue and
    with rows left out; sums of rows and columns; four devices and one

  Args:
    scores: s, of this device's rows.
    queue_scores: of further rows, the same on every device, that take part in
      making the shares equal and of which no codes are given.
    epsilon: e > 0; the paper's is 0.05. Smaller is sharper.
    iterations: how many; the paper's is 3.
    where: True for the rows that take part.
    queue_where: True for the queue's rows that take part.
    axis_name: the devices whose rows share the prototypes.
    stop_gradient: whether codes are constants.

  Returns:
    A distribution per row; zeros where not counted.

  Raises:
    ValueError: if shapes do not fit, `epsilon` is not positive or there is no
      iteration.
  """
  if iterations < 1:
    raise ValueError(f"iterations is {iterations}; it must be at least 1")
  per_row(len(scores), where=where)
  rows = _log_scores(scores, epsilon, where)
  others = None
  if queue_scores is not None:
    if queue_scores.shape[1:] != scores.shape[1:]:
      raise ValueError(
        f"queue_scores is {queue_scores.shape}, scores are {scores.shape}"
      )
    per_row(len(queue_scores), queue_where=queue_where)
    others = _log_scores(queue_scores, epsilon, queue_where)
  if stop_gradient:
    rows, others = jax.lax.stop_gradient((rows, others))
  for _ in range(iterations):
    column = _over_rows(rows, others, axis_name)
    rows = _over_columns(rows - column)
    others = None if others is None else _over_columns(others - column)
  return blank(jnp.exp(rows), where)


def _log_scores(scores, epsilon, where):
  """S/e; rows that are not there far below all others."""
  (s,) = lift(scores)
  s = blank(s, where) / temperature_like(epsilon, s)
  if where is None:
    return s
  return jnp.where(jnp.asarray(where)[:, None], s, jnp.full_like(s, _ABSENT))


def _over_rows(rows, others, axis_name):
  """The logarithm of each column's sum, over devices and the queue."""
  top = rows.max(0)
  if axis_name is not None:
    top = jax.lax.pmax(jax.lax.stop_gradient(top), axis_name)
  if others is not None:
    top = jnp.maximum(top, others.max(0))
  top = jax.lax.stop_gradient(top)
  total = accel.sum(jnp.exp(rows - top[None]).sum(0), axis_name)
  if others is not None:
    total = total + jnp.exp(others - top[None]).sum(0)
  # No row at all: log 0 is replaced by log 1.
  return (top + jnp.log(jnp.maximum(total, 1e-30)))[None]


def _over_columns(rows):
  """Rows whose exponentials add up to 1, and absent ones still absent."""
  spread = jax.nn.logsumexp(rows, -1, keepdims=True)
  absent = rows.max(-1, keepdims=True) < _ABSENT / 2
  return jnp.where(absent, jnp.full_like(rows, _ABSENT), rows - spread)


def swapped_prediction(
  scores: Float[Array | np.ndarray, "v b k"],
  codes: Float[Array | np.ndarray, "c b k"],
  *,
  temperature: Number = 0.1,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Cross-entropy of each view's scores under the codes of the others (SwAV).

  Equation: l_i = -mean over (c, v), v != c, of
    sum_k q_cik log softmax(s_vi / T)_k
  Source: Caron et al. 2020, arXiv 2006.09882, eq. 2 and 6
  Checked: a loop over pairs in float64; even codes and scores, log k

  Args:
    scores: s, of all views; the first c are those that assign.
    codes: q, distributions over the prototypes (`sinkhorn_codes`).
    temperature: T > 0; the paper's is 0.1.
    where: True for the examples that count.
    stop_target_gradient: whether codes are constants.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes do not fit together, there are fewer than two views,
      or the temperature is not positive.
  """
  s, q = views(scores, codes, where)
  if stop_target_gradient:
    q = jax.lax.stop_gradient(q)
  said = jax.nn.log_softmax(s / temperature_like(temperature, s))
  return blank(across(q, said), where)
