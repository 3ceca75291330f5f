"""Peers do the same work: what they compute is what we compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import draws
from kd_jax.methods.robust_mdp import (
  backups,
  environments,
  learner,
  peers,
  span,
  step_sizes,
)
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE
from kd_jax.methods.robust_mdp.environments import classic, simulator

SEEDS, INNER, LAM = 3, 8, 2.0


@pytest.mark.parametrize("name", ["chain", "inventory"])
def test_numpy_algorithm_1_is_algorithm_1_on_the_same_samples(name):
  mdp = environments.make(name)
  world = simulator.compact(mdp)
  place = np.arange((INNER + 1) * mdp.rewards.size).reshape(
    INNER + 1, *mdp.rewards.shape
  )

  def drawn(t):
    keys = [
      draws.stream_key(jnp.uint32(s), 0, jnp.int32(t)) for s in range(SEEDS)
    ]
    return jnp.stack([draws.uniforms(k, jnp.asarray(place)) for k in keys], 1)

  def fill(t, out):
    out[:] = drawn(t)

  theirs = peers.NumpyAlgorithm1(mdp, LAM, SEEDS, INNER, fill)
  theirs.run(6)
  q = jnp.full((SEEDS, *mdp.rewards.shape), mdp.v_max, jnp.float32)
  for t in range(6):
    rates = step_sizes.inner_rates(
      "sqrt", CHI_SQUARE, LAM, mdp.v_max, INNER, jnp.float32(t)
    )

    def one(q, u, rates=rates, t=t):
      return learner.generative_update(
        CHI_SQUARE,
        q,
        jnp.zeros_like(q),
        jnp.asarray(mdp.rewards, jnp.float32),
        lambda v: lambda k: simulator.picker(world, v)(u[k].ravel()),
        jnp.float32(LAM),
        jnp.float32(1 / (1 + (1 - mdp.discount) * t)),
        rates,
        jnp.float32(mdp.discount),
        mdp.v_max,
      )[0]

    q = jax.vmap(one, in_axes=(0, 1))(q, drawn(t))
  np.testing.assert_allclose(theirs.q, q, rtol=2e-5, atol=2e-5)


def test_numpy_algorithm_1_learns_with_samples_of_its_own():
  mdp = environments.make("chain")
  own = peers.NumpyAlgorithm1(mdp, 4.0, 8, 50)
  own.run(300)
  values = own.q.max(-1).mean(0)
  assert abs(values[-1]) < 0.5
  # The page's exact values less its gap of 0.55 at this weight.
  assert 9 < values[0] < 10.1


def test_the_toolbox_takes_as_many_transitions_as_it_is_told():
  mdp_module = pytest.importorskip("hiive.mdptoolbox.mdp")
  taken = []

  class Counting(mdp_module.QLearning):
    def _build_run_stat(self, **what):
      taken.append(what["i"])
      return super()._build_run_stat(**what)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(mdp_module, "QLearning", Counting)
    run = peers.toolbox_q_learning(environments.make("ring"), 50)
  run(2)
  assert taken == list(range(1, 101))


@pytest.mark.parametrize(("seed", "tolerance"), [(1, 1e-2), (2, 1e-4)])
def test_the_solver_stops_by_the_span_as_we_do(seed, tolerance):
  """Its V is the plain iterate at which the bounds are close, or the next."""
  pytest.importorskip("mdpsolver")
  successors, chances, rewards = classic.draw_garnet(200, 5, 10, seed)
  chances, discount = chances[0], 0.9
  run = peers.solver_iteration(
    successors, chances, rewards, discount, tolerance=tolerance
  )
  found = run(1)
  np.testing.assert_array_equal(run(1), found)  # It begins anew.
  values, spans = [np.zeros(200)], []
  for _ in range(30):
    v = values[-1]
    values.append(
      (rewards + discount * (chances * v[successors]).sum(-1)).max(1)
    )
    spans.append(discount / (1 - discount) * np.ptp(values[-1] - v))
  stops = 1 + int(np.argmax(np.array(spans) <= tolerance))
  (took,) = [n for n, v in enumerate(values) if np.abs(v - found).max() < 1e-9]
  # It looks after every second sweep.
  assert took - stops in (0, 1)


def test_the_solvers_values_are_those_of_span_iteration():
  """The same V, once ours has added the known tail."""
  pytest.importorskip("mdpsolver")
  mdp = environments.make("garnet", states=100, branching=10, discount=0.9)
  successors, chances, rewards = classic.draw_garnet(100, 4, 10, 0)
  run = peers.solver_iteration(
    successors, chances[0], rewards, 0.9, tolerance=1e-12
  )
  theirs = run(1)
  model = backups.model(mdp)
  ours = span.span_iteration(
    lambda v: backups.ordinary_backup(model, v), model, tolerance=1e-4
  )
  tail = rewards + 0.9 * (chances[0] * theirs[successors]).sum(-1)
  change = tail.max(1) - theirs
  np.testing.assert_allclose(
    ours.v, theirs + change.mean() / (1 - 0.9), atol=2e-4
  )
