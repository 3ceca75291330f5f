"""Algorithm 3 against the exact solution of the same kernel."""

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import backups, environments, exact
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE, KL
from kd_jax.methods.robust_mdp.full_gradients import algorithm_3


@pytest.mark.parametrize("divergence", [CHI_SQUARE, KL], ids=lambda d: d.name)
def test_ends_at_the_exact_solution(divergence):
  mdp = environments.make("riverswim", discount=0.8)
  model = backups.model(mdp)
  lam = jnp.float32(2.0)
  expected = exact.solve_penalised(divergence, model, lam).q
  found = algorithm_3(divergence, model, lam, mdp.v_max, 80, 60)
  np.testing.assert_allclose(found, expected, atol=1e-3)
  # T' = 1 has not found the worst kernel yet.
  early = algorithm_3(divergence, model, lam, mdp.v_max, 5, 1)
  assert np.abs(early - expected).max() > 1e-2


def test_a_sweep_by_hand():
  """One sweep, one step: eta = lam E[1 - f*'(...)], Q = R + gamma E J."""
  model = backups.model(environments.make("chain"))
  lam, v_max = 3.0, 10.0
  found = algorithm_3(CHI_SQUARE, model, jnp.float32(lam), v_max, 1, 1)
  v = np.full(10, v_max)
  p = np.asarray(environments.make("chain").transitions)
  slope = (p * (1 - np.maximum(0 + 2 * lam - v, 0) / (2 * lam))).sum(-1)
  eta = (lam * slope)[..., None]
  tail = np.maximum(eta + 2 * lam - v, 0) ** 2 / (4 * lam)
  worst = (p * (-tail + lam + eta)).sum(-1)
  np.testing.assert_allclose(
    found, np.asarray(model.rewards) + 0.9 * worst, rtol=1e-5
  )


def test_l1_has_no_gradient():
  with pytest.raises(UsageError, match="solver gradients needs a finite"):
    Config(solver="gradients", divergence="l1")
