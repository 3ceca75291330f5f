"""Gradients of products with a shared kernel, against kernels really built."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import fast, shared

K, C, F = 3, 4, 5
RNG = np.random.default_rng(0)


def drawn(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def built(x, kernel, r, s, product):
  """Member by member, with a kernel of its own."""
  x = jnp.broadcast_to(x, (K, *x.shape[1:]))
  kernels = [
    kernel * r[k].reshape(C, 1) * s[k].reshape(1, F)
    if kernel.ndim == 2
    else kernel * r[k].reshape(1, 1, C, 1) * s[k].reshape(1, 1, 1, F)
    for k in range(K)
  ]
  return jnp.stack([product(x[k], kernels[k]) for k in range(K)])


def natively(x, kernel):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (2, 2),
    [(1, 1)] * 2,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def case(shape, lead):
  """Ours, the plain statement, and what they are of."""
  fast_weights = drawn(K, C), drawn(K, F)
  if shape == "dense":
    given = (drawn(lead, 6, C), drawn(C, F), *fast_weights)
    return shared.dense, lambda *a: built(*a, jnp.matmul), given
  given = (drawn(lead, 2, 5, 5, C), drawn(3, 3, C, F), *fast_weights)

  def ours(*a):
    return shared.convolution(*a, strides=2, padding=1)

  return ours, lambda *a: built(*a, natively), given


def close(found, expect, rtol=1e-4):
  for a, b in zip(*map(jax.tree.leaves, (found, expect)), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("lead", [1, K])
@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_gradients_are_those_of_kernels_that_are_built(shape, lead):
  ours, plainly, given = case(shape, lead)
  y, back = jax.vjp(jax.jit(ours), *given)
  expect, back_plainly = jax.vjp(plainly, *given)
  close(y, expect)
  dy = drawn(*y.shape)
  close(back(dy), back_plainly(dy))


@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_gradients_of_gradients(shape):
  ours, plainly, given = case(shape, 1)
  directions = [drawn(*v.shape) for v in given]

  def twice(product):
    def along(*given):
      grads = jax.grad(lambda *a: (product(*a) ** 3).sum(), range(4))(*given)
      return sum((g * d).sum() for g, d in zip(grads, directions, strict=True))

    return jax.jit(jax.grad(along, range(4)))(*given)

  close(twice(ours), twice(plainly), 1e-3)


@pytest.mark.parametrize("rows", [1, 7, 12])
def test_rows_are_added_whatever_their_number(rows):
  x, weight = drawn(K, rows, C), drawn(K, C)
  dy = drawn(K, rows, C)
  _, back = jax.vjp(fast.by_member, x, weight)
  close(back(dy), (dy * weight[:, None], (dy * x).sum(1)))
  _, back = jax.vjp(fast.by_member, x[:1], weight)
  expect = (dy * weight[:, None]).sum(0, keepdims=True), (dy * x[:1]).sum(1)
  close(back(dy), expect)


def test_half_precision_sums_in_full():
  ours, plainly, given = case("conv", K)
  half = [jnp.asarray(v, jnp.bfloat16) for v in given]
  y, back = jax.vjp(ours, *half)
  found = back(jnp.ones_like(y))
  assert all(v.dtype == jnp.bfloat16 for v in (y, *found))
  wide = [v.astype(jnp.float32) for v in half]
  _, back = jax.vjp(plainly, *wide)
  close(
    [v.astype(np.float32) for v in found], back(np.ones(y.shape, "f")), 0.05
  )
