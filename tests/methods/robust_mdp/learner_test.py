"""Algorithms 1 and 2 against plain loops, term by term."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import divergences, learner, online, step_sizes
from kd_jax.methods.robust_mdp.divergences import (
  CHI_SQUARE,
  DIVERGENCES,
  KL,
  L1,
)

V_MAX, GAMMA = 10.0, 0.9


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def j(eta, v, lam):
  return -(max(eta + 2 * lam - v, 0) ** 2) / (4 * lam) + lam + eta


def listed(values):
  values = jnp.asarray(values, jnp.float32)
  return lambda k: values[k]


def climb(eta, v, lam, rate):
  eta += rate * (1 - max(eta + 2 * lam - v, 0) / (2 * lam))
  return min(max(eta, -lam), 2 * V_MAX + 2 * lam)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_an_outer_step_is_that_of_algorithm_1(fresh, warm):
  rng = np.random.default_rng(0)
  states, actions, steps, lam, beta = 4, 3, 6, 0.8, 0.3
  q = rng.uniform(-2, 12, (states, actions))
  eta = rng.uniform(0, 10, q.shape) if warm else np.zeros(q.shape)
  reward = rng.uniform(size=q.shape)
  after = rng.integers(0, states, (steps + 1, states, actions))
  rates = np.array([lam / math.sqrt(k) for k in range(1, steps + 1)])
  # By hand.
  v = np.clip(q.max(1), 0, V_MAX)
  new_q, new_eta = q.copy(), eta.copy()
  for s in range(states):
    for a in range(actions):
      for k in range(steps):
        new_eta[s, a] = climb(new_eta[s, a], v[after[k, s, a]], lam, rates[k])
      last = v[after[steps if fresh else steps - 1, s, a]]
      target = reward[s, a] + GAMMA * j(new_eta[s, a], last, lam)
      new_q[s, a] = (1 - beta) * q[s, a] + beta * target

  def draw(values):
    return lambda k: values[jnp.asarray(after)[k].ravel()]

  found = learner.generative_update(
    CHI_SQUARE,
    jnp.asarray(q, jnp.float32),
    jnp.asarray(eta, jnp.float32),
    jnp.asarray(reward, jnp.float32),
    draw,
    jnp.float32(lam),
    jnp.float32(beta),
    step_sizes.inner_rates(
      "sqrt", CHI_SQUARE, jnp.float32(lam), V_MAX, steps, 7
    ),
    jnp.float32(GAMMA),
    V_MAX,
    fresh=fresh,
  )
  close(found[0], new_q)
  close(found[1], new_eta)


@pytest.mark.parametrize("mended", [True, False])
def test_transitions_are_those_of_algorithm_2(mended):
  rng = np.random.default_rng(1)
  states, actions, lam = 3, 2, 1.5
  rates = step_sizes.trajectory_rates(lam, V_MAX, GAMMA, 0.05, 0.3)
  kappa = 1 / (6 * (lam + 10))
  assert rates.alpha == pytest.approx(1 / (kappa * 0.05))
  assert rates.alpha_shift == 15  # 6^1.5 is 14.7.
  assert rates.beta == pytest.approx(1 / (0.1 * 0.05))
  assert rates.beta_shift == 60
  ring = step_sizes.trajectory_rates(lam, V_MAX, GAMMA, 0.05, 0.05 + 1e-12)
  assert (ring.alpha_shift, ring.beta_shift) == (1, 10)
  assert ring.beta / ring.beta_shift == pytest.approx(20)  # The page's trap 1.
  q, eta = rng.uniform(0, 14, (states, actions)), np.zeros((states, actions))
  learned = online.Learned(
    *(jnp.asarray(x, jnp.float32) for x in (q, eta, np.zeros_like(q)))
  )
  for t in range(4):
    s, a, after = rng.integers(states), rng.integers(actions), t % states
    r = rng.uniform()
    alpha = rates.alpha / (t + rates.alpha_shift) ** (2 / 3)
    beta = rates.beta / (t + rates.beta_shift)
    v = q[after].max()
    if mended:
      v, beta = min(max(v, 0), V_MAX), min(beta, 1)
    else:
      assert beta > 1
    old = eta[s, a]
    target = r + GAMMA * j(old, v, lam)
    q[s, a] = (1 - beta) * q[s, a] + beta * target
    eta[s, a] = climb(old, v, lam, alpha)
    seen = online.Transition(*map(jnp.asarray, (s, a, r, after)))
    learned = online.trajectory_update(
      CHI_SQUARE,
      learned,
      seen,
      jnp.float32(t),
      jnp.float32(lam),
      rates,
      jnp.float32(GAMMA),
      V_MAX,
      mended=mended,
    )
  np.testing.assert_allclose(learned.q, q, rtol=1e-4)
  close(learned.eta, eta)


def test_steps_below_the_last_place_add_up():
  """Ten thousand steps, each far below the last place of Q."""
  rates = step_sizes.TrajectoryRates(*map(jnp.float32, (0, 1, 1e-6, 0)))
  learned = online.Learned(
    jnp.full((1, 1), 9.0), jnp.zeros((1, 1)), jnp.zeros((1, 1))
  )
  zero = jnp.int32(0)

  def move(learned, reward):
    # gamma is 0: the target is the reward; beta is 1e-6.
    seen = online.Transition(zero, zero, reward, zero)
    new = online.trajectory_update(
      KL,
      learned._replace(eta=jnp.full((1, 1), 1.0)),
      seen,
      jnp.float32(1),
      jnp.float32(1.0),
      rates,
      jnp.float32(0),
      V_MAX,
    )
    return new, None

  rewards = jnp.asarray([8.95, 9.02] * 5000, jnp.float32)
  found, _ = jax.lax.scan(move, learned, rewards)
  expected = 9.0
  for reward in np.asarray(rewards, np.float64):
    expected += 1e-6 * (reward - expected)
  moved = float(found.q[0, 0]) - 9.0
  assert moved == pytest.approx(expected - 9.0, rel=0.02)
  assert expected - 9.0 < -1e-4


def test_ascent_finds_the_exact_eta():
  """Warm, KL and chi-square, on a million samples of one pair."""
  p, v, lam = np.array([0.3, 0.5, 0.2]), np.array([1.0, 4.0, 9.0]), 1.3
  drawn = np.random.default_rng(2).choice(v, (200_000, 1), p=p)
  rates = lam / jnp.sqrt(jnp.arange(1, len(drawn) + 1, dtype=jnp.float32))
  for f in (CHI_SQUARE, KL):
    start = divergences.project(f, jnp.zeros(1), jnp.float32(lam), V_MAX)
    _, mean = learner.ascend(
      f,
      start,
      listed(drawn),
      jnp.float32(lam),
      rates,
      V_MAX,
      average=True,
    )
    low, high = -2.0, 25.0
    for _ in range(60):
      middle = (low + high) / 2
      slope = p @ (1 - np.asarray(f.derivative((middle - v) / lam)))
      low, high = (middle, high) if slope > 0 else (low, middle)
    assert float(mean[0]) == pytest.approx(low, abs=0.05)


def test_with_l1_eta_follows_the_least_value():
  rng = np.random.default_rng(3)
  values = rng.choice([2.0, 5.0, 9.0], (300, 1), p=[0.05, 0.45, 0.5])
  lam = jnp.float32(0.5)
  rates = jnp.full(300, 1e-4)
  eta, _ = learner.ascend(
    L1, jnp.full(1, 9.0), listed(values), lam, rates, V_MAX
  )
  assert float(eta[0]) == pytest.approx(2.5, abs=0.02)
  # And J of a sample is never minus infinity.
  q = learner.q_update(
    L1,
    jnp.zeros(1),
    jnp.full(1, 9.0),
    jnp.zeros(1),
    jnp.full(1, 2.0),
    lam,
    jnp.float32(1),
    jnp.float32(1),
  )
  assert float(q[0]) == 2.0


@pytest.mark.parametrize("f", list(DIVERGENCES.values()), ids=lambda d: d.name)
def test_a_maximum_is_a_fixed_point_on_average(f):
  """The mean of the Q update at eta* is the exact backup."""
  from kd_jax.methods.robust_mdp import inner

  p, v = np.array([0.3, 0.5, 0.2], np.float32), np.array([1, 4, 9], np.float32)
  worst = inner.penalised(f)(p, v, 0.7)
  eta = jnp.full(3, worst.eta) - 1e-6
  q = learner.q_update(
    f,
    jnp.zeros(3),
    eta,
    jnp.full(3, 0.25),
    jnp.asarray(v),
    jnp.float32(0.7),
    jnp.float32(1),
    jnp.float32(GAMMA),
  )
  expected = 0.25 + GAMMA * float(worst.value)
  assert float(p @ np.asarray(q)) == pytest.approx(expected, rel=1e-4)


def test_how_high_a_cold_start_climbs():
  values = listed(np.full((100, 1), V_MAX))
  for lam in (0.5, 1.0):
    rates = step_sizes.inner_rates("sqrt", CHI_SQUARE, lam, V_MAX, 100, 0)
    eta, _ = learner.ascend(
      CHI_SQUARE, jnp.zeros(1), values, jnp.float32(lam), rates, V_MAX
    )
    reach = step_sizes.cold_reach(lam, 100)
    assert reach == pytest.approx(20 * lam)
    assert float(eta[0]) <= min(reach, V_MAX) + 1e-4
    # At lam .5 it does not get there, at 1 it does.
    assert (float(eta[0]) > 9.5) == (lam == 1.0)


def test_step_sizes():
  lam, t = jnp.float32(2.0), 5
  for rule, expected in {
    "sqrt": [2, 2 / math.sqrt(2), 2 / math.sqrt(3)],
    "running": [2 / math.sqrt(6), 2 / math.sqrt(7), 2 / math.sqrt(8)],
    "constant": [2, 2, 2],
    # diam 26, C_g (26 + 10) / 4.
    "theory": [26 / 9 / math.sqrt(k) for k in (1, 2, 3)],
  }.items():
    found = step_sizes.inner_rates(rule, CHI_SQUARE, lam, V_MAX, 3, t)
    close(found, expected)


def test_no_update_knows_a_kernel():
  """Nothing of the learner's has two axes of states."""
  for module in (learner, online, step_sizes):
    text = inspect.getsource(module)
    assert "simulator" not in text
    assert "backups" not in text
    assert '"s a t"' not in text
  states, actions = 50, 3
  shape = jax.ShapeDtypeStruct((states, actions), jnp.float32)
  scalar = jax.ShapeDtypeStruct((), jnp.float32)
  rates = step_sizes.TrajectoryRates(scalar, scalar, scalar, scalar)
  number = jax.ShapeDtypeStruct((), jnp.int32)
  seen = online.Transition(number, number, scalar, number)
  learned = online.Learned(shape, shape, shape)
  jaxpr = jax.make_jaxpr(
    lambda learned, seen, t, lam, rates: online.trajectory_update(
      CHI_SQUARE, learned, seen, t, lam, rates, GAMMA, V_MAX
    )
  )(learned, seen, scalar, scalar, rates)
  sizes = [math.prod(v.aval.shape) for e in jaxpr.jaxpr.eqns for v in e.outvars]
  assert max(sizes) == states * actions


def test_l1_is_finite_at_its_edge():
  """There (eta - v) / lam comes out a last place above 1 for some."""
  rng = np.random.default_rng(0)
  v = jnp.asarray(rng.uniform(0, 10, 4000), jnp.float32)
  for lam in (0.5, 3.0):
    target = learner.q_target(
      divergences.L1, jnp.full(4000, 30.0), jnp.zeros(4000), v, lam, 0.9
    )
    np.testing.assert_allclose(target, 0.9 * v, rtol=1e-5, atol=1e-5)
    moved = learner.eta_update(
      divergences.L1, jnp.full(4000, 30.0), v, lam, 0.1, 10.0
    )
    # The slope at the edge is 0: eta stays on it.
    np.testing.assert_allclose(moved, v + lam, rtol=1e-5)
