"""Ensemble losses against loops, closed forms and Jensen."""

import jax
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(7)
Z = RNG.normal(size=(3, 5, 4)).astype(np.float32)
Y = np.array([0, 3, 1, 2, 3], np.int32)


def softmax(z):
  e = np.exp(z.astype(np.float64))
  return e / e.sum(-1, keepdims=True)


def test_ensemble_cross_entropy_is_of_the_mean_probability():
  expect = [-np.log(np.mean(softmax(Z)[:, i, y])) for i, y in enumerate(Y)]
  got = jax.jit(losses.ensemble_cross_entropy)(Z, Y)
  np.testing.assert_allclose(got, expect, rtol=1e-5)
  # Not of the mean logit.
  other = optax.losses.softmax_cross_entropy_with_integer_labels(Z.mean(0), Y)
  assert np.abs(got - other).max() > 1e-2


def test_gibbs_cross_entropy_is_the_members_mean():
  each = [
    optax.losses.softmax_cross_entropy_with_integer_labels(z, Y) for z in Z
  ]
  got = losses.gibbs_cross_entropy(Z, Y)
  np.testing.assert_allclose(got, np.mean(each, 0), rtol=1e-5)
  assert (got >= losses.ensemble_cross_entropy(Z, Y) - 1e-6).all()


def test_smoothing_of_each_member_and_example():
  e = RNG.uniform(0, 0.4, (3, 5)).astype(np.float32)
  expect = np.zeros(5)
  for k in range(3):
    for i, y in enumerate(Y):
      target = (1 - e[k, i]) * np.eye(4)[y] + e[k, i] / 4
      expect[i] -= (target * np.log(softmax(Z[k, i]))).sum() / 3
  got = losses.gibbs_cross_entropy(Z, Y, smoothing=e)
  np.testing.assert_allclose(got, expect, rtol=1e-5)
  one = losses.gibbs_cross_entropy(Z, Y, smoothing=0.1)
  every = losses.gibbs_cross_entropy(
    Z, Y, smoothing=np.full((1, 1), 0.1, np.float32)
  )
  np.testing.assert_allclose(one, every, rtol=1e-6)


def test_one_member_is_plain_cross_entropy():
  plain = optax.losses.softmax_cross_entropy_with_integer_labels(Z[0], Y)
  for loss in (losses.ensemble_cross_entropy, losses.gibbs_cross_entropy):
    np.testing.assert_allclose(loss(Z[:1], Y), plain, rtol=1e-5)


@pytest.mark.parametrize(
  "loss", [losses.ensemble_cross_entropy, losses.gibbs_cross_entropy]
)
def test_gradients_and_extremes(loss):
  check_grads(lambda z: loss(z, Y), (Z,), 1, ["rev"], atol=2e-2, rtol=2e-2)
  grad = jax.grad(lambda z: loss(z, Y).sum())(1e4 * Z)
  assert np.isfinite(grad).all()


def test_brier_against_a_loop():
  p = softmax(Z[0]).astype(np.float32)
  expect = [np.square(p[i] - np.eye(4)[y]).sum() for i, y in enumerate(Y)]
  np.testing.assert_allclose(losses.brier(p, Y), expect, rtol=1e-5)
  np.testing.assert_allclose(
    losses.brier(np.eye(4, dtype=np.float32)[Y], Y), np.zeros(5)
  )


def test_shapes(unhooked):
  with pytest.raises(ValueError, match=r"labels is \(4,\).*\(5,\)"):
    unhooked(losses.gibbs_cross_entropy)(Z, Y[:4])
  with pytest.raises(ValueError, match=r"smoothing is \(5,\)"):
    unhooked(losses.gibbs_cross_entropy)(Z, Y, smoothing=np.ones(5))
