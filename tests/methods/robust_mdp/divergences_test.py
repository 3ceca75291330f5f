"""A divergence is its conjugate and its derivative; the rest must follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import divergences
from kd_jax.methods.robust_mdp.divergences import (
  CHI_SQUARE,
  DIVERGENCES,
  KL,
  L1,
)

# f itself, which the code does not need.
GENERATORS = {
  "chi2": lambda t: (t - 1) ** 2,
  "kl": lambda t: np.where(t > 0, t * np.log(np.maximum(t, 1e-300)), 0.0),
  "l1": lambda t: np.abs(t - 1),
}
ALL = list(DIVERGENCES.values())
each = pytest.mark.parametrize("divergence", ALL, ids=lambda d: d.name)


@each
def test_conjugate_is_the_supremum(divergence, double):
  t = np.linspace(0, 60, 600_001)
  cost = GENERATORS[divergence.name](t)
  for s in (-5.0, -2.0, -0.3, 0.0, 0.7, 0.99, 1.0):
    brute = np.max(s * t - cost)
    assert float(divergence.conjugate(jnp.asarray(s))) == pytest.approx(
      brute, abs=1e-6
    )


@each
def test_the_derivative_is_the_conjugates(divergence, double):
  s = jnp.asarray([-3.1, -2.5, -1.5, -0.4, 0.2, 0.9])
  slope = jax.vmap(jax.grad(divergence.conjugate))(s)
  np.testing.assert_allclose(divergence.derivative(s), slope, atol=1e-12)


@each
def test_the_dual_gradient_is_that_of_the_objective(divergence, double):
  rng = np.random.default_rng(0)
  v, lam = rng.uniform(0, 5, 50), rng.uniform(0.5, 3, 50)
  limit = min(divergence.limit, 3.0)
  eta = v + lam * rng.uniform(-3, limit - 0.01, 50)
  objective = divergences.dual_objective(divergence)
  by_grad = jax.vmap(jax.grad(objective))(*map(jnp.asarray, (eta, v, lam)))
  found = divergences.dual_gradient(divergence)(eta, v, jnp.asarray(lam))
  np.testing.assert_allclose(found, by_grad, atol=1e-10)


def test_chi_square_by_the_papers_formula():
  eta, v, lam = np.float32(3.0), np.float32(1.5), np.float32(0.7)
  plus = max(eta + 2 * lam - v, 0)
  found = divergences.dual_objective(CHI_SQUARE)(eta, v, lam)
  assert found == pytest.approx(-(plus**2) / (4 * lam) + lam + eta, rel=1e-6)
  slope = divergences.dual_gradient(CHI_SQUARE)(eta, v, lam)
  assert slope == pytest.approx(1 - plus / (2 * lam), rel=1e-6)


def test_a_sample_of_j_is_far_below_minus_v_max():
  """Why the sample is never clipped: gamma .9, lam .5, eta 21, V 0."""
  found = divergences.dual_objective(CHI_SQUARE)(21.0, 0.0, 0.5)
  assert float(found) == pytest.approx(-220.5)


def test_the_tilt_is_the_slope_of_f_at_one():
  assert [d.tilt for d in (CHI_SQUARE, KL, L1)] == [0.0, 1.0, 1.0]
  half = divergences.Divergence(
    "half",
    lambda s: jnp.square(jnp.maximum(s + 1, 0)) / 2 - 0.5,
    lambda s: jnp.maximum(s + 1, 0),
  )
  assert half.tilt == 0.0
  assert jax.jit(lambda x: x + half.tilt)(1.0) == 1.0


def test_bounds_of_eta():
  low, high = divergences.theta(CHI_SQUARE, 0.5, 10.0)
  assert (low, high) == (-0.5, 21.0)  # Lemma A.1.
  assert divergences.theta(KL, 2.0, 10.0) == (2.0, 12.0)
  assert float(divergences.project(KL, -3.0, 2.0, 10.0)) == 2.0
  assert float(divergences.feasible(L1, 5.0, 1.0, 2.0)) == 3.0
  assert divergences.feasible(KL, 5.0, 1.0, 2.0) == 5.0


def test_kl_does_not_overflow():
  lam = jnp.float32(0.01)
  eta = divergences.theta(KL, lam, 10.0)[1]
  for fn in (divergences.dual_objective(KL), divergences.dual_gradient(KL)):
    assert np.isfinite(fn(eta, jnp.float32(0.0), lam))
