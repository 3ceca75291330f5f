"""The baselines against plain statements."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import ball, baselines
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE, KL


def test_the_plug_in_counts():
  drawn = np.random.default_rng(0).integers(0, 3, (40, 3, 2))
  rewards = jnp.ones((3, 2))
  found = baselines.plug_in(jnp.asarray(drawn), rewards, jnp.float32(0.9))
  assert found.successors is None
  for s in range(3):
    for a in range(2):
      counts = np.bincount(drawn[:, s, a], minlength=3)
      np.testing.assert_allclose(found.probs[s, a], counts / 40, rtol=1e-6)


def test_q_learning_and_contamination_by_hand():
  q, r, v = jnp.float32(2.0), jnp.float32(0.5), jnp.float32(3.0)
  new = baselines.q_learning_update(q, r, v, 0.25, 0.8)
  assert float(new) == pytest.approx(0.75 * 2 + 0.25 * (0.5 + 0.8 * 3))
  target = baselines.contaminated_target(v, jnp.float32(1.0), 0.2)
  assert float(target) == pytest.approx(0.8 * 3 + 0.2 * 1)


def test_the_multilevel_mean_is_that_of_the_largest_sample(double):
  """Over every sequence of four samples of two values, and every level."""
  p, values, rho, epsilon, cap = 0.3, np.array([1.0, 5.0]), 0.1, 0.4, 1
  psi = ball.constrained(KL)
  sequences = np.array(list(itertools.product([0, 1], repeat=4)))
  chance = (p**sequences * (1 - p) ** (1 - sequences)).prod(1)
  x = jnp.asarray(values[sequences])
  expected = chance @ np.asarray(psi(jnp.full((16, 4), 0.25), x, rho).value)
  mean = 0.0
  for level in range(cap + 1):
    found = baselines.multilevel_target(
      x.T, jnp.full(16, level, jnp.int32), rho, epsilon
    )
    mean += baselines.level_chance(level, cap, epsilon) * (
      chance @ np.asarray(found)
    )
  assert mean == pytest.approx(expected, abs=1e-8)


def test_levels_have_their_chances():
  u = jnp.asarray(np.random.default_rng(1).uniform(size=100_000), jnp.float32)
  found = np.bincount(np.asarray(baselines.levels(u, 3, 0.4)), minlength=4)
  chances = [baselines.level_chance(n, 3, 0.4) for n in range(4)]
  assert sum(chances) == pytest.approx(1)
  np.testing.assert_allclose(found / 1e5, chances, atol=0.01)


def test_the_constrained_gradient_is_that_of_the_dual(double):
  eta, lam, v, rho = 4.0, 0.8, 3.0, 0.2

  def dual(eta, lam):
    return baselines.constrained_target(CHI_SQUARE, eta, lam, v, rho)

  by_eta, by_lam = jax.grad(dual, (0, 1))(eta, lam)
  new = baselines.constrained_ascent(CHI_SQUARE, eta, lam, v, rho, 0.01, 10.0)
  assert float(new[0]) == pytest.approx(eta + 0.01 * float(by_eta))
  assert float(new[1]) == pytest.approx(lam + 0.01 * float(by_lam))
  assert float(new[2]) == pytest.approx(abs(float(by_lam)))
  u = (eta - v) / lam
  assert float(by_lam) == pytest.approx(-rho + u**2 / 4)


def test_the_constrained_gradient_has_no_bound():
  slopes = [
    float(
      baselines.constrained_ascent(
        CHI_SQUARE, 5.0, jnp.float32(lam), 3.0, 0.1, 0.1, 10.0
      )[2]
    )
    for lam in (1.0, 0.1, 0.01)
  ]
  assert slopes[1] / slopes[0] == pytest.approx(100, rel=0.2)
  assert slopes[2] / slopes[1] == pytest.approx(100, rel=0.01)


def test_the_running_mean():
  mean = jnp.zeros(2)
  values = np.random.default_rng(2).normal(size=(7, 2)).astype(np.float32)
  for t, value in enumerate(values):
    mean = baselines.averaged(mean, value, t)
  np.testing.assert_allclose(mean, values.mean(0), rtol=1e-5)
