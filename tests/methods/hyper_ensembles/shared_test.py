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
  ones = (1,) * (kernel.ndim - 2)
  kernels = [
    kernel * r[k].reshape(*ones, -1, 1) * s[k].reshape(*ones, 1, -1)
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
  c = 1 if shape == "one channel" else C
  fast_weights = drawn(K, c), drawn(K, F)
  if shape == "dense":
    given = (drawn(lead, 6, c), drawn(c, F), *fast_weights)
    return shared.dense, lambda *a: built(*a, jnp.matmul), given
  given = (drawn(lead, 2, 5, 5, c), drawn(3, 3, c, F), *fast_weights)

  def ours(*a):
    return shared.convolution(*a, strides=2, padding=1)

  return ours, lambda *a: built(*a, natively), given


def pulled(product, given, dy):
  """The outputs and all gradients, as one program."""

  @jax.jit
  def both(given, dy):
    y, back = jax.vjp(product, *given)
    return y, back(dy)

  return both(given, dy)


def close(found, expect, rtol=1e-4):
  for a, b in zip(*map(jax.tree.leaves, (found, expect)), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("lead", [1, K])
@pytest.mark.parametrize("shape", ["dense", "conv", "one channel"])
def test_gradients_are_those_of_kernels_that_are_built(shape, lead):
  ours, plainly, given = case(shape, lead)
  dy = drawn(*jax.eval_shape(plainly, *given).shape)
  close(pulled(ours, given, dy), pulled(plainly, given, dy))


@pytest.mark.parametrize("shape", ["dense", "conv", "one channel"])
def test_gradients_of_gradients(shape):
  ours, plainly, given = case(shape, 1)
  directions = [drawn(*v.shape) for v in given]

  def twice(product):
    def along(*given):
      grads = jax.grad(lambda *a: (product(*a) ** 3).sum(), range(4))(*given)
      return sum((g * d).sum() for g, d in zip(grads, directions, strict=True))

    return jax.jit(jax.grad(along, range(4)))(*given)

  close(twice(ours), twice(plainly), 1e-3)


@pytest.mark.parametrize("members", [K, 9])  # One by one, and not.
@pytest.mark.parametrize("shape", [(1,), (7,), (12,), (6, 2, 3)])
def test_rows_are_added_whatever_their_number(shape, members):
  x, weight = drawn(members, *shape, C), drawn(members, C)
  dy = drawn(members, *shape, C)
  wide = weight.reshape(members, *(1,) * len(shape), C)
  rows = tuple(range(1, 1 + len(shape)))
  _, found = pulled(fast.by_member, (x, weight), dy)
  close(found, (dy * wide, (dy * x).sum(rows)))
  _, found = pulled(fast.by_member, (x[:1], weight), dy)
  close(found, ((dy * wide).sum(0, keepdims=True), (dy * x[:1]).sum(rows)))


def test_one_channel_is_convolved_once_for_all_members():
  ours, _, given = case("one channel", 1)
  lowered = jax.jit(ours).trace(*given).lower(lowering_platforms=("tpu",))
  (line,) = (x for x in lowered.as_text().splitlines() if "convolution" in x)
  assert "tensor<2x5x5x1xf32>" in line


@pytest.mark.parametrize("shape", ["conv", "one channel"])
def test_half_precision_sums_in_full(shape):
  ours, plainly, given = case(shape, K)
  half = [jnp.asarray(v, jnp.bfloat16) for v in given]
  dy = np.ones(jax.eval_shape(plainly, *given).shape, np.float32)
  y, found = pulled(ours, half, jnp.asarray(dy, jnp.bfloat16))
  assert all(v.dtype == jnp.bfloat16 for v in (y, *found))
  _, expect = pulled(plainly, [v.astype(jnp.float32) for v in half], dy)
  close([v.astype(np.float32) for v in found], expect, 0.05)
