import dataclasses
import itertools
import json
import math
import types

import jax
import numpy as np
import pytest
import toy_net
import toy_seeds
import toy_tabular

from kd_jax import networks, throughput, timing
from kd_jax.errors import UsageError
from kd_jax.experiment import Case, Peer
from kd_jax.networks import plain_torch
from kd_jax.peaks import PEAKS, Peak, peak

FIELDS = [
  "method",
  "case",
  "dtype",
  "device",
  "devices",
  "examples_per_s_per_device",
  "step_ms_p50",
  "step_ms_p90",
  "compile_s",
  "model_flops_per_step",
  "mfu",
  "mfu_precision",
  "peak_bytes",
  "host_share",
  "feed_share",
  "peer",
  "ratio_to_peer",
]
TEXT = {"method", "case", "dtype", "device"}


def test_rows(tmp_path):
  lines = []
  rows = throughput.benchmark(
    ["toy_tabular", toy_seeds.METHOD],
    json_file=tmp_path / "b.json",
    seconds=0.05,
    say=lines.append,
  )
  assert lines == ["toy_tabular: a transition", "toy_seeds: a step"]
  assert json.loads((tmp_path / "b.json").read_text()) == rows
  for row, batch in zip(rows, (1, 32), strict=True):
    assert list(row) == FIELDS
    for name in set(FIELDS) - TEXT:
      value = row[name]
      assert value is None or type(value) in (int, float), name
      assert value is None or math.isfinite(value), name
    assert row["devices"] == 4
    rate = row["examples_per_s_per_device"] * 4
    assert rate == pytest.approx(batch / row["step_ms_p50"] * 1e3)
    assert row["step_ms_p50"] <= row["step_ms_p90"]
    assert row["model_flops_per_step"] is row["mfu"] is row["peer"] is None
    assert row["host_share"] <= 1  # Noise may be below 0.
    assert row["feed_share"] is None  # They draw from no columns.
    assert row["peak_bytes"] > 0
  text = throughput.table(rows)
  assert "toy_seeds: " in text
  assert f"{rows[1]['step_ms_p50']:.2f}" in text


@pytest.fixture
def still(monkeypatch):
  """A bare program that takes 1, 2, 3, 4 and 10 ms a step, by the clock."""

  class Bare:
    compile_s = 1.5

    def __init__(self, phase, mode, devices=None, *, fixed=False):
      pass

    def sample(self, seconds):
      return [0.001, 0.002, 0.003, 0.004, 0.010]

    def peak_bytes(self):
      return None

  monkeypatch.setattr(timing, "Program", Bare)
  monkeypatch.setattr(timing, "host_share", lambda *how: 0.25)


@pytest.mark.parametrize("known", [True, False])
def test_a_rows_arithmetic(still, monkeypatch, known):
  top = Peak(1e9, "tf32") if known else None
  monkeypatch.setattr(throughput, "peak", lambda *how: top)
  case = Case("c", lambda: toy_seeds.case(), flops=lambda: 6e6)
  (row,) = throughput.time_case("m", case, seconds=1)
  assert row["step_ms_p50"] == pytest.approx(3.0)
  assert row["step_ms_p90"] == pytest.approx(7.6)
  assert row["examples_per_s_per_device"] == pytest.approx(32 / 0.003 / 4)
  assert row["model_flops_per_step"] == 6e6
  # 6e6 FLOP in 3 ms on four devices of 1e9 FLOP/s.
  assert row["mfu"] == (pytest.approx(0.5) if known else None)
  assert row["mfu_precision"] == ("tf32" if known else None)
  text = " ".join(throughput.table([row]).split())
  assert ("50.0 %" in text) == known
  assert "25.0 %" in text


