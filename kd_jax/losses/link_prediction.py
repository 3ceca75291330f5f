"""Scores of true links against scores of drawn ones, and a cubic penalty.

Letters: b batch, n negatives, S a score (the larger the likelier), d embedding.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax.losses.inputs import Number, blank, lift, per_row

# Far below any score, yet finite: negatives that do not count.
_NEVER = -1e30


def self_adversarial(
  positive: Float[Array | np.ndarray, "b"],
  negative: Float[Array | np.ndarray, "b n"],
  *,
  temperature: Number = 1.0,
  balance: Number = 1.0,
  negative_where: Bool[Array | np.ndarray, "b n"] | None = None,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  stop_weights_gradient: bool = True,
) -> Float[Array, "b"]:
  """Logistic loss in which a hard negative weighs more than an easy one.

  Equation: l_i = (-log s(S_i) - rho sum_j p_ij log s(-S_ij)) / (1 + rho), s the
    logistic function, p_i = softmax(a S_i1 .. a S_in), a constant
  Source: Sun et al. 2019 (RotatE), arXiv 1902.10197, self-adversarial negative
    sampling; rho as in their code
  Checked: its equation in NumPy; equal weights without temperature; negatives
    left out

  Args:
    positive: S_i, scores of true links, margin included.
    negative: S_ij, scores of the links drawn against each.
    temperature: a >= 0; 0 weighs all negatives alike.
    balance: rho, the negatives' weight beside the positive's 1.
    negative_where: True for negatives that count; a row without any has no
      negative part.
    where: True for the rows that count.
    stop_weights_gradient: whether p is a constant for the gradient, as in the
      paper.

  Returns:
    The loss of each row; 0 where not counted.

  Raises:
    ValueError: for shapes that do not fit.
  """
  if negative.ndim != 2 or len(negative) != len(positive):
    raise ValueError(f"positive is {positive.shape}, negative {negative.shape}")
  if negative_where is not None and negative_where.shape != negative.shape:
    raise ValueError(
      f"negative_where is {negative_where.shape}, negative {negative.shape}"
    )
  per_row(len(positive), where=where)
  positive, negative, a, rho = lift(positive, negative, temperature, balance)
  positive, negative = blank(positive, where), blank(negative, where)
  counts = jnp.ones(negative.shape, bool)
  if negative_where is not None:
    counts = jnp.asarray(negative_where)
    negative = jnp.where(counts, negative, jnp.zeros_like(negative))
  never = jnp.asarray(_NEVER, negative.dtype)
  weights = jax.nn.softmax(jnp.where(counts, a * negative, never))
  weights = jnp.where(counts, weights, jnp.zeros_like(weights))
  if stop_weights_gradient:
    weights = jax.lax.stop_gradient(weights)
  against = -(weights * jax.nn.log_sigmoid(-negative)).sum(-1)
  loss = (-jax.nn.log_sigmoid(positive) + rho * against) / (1 + rho)
  return blank(loss, where)


def l3_penalty(
  rows: Float[Array | np.ndarray, "b d"],
  *,
  where: Bool[Array | np.ndarray, "b"] | None = None,
) -> Float[Array, "b"]:
  """Sum of the cubes of a row's absolute values.

  Equation: l_i = sum_k |x_ik|^3
  Source: Sun et al. 2019 (RotatE), arXiv 1902.10197, the penalty of their
    DistMult and ComplEx; Lacroix et al. 2018 (N3), arXiv 1806.07297, take the
    modulus of complex numbers instead
  Checked: its equation in NumPy

  Args:
    rows: embeddings.
    where: True for the rows that count.

  Returns:
    The penalty of each row; 0 where not counted.
  """
  if rows.ndim != 2:
    raise ValueError(f"rows are {rows.shape}; (b, d) is needed")
  per_row(len(rows), where=where)
  (x,) = lift(rows)
  x = jnp.abs(blank(x, where))
  return (x * x * x).sum(-1)
