"""Steps of many members: devices, order, seeds and weights change nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.methods.robust_mdp import arms, problems, states, steps, train
from kd_jax.methods.robust_mdp.arms import of_arm
from kd_jax.methods.robust_mdp.environments import simulator

TINY = dataclasses.replace(
  arms.PRESETS["tiny"],
  seeds=4,
  inner_steps=3,
  chunk=10,
  transitions=40,
  levels=1,
)


@functools.cache
def made(arm, seeds=4, lams=(1.0, 10.0), outer_rate="experiment"):
  """A phase, and a state at step 0 beside a made-up reference."""
  config = dataclasses.replace(
    TINY, arms=(arm,), seeds=seeds, lams=lams, outer_rate=outer_rate
  )
  _, by_arm = problems.gather(config)
  problem, own = by_arm[arm], of_arm(config, arm)
  phase = train.learner_phase(own, arm, problem, lambda line: None)
  shape = problem.mdp.rewards.shape
  exact = {
    "penalised": np.ones((len(problem.lams), *shape), np.float32),
    **dict.fromkeys(
      ("ordinary", "contaminated", "constrained"), np.ones(shape, np.float32)
    ),
  }
  return phase, {problem.key: exact}


def run(arm, n=5, devices=None, seed=0, **how):
  phase, products = made(arm, **how)
  state = phase.init(products, np.uint32(seed))
  devices = devices or jax.devices()[:1]
  split = phase.split(state)
  lifted = accel.data_parallel(
    accel.scan_steps(phase.step),
    devices=devices,
    data="replicated",
    split=split,
  )
  placed = accel.place(state, devices, split)
  data = accel.place((phase.data, np.int32(n)), devices)
  new, (found, healthy) = lifted(placed, data)
  assert int(healthy) == n
  return jax.device_get(new), jax.device_get(found)


EVERY = [
  "algorithm_1",
  "kl",
  "l1",
  "average_q",
  "q_learning",
  "multilevel",
  "constrained",
  "algorithm_2",
]


@pytest.mark.parametrize("arm", ["algorithm_1", "constrained", "algorithm_2"])
def test_four_devices_are_one(arm):
  one, first = run(arm)
  four, second = run(arm, devices=jax.devices()[:4])
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
  for name in first:
    np.testing.assert_allclose(first[name], second[name], rtol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("arm", ["algorithm_1", "multilevel", "algorithm_2"])
def test_steps_lower(arm, platform):
  phase, products = made(arm)
  state = phase.init(products, np.uint32(0))
  lifted = accel.data_parallel(
    accel.scan_steps(phase.step), data="replicated", split=phase.split(state)
  )
  exported = lifted.export(state, (phase.data, np.int32(2)), [platform])
  assert exported.platforms == (platform,)
  assert exported.nr_devices == 4


@pytest.mark.parametrize("arm", EVERY)
def test_a_member_is_its_seed_and_its_weight(arm):
  """Alone, or with others: the same numbers."""
  whole, _ = run(arm, n=12)
  assert len(np.unique(whole.q.reshape(4, -1), axis=0)) == 4
  alone, _ = run(arm, n=12, seed=2, seeds=1)
  np.testing.assert_allclose(alone.q[0], whole.q[2], rtol=1e-5, atol=1e-5)
  if whole.q.shape[1] > 1:
    light, _ = run(arm, n=12, lams=(10.0,))
    np.testing.assert_allclose(light.q[:, 0], whole.q[:, 1], rtol=1e-5)


def test_steps_do_not_depend_on_their_grouping():
  phase, products = made("algorithm_2")
  state = phase.init(products, np.uint32(0))
  fused = jax.jit(accel.scan_steps(phase.step))
  whole, _ = fused(state, (phase.data, 4))
  half, _ = fused(state, (phase.data, 1))
  rest, _ = fused(half, (phase.data, 3))
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
    np.testing.assert_array_equal(a, b)


LATE = {"experiment": 0, "theory": 1}  # Section 6.1's t, Theorem 4.2's t + 1.


@pytest.mark.parametrize("outer_rate", list(LATE))
def test_algorithm_1_against_a_plain_loop(outer_rate):
  """NumPy on the step's own numbers: the samples, the update, the members."""
  found, _ = run("algorithm_1", n=3, outer_rate=outer_rate)
  phase, _ = made("algorithm_1")
  world = phase.data["world"]
  for member in (0, 3):
    for place, lam in enumerate((1.0, 10.0)):
      q, eta = np.full((10, 2), 10.0), np.zeros((10, 2))
      for t in range(3):
        u = steps.uniforms(jnp.uint32(member), 0, jnp.int32(t), (4, 10, 2))
        after = np.asarray(simulator.sample_all(world, u))
        v = np.clip(q.max(1), 0, 10)
        for k in range(3):
          slope = 1 - np.maximum(eta + 2 * lam - v[after[k]], 0) / (2 * lam)
          eta = np.clip(eta + lam / np.sqrt(k + 1) * slope, -lam, 20 + 2 * lam)
        plus = np.maximum(eta + 2 * lam - v[after[3]], 0)
        target = phase.data["rewards"] + 0.9 * (
          -(plus**2) / (4 * lam) + lam + eta
        )
        beta = 1 / (1 + 0.1 * (t + LATE[outer_rate]))
        q = (1 - beta) * q + beta * target
      np.testing.assert_allclose(found.q[member, place], q, rtol=1e-4)
      np.testing.assert_allclose(found.eta[member, place], eta, rtol=1e-4)


