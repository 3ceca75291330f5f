"""Statistics of a batch of embeddings: spread out, and each dimension its own.

These are one number of the batch, the same on every device (`combine` takes
scalars as they are); differentiate on each device and mean the gradients.
Letters: b batch (on this device), B rows that count on all devices, d embedding
with dimensions i and j, z an embedding.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import Number, blank, lift, per_row, same_shape

Rows = Float[Array | np.ndarray, "b d"]
Mask = Bool[Array | np.ndarray, "b"]


def invariance(
  first: Rows, second: Rows, *, where: Mask | None = None
) -> Float[Array, "b"]:
  """Mean square of the differences of two embeddings, as they are (VICReg).

  Equation: l_i = 1/d sum_j (z_ij - z'_ij)^2
  Source: Bardes, Ponce and LeCun 2022, arXiv 2105.04906, eq. 5, over d as in
    the authors' code
  Checked: NumPy in float64

  Args:
    first: z, of one view.
    second: z', of the other.
    where: True for the examples that count.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  same_shape(first=first, second=second)
  per_row(len(first), where=where)
  a, b = (blank(z, where) for z in lift(first, second))
  return blank(jnp.square(a - b).mean(-1), where)


def variance_hinge(
  embedding: Rows,
  *,
  floor: Number = 1.0,
  epsilon: Number = 1e-4,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """How far the dimensions' standard deviations are below a floor (VICReg).

  VICReg adds half of each of the two views', which is what the authors' code
  and lightly do; solo-learn adds the whole of both (its 25 is 50 there).

  Equation: L = 1/d sum_j max(0, g - sqrt(Var(z_j) + e)), Var over B - 1
  Source: Bardes, Ponce and LeCun 2022, arXiv 2105.04906, eq. 1 and 2
  Checked: NumPy in float64; numeric gradients; four devices and one

  Args:
    embedding: z, of one view.
    floor: g; the paper's is 1.
    epsilon: e, which keeps the root's gradient finite.
    where: True for the rows that count.
    axis_name: the devices whose rows make the statistics.

  Returns:
    One number.

  Raises:
    ValueError: if `where` has not one entry per row.
  """
  z, count = _centred(embedding, where, axis_name)
  squares = accel.sum((z * z).sum(0), axis_name)
  variance = squares / jnp.maximum(count - 1, 1.0)
  low = jnp.asarray(floor, z.dtype) - jnp.sqrt(
    variance + jnp.asarray(epsilon, z.dtype)
  )
  return jnp.maximum(low, 0.0).mean()


def covariance_penalty(
  embedding: Rows,
  *,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """Squared covariances of different dimensions (VICReg).

  VICReg adds the two views'.

  Equation: L = 1/d sum_{i != j} Cov(z)_ij^2, Cov over B - 1
  Source: Bardes, Ponce and LeCun 2022, arXiv 2105.04906, eq. 3 and 4
  Checked: NumPy's cov in float64; whitened rows, 0; numeric gradients; four
    devices and one

  Args:
    embedding: z, of one view.
    where: True for the rows that count.
    axis_name: the devices whose rows make the statistics.

  Returns:
    One number.

  Raises:
    ValueError: if `where` has not one entry per row.
  """
  z, count = _centred(embedding, where, axis_name)
  products = jnp.matmul(z.T, z, precision="highest")
  covariance = accel.sum(products, axis_name) / jnp.maximum(count - 1, 1.0)
  d = covariance.shape[0]
  apart = jnp.where(jnp.eye(d, dtype=bool), 0.0, covariance)
  return jnp.square(apart).sum() / d


def barlow_twins(
  first: Rows,
  second: Rows,
  *,
  off_diagonal: Number = 0.0051,
  epsilon: Number = 1e-5,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """Distance of two views' cross-correlation from the identity.

  Both are standardised per dimension over the batch (biased variance) first.
  It starts at about d. The authors' code has had factors of 1 and .024, VISSL
  .024, solo-learn .1; lightly's off-diagonal weight is .005. With LARS a factor
  matters for biases and decay alone, with SGD and Adam it is a learning rate.

  Equation: L = sum_i (1 - C_ii)^2 + w sum_{i != j} C_ij^2,
    C = 1/B sum_b y_b y'_b^T, y = (z - mean) / sqrt(Var + e)
  Source: Zbontar et al. 2021, arXiv 2103.03230, eq. 1 and 2
  Checked: NumPy in float64; equal whitened views, 0; numeric gradients; four
    devices and one

  Args:
    first: z, of one view.
    second: z', of the other.
    off_diagonal: w; the paper's is 0.0051.
    epsilon: e, added to the variances, as batch normalisation does.
    where: True for the rows that count.
    axis_name: the devices whose rows make the statistics.

  Returns:
    One number.

  Raises:
    ValueError: if shapes differ.
  """
  same_shape(first=first, second=second)
  first, second = lift(first, second)
  y, other = (
    _standardised(z, epsilon, where, axis_name) for z in (first, second)
  )
  _, count = _centred(first, where, axis_name)
  products = jnp.matmul(y.T, other, precision="highest")
  c = accel.sum(products, axis_name) / jnp.maximum(count, 1.0)
  w = jnp.asarray(off_diagonal, c.dtype)
  same = jnp.eye(c.shape[0], dtype=bool)
  # Rows without one that counts correlate with nothing: not a loss of d.
  some = (count > 0).astype(c.dtype)
  return some * jnp.where(same, jnp.square(1 - c), w * jnp.square(c)).sum()


def _centred(embedding, where, axis_name):
  """Rows less their mean (0 where they do not count), and how many count."""
  per_row(len(embedding), where=where)
  (z,) = lift(embedding)
  z = blank(z, where)
  rows = jnp.ones(len(z), z.dtype)
  count = accel.sum(blank(rows, where).sum(), axis_name)
  mean = accel.sum(z.sum(0), axis_name) / jnp.maximum(count, 1.0)
  return blank(z - mean[None], where), count


def _standardised(z, epsilon, where, axis_name):
  """Rows of mean 0 and variance 1 in each dimension, over all devices."""
  z, count = _centred(z, where, axis_name)
  squares = accel.sum((z * z).sum(0), axis_name)
  variance = squares / jnp.maximum(count, 1.0)
  return z * jax.lax.rsqrt(variance + jnp.asarray(epsilon, z.dtype))[None]
