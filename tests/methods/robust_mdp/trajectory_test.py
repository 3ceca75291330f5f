"""Trajectories: who is visited how often, and what is shown."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import environments, problems, train, trajectory
from kd_jax.methods.robust_mdp.arms import PRESETS
from kd_jax.methods.robust_mdp.environments import simulator


@pytest.mark.parametrize("first", [0.5, 0.2, 0.001])
def test_every_state_of_the_ring_is_visited_alike(first):
  ring = environments.make("ring")
  chances = trajectory.action_chances(2, first)
  found = trajectory.visits(ring.transitions, chances, 0.01)
  # Every state is left with the same chance: d(s, a) = .1 pi(a).
  assert found.rare == pytest.approx(0.1 * min(first, 1 - first))
  assert found.often == pytest.approx(0.1 * max(first, 1 - first))
  assert found.restart == 0


def test_the_chain_needs_restarts():
  chain = environments.make("chain")
  chances = trajectory.action_chances(2, 0.0)
  found = trajectory.visits(chain.transitions, chances, 0.05)
  assert found.restart == 0.05
  assert found.rare > 1e-4
  three = trajectory.action_chances(3, 0.5)
  np.testing.assert_allclose(three, [0.5, 0.25, 0.25])


@pytest.mark.parametrize("restart", [0.0, 0.05])
def test_a_long_trajectory_visits_as_the_linear_solve_says(restart):
  task = environments.make("ring" if restart == 0 else "chain")
  world = simulator.compact(task)
  chances = trajectory.action_chances(2, 0.3)
  n = 200_000
  u = np.random.default_rng(0).uniform(size=(n, 4)).astype(np.float32)
  rewards = jnp.asarray(task.rewards, jnp.float32)
  roll = jax.jit(trajectory.roll_out)
  end, seen = roll(
    world, rewards, trajectory.behaviour(2, 0.3, restart), jnp.int32(3), u
  )
  s, a, after = (np.asarray(x) for x in (seen.state, seen.action, seen.after))
  share = np.zeros((10, 2))
  np.add.at(share, (s, a), 1 / n)
  expected = trajectory.visits(task.transitions, chances, restart or 0.01)
  assert share.min() == pytest.approx(expected.rare, rel=0.15)
  assert share.max() == pytest.approx(expected.often, rel=0.1)
  # What is shown is the kernel, restarts or not.
  counts = np.zeros((10, 2, 10))
  np.add.at(counts, (s, a, after), 1)
  often = counts.sum(-1) > 3000
  found = (counts / np.maximum(counts.sum(-1, keepdims=True), 1))[often]
  np.testing.assert_allclose(found, task.transitions[often], atol=0.03)
  np.testing.assert_array_equal(seen.reward, task.rewards[s, a])
  jumps = (s[1:] != after[:-1]).mean()
  assert jumps == pytest.approx(restart * 0.9, abs=0.01)
  assert s[0] == 3
  assert int(end) == after[-1] or restart


def walk(up, states=20):
  """Up with a chance that the action has, else down."""
  p = np.zeros((states, len(up), states))
  for s in range(states):
    for a, chance in enumerate(up):
      p[s, a, min(s + 1, states - 1)] += chance
      p[s, a, max(s - 1, 0)] += 1 - chance
  return environments.Mdp(
    name="walk",
    transitions=p,
    rewards=np.zeros(p.shape[:2]),
    discount=0.9,
    start=np.eye(states)[0],
    v_max=10.0,
  )


def test_states_that_are_hardly_ever_visited_need_restarts():
  """Connected, but the top is reached with a chance of (.045 / .955)^19."""
  mdp = walk((0.03, 0.06))
  chances = trajectory.action_chances(2, 0.0)
  found = trajectory.visits(mdp.transitions, chances, 0.01)
  assert found.restart == 0.01
  # By the power method.
  chain = 0.99 * mdp.transitions.mean(1) + 0.01 / 20
  d = np.linalg.matrix_power(chain, 2**14)[0]
  assert found.rare == pytest.approx(d.min() / 2, rel=1e-6)
  assert found.often == pytest.approx(d.max() / 2, rel=1e-6)
  # Few enough steps, and the same walk does without; by detailed balance.
  found = trajectory.visits(walk((0.03, 0.06), 6).transitions, chances, 0.01)
  d = (0.045 / 0.955) ** np.arange(6)
  assert found.restart == 0
  assert found.rare == pytest.approx(d.min() / d.sum() / 2, rel=1e-6)


@pytest.mark.parametrize("restart", [1e-6, 0.01])
def test_steps_are_real_where_states_are_hardly_ever_visited(restart):
  mdp = walk((0.03, 0.06))
  problem = problems.Problem("exact_walk", mdp, None, "chi2", (1.0,), {})
  config = dataclasses.replace(PRESETS["tiny"], restart=restart)
  said = []
  found = train.follow(config, "algorithm_2", problem, said.append)
  (line,) = said
  assert "hardly ever" in line
  assert f"restarts anywhere with chance {restart:g}" in line
  assert found["behaviour"].restart == np.float32(restart)
  for rate in found["rates"]:
    assert rate.dtype == np.float32
    assert (np.isfinite(rate) & (rate > 0)).all()
