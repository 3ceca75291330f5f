"""Exact L2 penalties, kernels never built.

Letters: k members, b examples, f outputs, i inputs; W the kernel, D (the
paper's Delta) what lambda scales, r s u v fast weights, e(lambda) per output,
nu the coefficient that is part of lambda. There is no factor 1/2.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Norms(NamedTuple):
  """Squared norms of the columns of A and D, and their inner products.

  Attributes:
    aa: <A_j, A_j>; k is 1 where members share A.
    ad: <A_j, D_j>.
    dd: <D_j, D_j>.
  """

  aa: Float[Array, "k f"]
  ad: Float[Array, "k f"]
  dd: Float[Array, "k f"]


def columns(kernel: Float[Array, "*i f"], delta: Float[Array, "*i f"]) -> Norms:
  """Of kernels without fast weights, which all members share.

  Args:
    kernel: W; of no input axis (1, f) for biases.
    delta: D, likewise.

  Returns:
    The norms, with k = 1.
  """
  axes = tuple(range(kernel.ndim - 1))
  pairs = ((kernel, kernel), (kernel, delta), (delta, delta))
  return Norms(*((a * b).sum(axes)[None] for a, b in pairs))


def fast_columns(
  kernel: Float[Array, "*i f"],
  delta: Float[Array, "*i f"],
  r: Float[Array, "k c"],
  s: Float[Array, "k f"],
  u: Float[Array, "k c"],
  v: Float[Array, "k f"],
) -> Norms:
  """Of W * r s^T and D * u v^T.

  Args:
    kernel: W, its last input axis being the channels.
    delta: D.
    r: what scales the channels of W.
    s: what scales its outputs.
    u: what scales the channels of D.
    v: what scales its outputs.

  Returns:
    The norms of each member.
  """
  axes = tuple(range(kernel.ndim - 2))

  def norm(a, b, ins, outs):
    product = (a * b).sum(axes)
    return outs * jnp.matmul(ins, product, precision="highest")

  return Norms(
    norm(kernel, kernel, r * r, s * s),
    norm(kernel, delta, r * u, s * v),
    norm(delta, delta, u * u, v * v),
  )


def hyper_l2(
  norms: Norms, e: Float[Array, "k b f"], nu: Float[Array, "k b"]
) -> Float[Array, ""]:
  """Mean over members and examples of nu ||A + D diag(e)||^2.

  nu and e are both functions of lambda: their products are meaned jointly, for
  mean(nu e) is not mean(nu) mean(e).

  Source: Wenzel et al. 2020, arXiv 2006.13570; the closed form of its L2 term

  Args:
    norms: of the columns of A and D.
    e: of each example; b (or k) may be 1.
    nu: its coefficient; likewise.

  Returns:
    The penalty.
  """
  m0 = nu.mean(1)[:, None]
  m1 = (nu[..., None] * e).mean(1)
  m2 = (nu[..., None] * e * e).mean(1)
  return (m0 * norms.aa + 2 * m1 * norms.ad + m2 * norms.dd).sum(-1).mean()


def plain_l2(
  value: Float[Array, "..."], nu: Float[Array, "k b"]
) -> Float[Array, ""]:
  """Mean of nu times the squared norm of what all members share.

  Args:
    value: a kernel.
    nu: its coefficient, of each member and example; either axis may be 1.

  Returns:
    The penalty.
  """
  return nu.mean() * jnp.square(value).sum()


def member_l2(
  value: Float[Array, "k f"], nu: Float[Array, "k b"]
) -> Float[Array, ""]:
  """Mean of nu times the squared norm of what each member has: its bias.

  Args:
    value: one row per member.
    nu: its coefficient; either axis may be 1.

  Returns:
    The penalty.
  """
  return (nu.mean(1) * jnp.square(value).sum(-1)).mean()
