"""Rows of the benchmark take the steps that they say, and so do their peers."""

import functools

import jax
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import backups, cases, environments, exact, peers


@pytest.fixture(autouse=True)
def small(monkeypatch):
  cases._garnet.cache_clear()
  monkeypatch.setattr(cases, "GARNET", {"states": 120, "actions": 3})
  yield
  cases._garnet.cache_clear()


def taken(phase):
  """The state after one compiled step."""
  state = jax.jit(phase.init)({}, np.uint32(0))
  return jax.jit(phase.step)(state, phase.data)[0]


@pytest.mark.parametrize(
  ("arm", "samples"),
  [
    ("cold", 40 * 101 * 20),
    ("q_learning", 40 * 11 * 20),
    ("algorithm_2", 40 * 1000),
  ],
)
def test_a_learners_row_counts_its_samples(arm, samples):
  phase = cases.learner_case(arm)
  assert phase.batch_size == samples
  assert cases.sample_flops(arm) == 12 * samples
  state = taken(phase)
  assert state.q.shape == (40, 1, 10, 2)
  assert int(state.step) == 1
  # Where nothing is paid every learner has come down from 1 / (1 - gamma).
  assert (np.asarray(state.q)[..., -1, :] < 9.5).all()


@pytest.mark.parametrize("lam", [np.inf, 1.0])
def test_an_exact_row_solves_the_garnet(lam):
  phase = cases.exact_case(10, lam)
  mdp = environments.make(
    "garnet", branching=10, discount=cases.DISCOUNT, **cases.GARNET
  )
  model = backups.model(mdp)
  how = functools.partial(exact.solve_penalised, cases.CHI_SQUARE, lam=lam)
  solved = exact.solve_ordinary(model) if np.isinf(lam) else how(model)
  np.testing.assert_allclose(taken(phase)["v"], solved.v, atol=1e-3)
  assert phase.batch_size % 360 == 0


def test_every_peer_that_is_installed_takes_steps():
  for case in cases.CASES:
    for peer in case.peers:
      try:
        run = peer.make()
      except ImportError:
        continue
      if "toolbox" not in peer.name:
        run(2)


def test_the_toolbox_is_given_as_many_samples(monkeypatch):
  asked = []
  monkeypatch.setattr(
    peers, "toolbox_q_learning", lambda mdp, n: asked.append((mdp.name, n))
  )
  for case in cases.CASES:
    for peer in case.peers:
      if "toolbox" in peer.name:
        peer.make()
        assert asked[-1][1] == case.make().batch_size
  assert [name for name, _ in asked] == ["ring", "chain"]
