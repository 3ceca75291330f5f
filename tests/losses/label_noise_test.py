import jax
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(1)
Z = RNG.normal(size=(4, 3)).astype(np.float32)
Q = RNG.dirichlet(np.ones(3), 3).astype(np.float32)
Y = np.array([0, 2, 1, 2], np.int32)


def test_loop():
  expect = []
  for z, y in zip(Z.astype(float), Y, strict=True):
    p = np.exp(z) / np.exp(z).sum()
    expect.append(-np.log(sum(p[k] * Q[k, y] for k in range(3))))
  np.testing.assert_allclose(
    jax.jit(losses.noisy_nll)(Z, Q, Y), expect, rtol=1e-5
  )


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_identity_is_cross_entropy(scale):
  z = np.float32(scale) * Z
  got = losses.noisy_nll(z, np.eye(3, dtype=np.float32), Y)
  expect = optax.losses.softmax_cross_entropy_with_integer_labels(z, Y)
  np.testing.assert_allclose(got, expect, rtol=1e-5)


def test_uniform_transition_says_nothing():
  q = np.full((3, 3), 1 / 3, np.float32)
  value, grad = jax.value_and_grad(lambda z: losses.noisy_nll(z, q, Y).sum())(Z)
  np.testing.assert_allclose(value, 4 * np.log(3), rtol=1e-6)
  np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_gradients():
  check_grads(
    lambda z, q: losses.noisy_nll(z, q, Y),
    (Z, Q),
    order=1,
    modes=["rev"],
    atol=2e-2,
    rtol=2e-2,
  )


def test_extremes_and_zeros_have_finite_gradients():
  q = np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]], np.float32)
  grads = jax.grad(lambda z, q: losses.noisy_nll(z, q, Y).sum(), (0, 1))(
    1e4 * Z, q
  )
  assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_loud(label):
  got = losses.noisy_nll(Z, Q, np.array([0, label, 1, 2], np.int32))
  np.testing.assert_array_equal(np.isnan(got), [False, True, False, False])


def test_shapes(unhooked):
  fn = unhooked(losses.noisy_nll)
  with pytest.raises(ValueError, match=r"\(2, 2\).*\(4, 3\)"):
    fn(Z, Q[:2, :2], Y)
  with pytest.raises(ValueError, match=r"labels is \(3,\).*\(4,\)"):
    fn(Z, Q, Y[:3])
