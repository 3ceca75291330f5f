"""The benchmark's rows, at sizes of a second."""

import jax
import numpy as np
import pytest

from kd_jax.methods.compression import cases, peers

SMALL = {
  "WIDTHS": (4, 6, 6),
  "SIZE": 8,
  "KERNEL": (3, 3, 6, 5),
  "RANKS": (3, 2),
  "CP_RANK": 2,
  "WEIGHTS": 300,
}


@pytest.fixture
def small(monkeypatch):
  for name, value in SMALL.items():
    monkeypatch.setattr(cases, name, value)
  cases._half.cache_clear()
  yield
  cases._half.cache_clear()


@pytest.mark.parametrize(
  "name", ["CNN", "channels gone", "Tucker", "CP", "k-means", "train step"]
)
@pytest.mark.usefixtures("small")
def test_a_step_keeps_its_states_shape(name):
  (case,) = [c for c in cases.CASES if name in c.name]
  phase = case.make()
  state = jax.eval_shape(phase.init, {}, np.uint32(0))
  new, found = jax.eval_shape(phase.step, state, phase.data)
  assert found
  same = jax.tree.map(lambda a, b: a.shape == b.shape, state, new)
  assert all(jax.tree.leaves(same))
  flops = case.flops()
  assert flops is None or flops > 0


@pytest.mark.usefixtures("small")
def test_the_smaller_network_is_a_third_of_the_work():
  dense, half = (cases.forward_flops(cases._cnn, s) for s in (False, True))
  places = [64, 16, 16]
  widths, halves = (3, 4, 6, 6), (3, 2, 3, 3)

  def macs(w):
    layers = zip(places, w, w[1:], strict=False)
    return sum(n * 9 * a * b for n, a, b in layers) + w[-1] * 10

  assert dense == 2 * cases.BATCH * macs(widths)
  assert half == 2 * cases.BATCH * macs(halves)


@pytest.mark.usefixtures("small")
def test_peers_do_the_same_work():
  pytest.importorskip("tensorly")
  w = np.random.default_rng(0).normal(size=SMALL["KERNEL"])
  peers.tensorly_tucker(w, (3, 2), 2)(1)
  peers.tensorly_cp(w, 2, 2)(1)
  peers.scikit_kmeans(w.ravel().astype(np.float32), 3, 2)(1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small")
def test_torch_pruning_cuts_the_same_channels():
  pytest.importorskip("torch_pruning")
  gone = cases._half(cases._cnn)[2]
  assert {i: len(c) for i, c in gone.items()} == {0: 2, 1: 3, 2: 3}
  peers.torch_pruning(cases.WIDTHS, cases.STRIDES, gone, 2, 8)(1)