def test_peers(still, monkeypatch):
  """A row for each peer that is there, with how often we are as fast."""
  clock = [0.0]

  def steps(self, n):
    clock[0] += 0.003 * n
    return 0.003 * n

  def slow():
    def run(n):
      clock[0] += 1.0 if not calls else 0.012 * n  # The first one compiles.
      calls.append(n)

    return run

  def absent():
    raise ImportError("No module named 'other'")

  calls, said = [], []
  monkeypatch.setattr(timing.Program, "steps", steps, raising=False)
  now = types.SimpleNamespace(perf_counter=lambda: clock[0])
  monkeypatch.setattr(timing, "time", now)
  peers = (Peer("slow 1.0", slow), Peer("other", absent))
  case = Case("c", toy_seeds.case, peers=peers)
  (row,) = throughput.time_case("m", case, seconds=6, say=said.append)
  assert row["peer"] == "slow 1.0"
  assert row["ratio_to_peer"] == pytest.approx(4.0)
  assert calls == [1, 1, *[round(1 / 0.012)] * 5]
  assert said[-1].startswith("no other: No module named 'other'; pip install")
  text = throughput.table([row, {**row, "peer": "fast", "ratio_to_peer": 0.5}])
  assert text.count("m: c ") == 3  # Its cost once, and a line for each peer.
  (line,) = [x for x in text.splitlines() if "slow 1.0" in x]
  assert line.split()[-2] == "4"
  assert "0.5" in text
  case = Case("c", toy_seeds.case, peers=(Peer("other", absent),))
  (row,) = throughput.time_case("m", case, seconds=6)
  assert row["peer"] is row["ratio_to_peer"] is None


@pytest.mark.parametrize(
  ("step", "steps"),
  [(0.1, 30), (1e-4, timing.ROWS * timing.STRETCH), (60.0, 1)],
)
def test_the_loops_share(monkeypatch, step, steps):
  """The loop takes 4 s where the program alone takes 3: a quarter is hers."""
  taken = []

  class Bare:
    def steps(self, n):
      taken.append(n)
      return 3.0

  case = toy_seeds.case()
  monkeypatch.setattr(timing, "loop_seconds", lambda p, *how: 4.0)
  share = timing.host_share(case, Bare(), "auto", step, 9.0)
  assert share == pytest.approx(0.25)
  assert set(taken) == {steps}
  monkeypatch.setattr(timing, "loop_seconds", lambda p, *how: 2.0)
  assert timing.host_share(case, Bare(), "auto", step, 9.0) == -0.5