@pytest.mark.parametrize(
  ("arm", "outer_rate"),
  [
    ("q_learning", "experiment"),
    ("q_learning", "theory"),
    ("contamination", "experiment"),
  ],
)
def test_where_each_sample_is_an_update_against_a_plain_loop(arm, outer_rate):
  """Four updates a step, each with the values and the rate of its moment."""
  found, _ = run(arm, n=3, outer_rate=outer_rate)
  phase, _ = made(arm)
  share = {"q_learning": 0.0, "contamination": 0.1}[arm]
  for member in (0, 3):
    q, updates = np.full((10, 2), 10.0), 0
    for t in range(3):
      u = steps.uniforms(jnp.uint32(member), 0, jnp.int32(t), (4, 10, 2))
      for after in np.asarray(simulator.sample_all(phase.data["world"], u)):
        v = np.clip(q.max(1), 0, 10)
        worth = (1 - share) * v[after] + share * v.min()
        beta = 1 / (1 + 0.1 * (updates + LATE[outer_rate]))
        q += beta * (phase.data["rewards"] + 0.9 * worth - q)
        updates += 1
    np.testing.assert_allclose(found.q[member, 0], q, rtol=1e-5)


@pytest.mark.parametrize(
  ("arm", "key", "expected"),
  [
    ("algorithm_1", "exact_chain", (1, 10)),
    ("cold_10", "exact_chain", (1, 10)),
    ("kl", "exact_chain_kl", (1, 10)),
    ("l1", "exact_chain_l1", (1, 10)),
    ("algorithm_2", "exact_ring", (1, 10)),
    ("printed", "exact_ring", (1, 10)),
    ("behaviour_1", "exact_ring", (1, 2, 5, 10)),
    ("q_learning", "exact_chain", (20,)),
    ("contamination", "exact_chain", (30,)),
    ("multilevel", "exact_chain_kl", (40,)),
    ("constrained", "exact_chain", (40,)),
  ],
)
def test_errors_are_measured_from_the_targets_own_values(arm, key, expected):
  """Each exact solution is a constant here, and penalised ones their lam."""
  config = dataclasses.replace(TINY, arms=(arm,), lams=(1.0, 10.0))
  _, by_arm = problems.gather(config)
  problem = by_arm[arm]
  assert problem.key == key
  # Other arms of the run ask for other weights beside this one's.
  problem = dataclasses.replace(problem, lams=(0.5, 1.0, 2.0, 5.0, 7.0, 10.0))
  one = np.ones(problem.mdp.rewards.shape, np.float32)
  exact = {
    "penalised": np.stack([lam * one for lam in problem.lams]),
    "ordinary": 20 * one,
    "contaminated": 30 * one,
    "constrained": 40 * one,
  }
  own, products = of_arm(config, arm), {key: exact}
  state = states.create(own, arm, problem, 2, products, np.uint32(0))
  assert state.reference.shape == (len(expected), 10, 2)
  np.testing.assert_array_equal(
    state.reference, np.multiply.outer(np.asarray(expected, np.float32), one)
  )


def test_as_printed_it_diverges_and_the_run_goes_on():
  printed, found = run("printed", n=100)
  bad = ~np.isfinite(printed.q).all((-2, -1))
  assert bad.any()
  np.testing.assert_array_equal(printed.extra["lost"] > 0, bad)
  assert found["finite"].total / found["finite"].count < 1
  assert np.isfinite(found["error"].total)
  phase, products = made("printed")
  assert phase.may_diverge  # The loop would end it otherwise.
  state = phase.init(products, np.uint32(0))
  state = state.replace(q=jnp.full_like(state.q, 2e38))
  _, found = jax.jit(phase.step)(state, phase.data)
  assert np.isfinite(found["error"].total)
  mended, _ = run("algorithm_2", n=100)
  assert np.isfinite(mended.q).all()
  assert (mended.extra["lost"] == -1).all()


def test_what_is_carried_for_a_pair():
  """Q and eta, and nothing with two axes of states."""
  phase, products = made("algorithm_1")
  state = phase.init(products, np.uint32(0))
  assert state.q.shape == state.eta.shape == (4, 2, 10, 2)
  assert state.extra == {}
  assert not any(leaf.shape[-2:] == (10, 10) for leaf in jax.tree.leaves(state))


def test_points_of_the_curve():
  phase, products = made("algorithm_1")
  state = phase.init(products, np.uint32(0))
  every = phase.epoch.every
  record = phase.epoch.run
  state = state.replace(step=jnp.int32(2 * every), q=state.q.at[0].set(jnp.nan))
  new, row = record(state, None)
  assert np.isnan(new.history[0, :, 2]).all()
  np.testing.assert_allclose(new.history[1:, :, 2], 9.0)
  np.testing.assert_allclose(row["error"], [9.0, 9.0])
  np.testing.assert_allclose(row["band"], 0.0)
  q = state.q.at[:, 0].set(1 + jnp.arange(4.0).reshape(4, 1, 1))
  _, row = record(state.replace(q=q), None)
  values = np.arange(4.0)
  assert float(row["error"][0]) == pytest.approx(values.mean())
  assert float(row["band"][0]) == pytest.approx(
    1.96 * values.std(ddof=1) / 2, rel=1e-5
  )
  assert states.split(state).q
  assert not states.split(state).reference
