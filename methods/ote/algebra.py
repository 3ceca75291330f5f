"""Blocks: Gram-Schmidt, and what blocks do to vectors; see `distances`, too.

Letters: t tiles of p vectors, r relations, g blocks, k their size, d = g k the
width.

A vector of width d is a list of g sub-vectors of size k. Coordinate j of block
i stands at place j * g + i, so that a vector reshapes to (k, g) with the blocks
side by side: sums over a block's coordinates then run over whole rows, which is
what CPUs and accelerators are fast at. The paper's (g, k) is the same up to
this fixed renaming of the coordinates.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Under the square roots: a vector of length 0 has a gradient, 0, and a block of
# rank below k has an answer.
_TINY = 1e-12
# Blocks up to this size are laid side by side in the last axis while they are
# made orthogonal; larger ones stay matrices. Likewise vectors of a tile are
# added up one by one, or in a loop. Measured.
_SMALL = 8
_FEW = 32
_einsum = functools.partial(jnp.einsum, precision="highest")


@jax.custom_vjp
def gram_schmidt(m: Float[Array, "*n k k"]) -> Float[Array, "*n k k"]:
  """Makes the rows of matrices orthonormal, the first one keeping its way.

  Modified Gram-Schmidt: each row loses its parts along those before it, one
  after the other. The handedness of a matrix stays (det Q = sign det M). It
  would through training, were steps small; large ones jump (see the README).

  Source: OTE (arXiv 1911.04910), "orthogonal relation transform"

  Args:
    m: matrices of full rank.

  Returns:
    Q with Q Q^T = 1. A row that depends on those before it gives a row of
    length 0, not a NaN.
  """
  if m.shape[-1] > _SMALL:
    return _eliminate(m, m.ndim - 1)
  rows = jnp.moveaxis(m, (-2, -1), (0, 1))
  return jnp.moveaxis(_eliminate(rows, 1), (0, 1), (-2, -1))


def _eliminate(rows, axis):
  """Gram-Schmidt down the axis before `axis`, which holds coordinates."""
  done = []
  for _ in range(rows.shape[axis]):
    row, rest = jnp.split(rows, [1], axis - 1)
    squared = (row * row).sum(axis, keepdims=True)
    q = row * jax.lax.rsqrt(squared + _TINY)
    done.append(q)
    rows = rest - (rest * q).sum(axis, keepdims=True) * q
  return jnp.concatenate(done, axis - 1)


def _gram_schmidt_forward(m):
  q = gram_schmidt(m)
  return q, (m, q)


def _gram_schmidt_backward(saved, dq):
  # With M = L Q, L lower triangular: dM = L^-T (dQ + sym(-dQ Q^T) Q), where sym
  # copies the lower triangle to the upper one.
  m, q = saved
  lower = _einsum("...ij,...kj->...ik", m, q)
  eye = jnp.eye(m.shape[-1], dtype=m.dtype)
  guard = (_TINY**0.5) * eye.reshape(*[1] * (m.ndim - 2), *eye.shape)
  turned = -_einsum("...ij,...kj->...ik", dq, q)
  copied = jnp.tril(turned) + jnp.swapaxes(jnp.tril(turned, -1), -1, -2)
  moved = dq + _einsum("...ij,...jk->...ik", copied, q)
  return (
    jax.scipy.linalg.solve_triangular(
      lower + guard, moved, lower=True, trans=1
    ),
  )


gram_schmidt.defvjp(_gram_schmidt_forward, _gram_schmidt_backward)


def orthogonal_blocks(
  blocks: Float[Array, "r k k g"],
) -> Float[Array, "r k k g"]:
  """Gram-Schmidt on the rows of every block of every relation.

  Args:
    blocks: M, row and column before the block's number.

  Returns:
    Q in the same order.
  """
  m = jnp.moveaxis(blocks, -1, 1)
  return jnp.moveaxis(gram_schmidt(m), 1, -1)


def least_pivot(
  blocks: Float[Array, "r k k g"], q: Float[Array, "r k k g"]
) -> Float[Array, ""]:
  """The smallest length that Gram-Schmidt divided by; near 0 is trouble.

  Args:
    blocks: M.
    q: what Gram-Schmidt made of it.

  Returns:
    The least <m_i, q_i> over rows, blocks and relations.
  """
  return (blocks * q).sum(2).min()


def proper(q: Float[Array, "r k k g"]) -> Float[Array, "r k k g"]:
  """Turns reflections into rotations: the last row of each changes its sign.

  Args:
    q: orthogonal blocks.

  Returns:
    Blocks of determinant +1.
  """
  matrices = jax.lax.stop_gradient(jnp.moveaxis(q, -1, 1))
  sign = jnp.sign(jnp.linalg.det(matrices))
  last = q[:, -1:] * sign[:, None, None, :]
  return jnp.concatenate([q[:, :-1], last], 1)


def rotations(angles: Float[Array, "r g"]) -> Float[Array, "r 2 2 g"]:
  """The 2x2 blocks that multiply complex numbers by e^(i angle).

  Args:
    angles: in radians.

  Returns:
    Blocks for row vectors (real, imaginary).
  """
  return scaled_rotations(jnp.cos(angles), jnp.sin(angles))


def scaled_rotations(
  real: Float[Array, "r g"], imaginary: Float[Array, "r g"]
) -> Float[Array, "r 2 2 g"]:
  """The 2x2 blocks that multiply complex numbers by complex numbers.

  Args:
    real: their real parts.
    imaginary: their imaginary parts.

  Returns:
    Blocks for row vectors (real, imaginary).
  """
  first = jnp.stack([real, imaginary], 1)
  second = jnp.stack([-imaginary, real], 1)
  return jnp.stack([first, second], 1)


def multiply(
  x: Float[Array, "t p k g"], blocks: Float[Array, "t k k g"], transposed: bool
) -> Float[Array, "t p k g"]:
  """Row vectors times blocks, p vectors for each set of blocks.

  Args:
    x: vectors.
    blocks: a set for each tile of vectors.
    transposed: whether blocks are transposed.

  Returns:
    x_g Q_g or x_g Q_g^T for every block g.
  """
  if x.shape[1] > 1:
    return _multiply(x, blocks, transposed)
  # A dot product also keeps the compiler from working the result out again
  # wherever it is used, once for every candidate.
  form = "tplg,tklg->tpkg" if transposed else "tpkg,tklg->tplg"
  return _einsum(form, x, blocks)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _multiply(x, blocks, transposed):
  # Sums of products of whole rows, forwards and backwards: products of small
  # matrices are slower by 2 to 10 on a CPU.
  k = x.shape[2]
  if transposed:
    return sum(x[:, :, None, j] * blocks[:, None, :, j] for j in range(k))
  return sum(x[:, :, j, None] * blocks[:, None, j] for j in range(k))


def _multiply_forward(x, blocks, transposed):
  return _multiply(x, blocks, transposed), (x, blocks)


def _multiply_backward(transposed, saved, dy):
  x, blocks = saved
  rows, columns = (dy, x) if transposed else (x, dy)
  if x.shape[1] <= _FEW:
    db = sum(
      rows[:, p, :, None] * columns[:, p, None] for p in range(x.shape[1])
    )
  else:
    db = (rows[:, :, :, None] * columns[:, :, None]).sum(1)
  return _multiply(dy, blocks, not transposed), db


_multiply.defvjp(_multiply_forward, _multiply_backward)