@pytest.mark.parametrize(("steps", "row"), [(120, 50), (3, 3)])
def test_the_loop_is_timed_once_it_is_under_way(monkeypatch, steps, row):
  now, seen = [0.0], []

  class Loop:
    def __init__(self, phase, session, title):
      self.session = session
      seen.append((phase.steps, session.config.log_every))

    def run(self, state, step, window):
      total, every = seen[-1]
      for step in (*range(every, total, every), total):
        for event, seconds in (("step", 5), ("row", 7), ("saved", 1)):
          now[0] += seconds
          self.session.observer(event, step)
      now[0] += 100
      return state

  monkeypatch.setattr(timing, "PhaseLoop", Loop)
  monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
  took = timing.loop_seconds(toy_seeds.case(), steps, "auto", {})
  assert took == 13 * -(-steps // row)  # Its rows alone.
  assert seen == [(2 * row + steps, row)]


@pytest.mark.parametrize("fused", [True, False])
def test_samples_are_seconds_per_step(monkeypatch, fused):
  phase = dataclasses.replace(toy_tabular.case(), fused=fused)
  bare = timing.Program(phase, "auto")
  assert int(bare.state.step) == 1  # The warm-up.
  # The loop's own program: it looks after the state as well.
  data = bare._input(1)
  bare.state, ((_, healthy), lost) = bare.run(bare.state, data)
  assert int(healthy) == 1
  assert not np.any(lost)
  ticks = itertools.count()
  clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
  monkeypatch.setattr(timing, "time", clock)
  # A dispatch takes one tick.
  for seconds, each in [(100.0, timing.STRETCH), (3.0, 3), (0.0, 1)]:
    monkeypatch.setattr(timing, "DISPATCH_S", seconds)
    before, each = int(bare.state.step), each if fused else 1
    assert bare.sample(0.0) == [1 / each] * 3
    # A fused program's steps are timed by one of them.
    assert int(bare.state.step) == before + fused + 3 * each
  # A remainder is a dispatch of its own.
  before = int(bare.state.step)
  bare.steps(timing.STRETCH + 7)
  assert int(bare.state.step) == before + timing.STRETCH + 7


def test_a_trace_needs_a_folder(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UsageError, match="file is a file; a trace needs"):
    throughput.benchmark(["robust_mdp"], profile=tmp_path / "file")


def test_unknown_method():
  with pytest.raises(UsageError, match="no method 'toy_x'"):
    throughput.benchmark(["toy_x"])


def test_peaks():
  assert peak("NVIDIA H100 80GB HBM3", "bfloat16") == (989e12, "bfloat16")
  assert peak("NVIDIA H100 PCIe", "bfloat16").rate == 756e12
  assert peak("TPU v5 lite", "float32") == (197e12, "bfloat16")
  assert peak("TPU v5", "float32").rate == 459e12
  assert peak("TPU v6 lite", "bfloat16").rate == 918e12
  assert peak("NVIDIA A100-SXM4-40GB", "float32") == (156e12, "tf32")
  assert peak("NVIDIA L4", "bfloat16").rate == 121e12
  for unknown in ("cpu", "NVIDIA L40S", jax.devices()[0].device_kind):
    assert peak(unknown, "float32") is None
  assert peak("Tesla T4", "int8") is None
  assert peak("Tesla T4", "float32") == (8.1e12, "float32")
  for rates in PEAKS.values():
    for top in rates.values():
      assert top.rate > 1e12


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_drawing_is_timed_against_one_batch(fused, mode):
  """The program on a fixed batch takes the step that drawing takes first."""
  (phase,) = toy_net.phases(toy_net.Toy(fused=fused), {}, print)
  assert timing.draws(phase)
  assert not timing.draws(toy_tabular.case())
  drawn = timing.Program(phase, mode)
  fixed = timing.Program(phase, mode, fixed=True)
  assert fixed.data["image"].shape == (16, 6, 6, 1)
  # One step, the warm-up, of the same batch.
  for a, b in zip(
    jax.tree.leaves(drawn.state), jax.tree.leaves(fixed.state), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  ticks = iter([4.0, 3.0] * 6)
  share = timing.share(lambda: next(ticks), lambda: next(ticks))
  assert share == pytest.approx(0.25)


def test_a_trace_of_a_case(tmp_path):
  case = Case("A step!", toy_seeds.case)
  throughput.time_case("m", case, seconds=0.01, profile=tmp_path)
  assert list((tmp_path / "m-a-step").rglob("*.xplane.pb"))


def test_a_misspelt_name():
  with pytest.raises(UsageError, match="did you mean 'convolutions'"):
    throughput.cases("convolution")


def test_the_networks_by_themselves():
  """Ours and the plain ones have as many parameters and operations."""
  cases = throughput.cases(throughput.NETWORKS)
  assert {name for name, _ in cases} == {"networks"}
  titles = [case.name for _, case in cases]
  for part in ("ResNet-18, 32", "WRN-28-10, 32", "ResNet-50, 224", "bf16"):
    assert any(part in title for title in titles)
  # The published forward passes, in multiply-adds.
  assert networks.train_flops("resnet50", 224, 1000, 1) / 6 == pytest.approx(
    4.1e9, rel=0.02
  )
  assert networks.train_flops("wrn_28_10", 32, 10, 1) / 6 == pytest.approx(
    5.2e9, rel=0.02
  )


@pytest.mark.parametrize(
  ("name", "parameters"),
  [("resnet18", 11173962), ("wrn_28_10", 36479194), ("resnet50", 25557032)],
)
def test_the_plain_networks_are_the_same(name, parameters):
  torch = pytest.importorskip("torch")
  with torch.device("meta"):
    plain = plain_torch.make_network(name, 1000 if name == "resnet50" else 10)
  assert sum(p.numel() for p in plain.parameters()) == parameters
