import jax
import jax.numpy as jnp
import numpy as np
import plain_views as plain
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(8)
# Neither centred nor of unit variance; two dimensions go together.
Z, Z2 = (0.7 * RNG.normal(size=(2, 9, 4)) + 0.4).astype(np.float32)
Z[:, 1] += 0.5 * Z[:, 0]
Z2 += Z
WHERE = np.arange(9) % 4 != 2
SCALARS = {
  "variance_hinge": (losses.variance_hinge, plain.variance, 1),
  "covariance_penalty": (losses.covariance_penalty, plain.covariance, 1),
  "barlow_twins": (losses.barlow_twins, plain.barlow, 2),
}


def _whitened(z):
  z = z - z.mean(0)
  _, vectors = np.linalg.eigh(z.T @ z)
  z = z @ vectors
  return (z / z.std(0)).astype(np.float32)


@pytest.mark.parametrize("name", SCALARS)
def test_numpy(name):
  fn, expected, count = SCALARS[name]
  args = (Z, Z2)[:count]
  np.testing.assert_allclose(fn(*args), expected(*args), rtol=1e-5)
  assert expected(*args) > 1e-3


@pytest.mark.parametrize("name", SCALARS)
def test_rows_that_do_not_count(name):
  fn, expected, count = SCALARS[name]
  args = (Z, Z2)[:count]
  poisoned = [
    np.where(WHERE[:, None], z, np.nan).astype(np.float32) for z in args
  ]
  order = tuple(range(count))
  value, grads = jax.value_and_grad(lambda *a: fn(*a, where=WHERE), order)(
    *poisoned
  )
  alone = expected(*[z[WHERE] for z in args])
  np.testing.assert_allclose(value, alone, rtol=1e-5)
  for grad in grads:
    assert np.isfinite(grad).all()
    np.testing.assert_array_equal(grad[~WHERE], 0)
    assert np.abs(grad[WHERE]).max() > 1e-4


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_are_finite(name, rows):
  fn, _, count = SCALARS[name]
  where = np.arange(9) < rows
  value, grad = jax.value_and_grad(lambda z: fn(z, *[z] * (count - 1)))(Z[:9])
  assert np.isfinite(value)
  value, grad = jax.value_and_grad(
    lambda z: fn(z, *[z] * (count - 1), where=where)
  )(Z)
  assert np.isfinite(value)
  assert np.isfinite(grad).all()


@pytest.mark.parametrize("name", SCALARS)
def test_gradients(name):
  fn, _, count = SCALARS[name]
  check_grads(fn, (Z, Z2)[:count], order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_whitened_views():
  w = _whitened(Z)
  np.testing.assert_allclose(losses.barlow_twins(w, w), 0, atol=1e-5)
  np.testing.assert_allclose(losses.covariance_penalty(w), 0, atol=1e-6)
  # Unbiased deviations of exactly sqrt(9 / 8), above the floor.
  assert losses.variance_hinge(w) == 0
  np.testing.assert_allclose(
    losses.variance_hinge(w, floor=2.0),
    2 - np.sqrt(9 / 8 + 1e-4),
    rtol=1e-5,
  )


def test_collapsed_embeddings():
  same = np.tile(Z[:1], (9, 1))
  value, grad = jax.value_and_grad(losses.variance_hinge)(jnp.asarray(same))
  np.testing.assert_allclose(value, 1 - 0.01, rtol=1e-4)
  assert np.isfinite(grad).all()
  # Nothing correlates.
  np.testing.assert_allclose(losses.barlow_twins(same, same), 4, rtol=1e-5)


def test_a_large_mean_does_not_cancel():
  np.testing.assert_allclose(
    losses.barlow_twins(Z + 1000, Z2 - 1000), plain.barlow(Z, Z2), rtol=1e-3
  )


def test_invariance():
  expected = ((Z.astype(float) - Z2) ** 2).mean(1)
  np.testing.assert_allclose(losses.invariance(Z, Z2), expected, rtol=1e-5)


def test_errors(unhooked):
  with pytest.raises(ValueError, match=r"\(9, 4\).*\(3, 4\)"):
    unhooked(losses.barlow_twins)(Z, Z2[:3])
  with pytest.raises(ValueError, match=r"where is \(4,\).*\(9,\)"):
    unhooked(losses.variance_hinge)(Z, where=np.ones(4, bool))
