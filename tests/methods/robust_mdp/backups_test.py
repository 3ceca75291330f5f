"""Sweeps: contraction, limits, dense = compact, and s-rectangularity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import (
  backups,
  ball,
  environments,
  exact,
  inner,
)
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE, DIVERGENCES

ALL = list(DIVERGENCES.values())
each = pytest.mark.parametrize("divergence", ALL, ids=lambda d: d.name)
SMALL = {"states": 12, "actions": 3, "branching": 4}


def dense(model):
  """The same model over all states."""
  s, a, b = model.probs.shape
  p = np.zeros((s, a, s))
  for i in range(b):
    np.add.at(
      p,
      (
        np.arange(s)[:, None],
        np.arange(a)[None],
        np.asarray(model.successors)[..., i],
      ),
      np.asarray(model.probs)[..., i],
    )
  return model._replace(probs=jnp.asarray(p), successors=None)


@each
def test_compact_is_dense_and_a_contraction(divergence, model_of, double):
  model = model_of("garnet", **SMALL)
  assert model.successors is not None
  rng = np.random.default_rng(0)
  u, v = (jnp.asarray(rng.uniform(0, 20, 12)) for _ in range(2))
  for fn, weight in (
    (backups.robust_backup, 0.7),
    (backups.constrained_backup, 0.2),
  ):
    sweep = jax.jit(functools.partial(fn, divergence))
    one = sweep(model, v, weight)
    np.testing.assert_allclose(sweep(dense(model), v, weight), one, atol=1e-9)
    other = sweep(model, u, weight)
    moved = float(jnp.abs(one - other).max())
    assert moved <= 0.95 * float(jnp.abs(u - v).max()) + 1e-9


@each
def test_the_ends_of_robustness(divergence, model_of, double):
  model = model_of("garnet", **SMALL)
  v = jnp.asarray(np.random.default_rng(1).uniform(0, 20, 12))
  ordinary = backups.ordinary_backup(model, v)
  np.testing.assert_allclose(
    backups.robust_backup(divergence, model, v, 1e3), ordinary, atol=0.05
  )
  worst = model.rewards + 0.95 * v[model.successors].min(-1)
  np.testing.assert_allclose(
    backups.robust_backup(divergence, model, v, 1e-8), worst, atol=1e-5
  )
  np.testing.assert_allclose(
    backups.constrained_backup(divergence, model, v, 1e4), worst, atol=1e-4
  )
  nothing = backups.contaminated_backup(model, v, 0.0)
  np.testing.assert_allclose(nothing, ordinary, atol=1e-12)
  all_of_it = backups.contaminated_backup(model, v, 1.0)
  np.testing.assert_allclose(all_of_it, model.rewards + 0.95 * v.min())


@each
def test_s_rectangular_against_a_search_over_policies(
  divergence, model_of, double
):
  """max_pi min over shares of the budget, for two actions, on grids."""
  model = model_of("garnet", states=4, actions=2, branching=3)
  rho = 0.15
  v = jnp.asarray(np.random.default_rng(2).uniform(0, 20, 4))
  sweep = jax.jit(
    lambda v: backups.s_rectangular_backup(divergence, model, v, rho)
  )
  found, policy = (np.asarray(x) for x in sweep(v))
  shares = np.linspace(0, 2 * rho, 301)
  values = backups.next_values(model, v)
  solve = ball.constrained(divergence)
  worst = jax.jit(jax.vmap(lambda r: solve(model.probs, values, r).value))(
    jnp.maximum(shares, 1e-9)
  )
  worst = np.asarray(worst)
  q = np.asarray(model.rewards)[None] + 0.95 * worst
  mixes = np.linspace(0, 1, 501)[:, None]
  for s in range(4):
    # (mixes, shares): what each mix is worth for each split of the budget.
    worth = mixes * q[:, s, 0] + (1 - mixes) * q[::-1, s, 1]
    assert float(found[s]) == pytest.approx(worth.min(1).max(), abs=0.02)
    own = policy[s, 0] * q[:, s, 0] + policy[s, 1] * q[::-1, s, 1]
    assert float(found[s]) == pytest.approx(own.min(), abs=0.02)
  np.testing.assert_allclose(policy.sum(-1), 1, atol=1e-9)
  # A smaller set than the (s, a)-rectangular one of twice the radius.
  larger = backups.constrained_backup(divergence, model, v, 2 * rho).max(-1)
  assert np.all(np.asarray(found) >= np.asarray(larger) - 1e-6)


def test_an_s_rectangular_optimum(model_of, double):
  model = model_of("ring")
  solve = jax.jit(
    lambda: exact.solve_s_rectangular(CHI_SQUARE, model, 0.1, sweeps=120)
  )
  v, policy = (np.asarray(x) for x in solve())
  assert policy.min() >= 0
  # The set holds every product of balls of 0.1, and is in that of 0.2.
  small = np.asarray(exact.solve_constrained(CHI_SQUARE, model, 0.1).v)
  large = np.asarray(exact.solve_constrained(CHI_SQUARE, model, 0.2).v)
  close = 10 * 0.9**120
  assert np.all(large - close <= v)
  assert np.all(v <= small + close)
  assert np.all(v < small - 0.01)


def test_a_model_is_compact_where_that_halves_it():
  assert backups.model(environments.make("chain")).probs.shape == (10, 2, 2)
  full = environments.make("garnet", states=4, actions=2, branching=4)
  assert backups.model(full).successors is None


@pytest.mark.parametrize("name", ["chi2", "kl"])
def test_the_gradient_of_a_sweep_is_the_worst_kernel(name, model_of):
  model = model_of("garnet", np.float32, **SMALL)
  v = jnp.asarray(np.random.default_rng(3).uniform(0, 9, 12), jnp.float32)
  f = DIVERGENCES[name]
  slope = jax.jit(
    jax.jacobian(lambda v: backups.robust_backup(f, model, v, 0.5))
  )(v)
  kernel = inner.penalised(f)(model.probs, v[model.successors], 0.5).kernel
  spread = dense(model._replace(probs=kernel)).probs
  np.testing.assert_allclose(slope, 0.95 * spread, atol=1e-5)
