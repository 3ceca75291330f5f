"""Samples have the model's chances, whichever way they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import environments
from kd_jax.methods.robust_mdp.environments import simulator

# A chain of selects, and a table with more successors than that is for.
TASKS = {
  "chain": {},
  "frozen_lake": {},
  "inventory": {},
  "garnet": {"states": 12, "branching": 12},
}


@pytest.mark.parametrize("name", TASKS)
def test_samples_are_the_inverse_of_the_cumulative_chances(name):
  mdp = environments.make(name, **TASKS[name])
  table = simulator.compact(mdp)
  shape = (50, mdp.states, mdp.actions)
  uniforms = jax.random.uniform(jax.random.key(0), shape)
  drawn = np.asarray(simulator.sample_all(table, uniforms))
  cumulative = mdp.transitions.cumsum(-1)
  for n, s, a in np.ndindex(*shape):
    u, below = float(uniforms[n, s, a]), drawn[n, s, a] - 1
    reached = cumulative[s, a, below] if below >= 0 else 0.0
    assert reached - 1e-6 <= u <= cumulative[s, a, drawn[n, s, a]] + 1e-6
    assert mdp.transitions[s, a, drawn[n, s, a]] > 0


@pytest.mark.parametrize("name", TASKS)
def test_frequencies_are_the_chances(name):
  mdp = environments.make(name, **TASKS[name])
  table = simulator.compact(mdp)
  n = 4000
  uniforms = jax.random.uniform(jax.random.key(1), (n, mdp.states, mdp.actions))
  drawn = np.asarray(simulator.sample_all(table, uniforms))
  counts = (drawn[..., None] == np.arange(mdp.states)).mean(0)
  spread = np.sqrt(mdp.transitions * (1 - mdp.transitions) / n)
  assert (np.abs(counts - mdp.transitions) <= 5 * spread + 1e-6).all()


@pytest.mark.parametrize("name", TASKS)
def test_one_pair_and_values_agree_with_all_pairs(name):
  mdp = environments.make(name, **TASKS[name])
  table = simulator.compact(mdp)
  uniforms = jax.random.uniform(jax.random.key(2), (7, mdp.states, mdp.actions))
  drawn = simulator.sample_all(table, uniforms)
  values = jax.random.normal(jax.random.key(3), (mdp.states,))
  np.testing.assert_array_equal(
    simulator.sample_values(table, values, uniforms), values[drawn]
  )
  pick = simulator.picker(table, values)
  for u, seen in zip(uniforms, drawn, strict=True):
    np.testing.assert_array_equal(pick(u.ravel()), values[seen.ravel()])
  s, a = jnp.meshgrid(
    jnp.arange(mdp.states), jnp.arange(mdp.actions), indexing="ij"
  )
  one = jax.vmap(
    jax.vmap(simulator.sample_one, (None, 0, 0, 0)), (None, 0, 0, 0)
  )
  np.testing.assert_array_equal(one(table, s, a, uniforms[0]), drawn[0])


def test_the_largest_uniform_never_leaves_the_support():
  for name in TASKS:
    mdp = environments.make(name, **TASKS[name])
    table = simulator.compact(mdp)
    most = jnp.full((mdp.states, mdp.actions), np.nextafter(np.float32(1), 0))
    for uniforms in (most, jnp.zeros_like(most)):
      drawn = np.asarray(simulator.sample_all(table, uniforms))
      chances = np.take_along_axis(mdp.transitions, drawn[..., None], -1)
      assert (chances > 0).all()


def test_the_table_holds_no_more_than_the_branching_asks_for():
  mdp = environments.make("garnet", states=40, actions=3, branching=4)
  table = simulator.compact(mdp)
  assert table.successors.shape == table.cumulative.shape == (40, 3, 4)
