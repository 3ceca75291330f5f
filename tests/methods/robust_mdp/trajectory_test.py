"""Trajectories: who is visited how often, and what is shown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import environments, trajectory
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
