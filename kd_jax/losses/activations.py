"""Representations in which few coordinates stand out, and not the same ones.

Added to a self-supervised loss (or to any other): `combine({..., "q":
q_score_loss(h, D), "columns": column_loss(h)}, {..., "q": 1e-4, "columns":
1e-4})` is the paper's regularised objective, eq. 3.

Letters: b batch (views, on this device), n views on all devices, r coordinates;
D the discriminative ones, Q_i a view's score (`kd_jax.metrics.q_score`).
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import Number, blank, lift, per_row
from kd_jax.metrics import activations

Where = Bool[Array | np.ndarray, "b"] | None


def q_score_loss(
  h: Float[Array | np.ndarray, "b r"],
  discriminative: Bool[Array | np.ndarray, "r"],
  *,
  eps: Number = 4.0,
  alpha: Number | None = None,
  normalize: bool = True,
  top_if_empty: bool = False,
  where: Where = None,
  axis_name: str | None = None,
) -> Float[Array, "b"]:
  """Raises the score of the examples that are below the mean.

  The sets, alpha and the indicator are constants. A view of whose D nothing
  stands out scores 0 and has gradient 0, the worst ones: `top_if_empty` gives
  those the largest coordinate of D (ours).

  Equation: l_i = -1[Q_i < alpha] Q_i
  Source: Kalibhat et al. 2024, arXiv 2203.01881, eq. 2; stop-gradients are ours
  Checked: a loop in float64; numeric gradients; four devices and one

  Args:
    h: representations of all views, before any projector.
    discriminative: D, of the encoder before fine-tuning, as a mask.
    eps: how many deviations stand out; the paper's is 4.
    alpha: the score below which a view counts; the mean over the views of all
      devices if None, as in the paper.
    normalize: divide each h_i by its length first.
    top_if_empty: see above.
    where: True for the views that count.
    axis_name: the devices over whose views alpha is meaned.

  Returns:
    One value a view; 0 where not counted. The paper's weight is 1e-4.

  Raises:
    ValueError: if D has another length than a representation.
  """
  if discriminative.shape != h.shape[1:]:
    raise ValueError(
      f"discriminative is {discriminative.shape}, h is {h.shape}: "
      f"{h.shape[1:]} is needed"
    )
  per_row(len(h), where=where)
  (h,) = lift(h)
  h = blank(h, where)
  q = activations.q_score(
    h, discriminative, eps=eps, normalize=normalize, top_if_empty=top_if_empty
  )
  if alpha is None:
    total = accel.sum((q.sum(), _views(h, where)), axis_name)
    alpha = total[0] / jnp.maximum(total[1], jnp.ones_like(total[1]))
  alpha = jax.lax.stop_gradient(jnp.asarray(alpha, q.dtype))
  low = jax.lax.stop_gradient(q) < alpha
  return blank(jnp.where(low, -q, jnp.zeros_like(q)), where)


def column_loss(
  h: Float[Array | np.ndarray, "b r"],
  *,
  beta: Number | None = None,
  normalize: bool = True,
  reduction: Literal["sum", "mean"] = "sum",
  where: Where = None,
  axis_name: str | None = None,
) -> Float[Array, "b"]:
  """Shrinks the coordinates that are active for everything.

  The paper's term is a sum over views and coordinates that nothing divides: the
  mean of these values is that sum. With unit representations it is of order 1,
  where the score's term is 1e-5: "mean" is the balanced variant.

  Equation: l_i = n sum_k 1[||H_k||_1 > beta] |h_ik|, H_k the column of all n
    views; over n r with "mean"
  Source: Kalibhat et al. 2024, arXiv 2203.01881, eq. 3; "mean" is ours
  Checked: a loop in float64; numeric gradients; four devices and one

  Args:
    h: representations of all views, before any projector.
    beta: the column sum above which a coordinate counts; the mean of all r if
      None, as in the paper.
    normalize: divide each h_i by its length first (the paper does not say).
    reduction: "sum" as printed, "mean" divided by n r.
    where: True for the views that count.
    axis_name: the devices over whose views columns are summed.

  Returns:
    One value a view; 0 where not counted. The paper's weight is 1e-4.

  Raises:
    ValueError: for an unknown reduction.
  """
  if reduction not in ("sum", "mean"):
    raise ValueError(f"reduction is {reduction!r}; it is sum or mean")
  per_row(len(h), where=where)
  (h,) = lift(h)
  h = blank(h, where)
  h = jnp.abs(activations.unit_rows(h) if normalize else h)
  column, n = accel.sum((h.sum(0), _views(h, where)), axis_name)
  column, n = jax.lax.stop_gradient((column, n))
  beta = column.mean() if beta is None else jnp.asarray(beta, h.dtype)
  busy = jnp.where(column > beta, jnp.ones_like(column), 0 * column)
  each = (h * busy[None]).sum(-1)
  return blank(each * n if reduction == "sum" else each / h.shape[1], where)


def lasso(
  h: Float[Array | np.ndarray, "b r"], *, where: Where = None
) -> Float[Array, "b"]:
  """The sum of a representation's absolute values, which makes it sparse.

  Equation: l_i = ||h_i||_1
  Source: Kalibhat et al. 2024, arXiv 2203.01881, its baseline, there summed
    over the views (multiply the weight by their number)
  Checked: its equation in NumPy

  Args:
    h: representations of all views.
    where: True for the views that count.

  Returns:
    One value a view; 0 where not counted.
  """
  per_row(len(h), where=where)
  (h,) = lift(h)
  return jnp.abs(blank(h, where)).sum(-1)


def _views(h, where):
  """How many views count on this device."""
  if where is None:
    return jnp.asarray(len(h), h.dtype)
  return jnp.asarray(where).sum(dtype=h.dtype)
