"""Rows of the benchmark compute what they say, and so do their peers."""

import jax
import numpy as np
import pytest

from kd_jax import metrics
from kd_jax.methods.qscore import cases, peers


@pytest.fixture(autouse=True)
def small(monkeypatch):
  cases.draw.cache_clear()
  for name, value in {"EXAMPLES": 40, "WIDTH": 64, "VIEWS": 16}.items():
    monkeypatch.setattr(cases, name, value)
  yield
  cases.draw.cache_clear()


def test_steps_score_count_and_penalise():
  own = cases.draw(40, 64)
  expect = {
    "score": peers.numpy_score(own["h"], own["chosen"], cases.EPS).sum(),
    "discover": metrics.highly_active(own["h"], cases.EPS).sum(),
  }
  for make in (cases.score_case, cases.discover_case, cases.penalty_case):
    phase = make()
    state = jax.jit(phase.init)({}, np.uint32(0))
    state, _ = jax.jit(phase.step)(state, phase.data)
    assert np.isfinite(float(state.sink))
    if phase.name in expect:
      assert float(state.sink) == pytest.approx(
        float(expect[phase.name]), rel=1e-4
      )


def test_peers_give_the_same_scores():
  own = cases.draw(40, 64)
  want = metrics.q_score(own["h"], own["chosen"], eps=1.0)
  plain = peers.numpy_score(own["h"], own["chosen"], 1.0)
  np.testing.assert_allclose(plain, want, rtol=1e-5, atol=1e-6)
  torch = pytest.importorskip("torch")
  tensors = (torch.from_numpy(own[k]) for k in ("h", "chosen"))
  theirs = peers.torch_score(*tensors, 1.0)
  np.testing.assert_allclose(theirs.numpy(), want, rtol=1e-5, atol=1e-6)


def test_every_peer_that_is_installed_takes_steps():
  for case in cases.CASES:
    for peer in case.peers:
      try:
        peer.make()(1)
      except ImportError:
        continue
