"""`kd-jax benchmark`: what a step costs, and what is not the step.

A row times the compiled program of a phase as the loop runs it: warm-up is
outside the clock, every sample is blocked on at its edges, medians are quoted.
The loop itself, with its writers and its progress, is then run over the same
phase in turn with bare dispatches: the share of its time that the bare program
does not explain is the host's.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import accel, registry, report
from kd_jax.experiment import Case, Config, Method, Phase
from kd_jax.peaks import peak
from kd_jax.training.checkpoint import Shelf
from kd_jax.training.clock import Clock
from kd_jax.training.loop import PhaseLoop, Session
from kd_jax.training.progress import Reporter
from kd_jax.training.writers import Writer

Row = dict[str, Any]
# Steps between two rows of metrics, as in the loop: a fused program takes so
# many at once.
STRETCH = 50


def benchmark(
  methods: Sequence[str | Method] = (),
  *,
  json_file: str | pathlib.Path | None = None,
  seconds: float = 3.0,
  mode: accel.Mode = "auto",
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Times the steps of methods.

  Args:
    methods: their names; all installed ones if empty.
    json_file: where the rows go too.
    seconds: how long each case is timed, compilation aside.
    mode: how steps are lifted to several devices.
    say: takes a line of news.

  Returns:
    A row per case and installed peer; one for a case without.

  Raises:
    UsageError: for an unknown method.
  """
  found = [registry.find(m) for m in (methods or registry.names())]
  accel.start()
  rows = []
  for method in found:
    for case in method.cases:
      if case.accelerator and jax.default_backend() == "cpu":
        say(f"{method.name}: {case.name} is left to accelerators")
        continue
      say(f"{method.name}: {case.name}")
      rows += time_case(method.name, case, seconds=seconds, mode=mode, say=say)
  if json_file is not None:
    pathlib.Path(json_file).write_text(json.dumps(rows, indent=2) + "\n")
  return rows


def time_case(
  method: str,
  case: Case,
  *,
  seconds: float,
  mode: accel.Mode = "auto",
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Times one case, and each of its peers beside it.

  Args:
    method: the method's name, for the row.
    case: the case.
    seconds: how long it is timed.
    mode: how its step is lifted.
    say: takes a line of news.

  Returns:
    A row per peer that is installed, or one: measures are numbers or None.
  """
  phase = case.make()
  bare = _Bare(phase, mode)
  samples = bare.sample(seconds)
  step = statistics.median(samples)
  host = _host_share(phase, bare, mode, step, seconds)
  flops = case.flops()
  devices = jax.devices()
  top = peak(devices[0].device_kind, case.dtype)
  use = flops / step / (top * len(devices)) if flops and top else None
  row = {
    "method": method,
    "case": case.name,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "examples_per_s_per_device": phase.batch_size / step / len(devices),
    "step_ms_p50": 1e3 * step,
    "step_ms_p90": 1e3 * float(np.quantile(samples, 0.9)),
    "compile_s": bare.compile_s,
    "model_flops_per_step": flops,
    "mfu": use,
    "peak_bytes": bare.peak_bytes(),
    "host_share": host,
    "peer": None,
    "ratio_to_peer": None,
  }
  rows = []
  for peer_ in case.peers:
    try:
      run = peer_.make()
    except ImportError as error:
      say(f"no {peer_.name}: {error}; pip install 'kd-jax[peers]' brings it")
      continue
    say(f"  beside {peer_.name}")
    ratio = _ratio(bare, run, seconds)
    rows.append({**row, "peer": peer_.name, "ratio_to_peer": ratio})
  return rows or [row]


def _ratio(bare: "_Bare", run: Callable[[int], None], seconds: float) -> float:
  """The peer's seconds per step over ours, the two taking turns."""

  def timed(n):
    begin = time.perf_counter()
    run(n)
    return time.perf_counter() - begin

  timed(1)  # Whatever it compiles or allocates.
  each = seconds / 6
  ours = max(1, round(each / bare.steps(1)))
  theirs = max(1, round(each / timed(1)))
  return statistics.median(
    (timed(theirs) / theirs) / (bare.steps(ours) / ours) for _ in range(5)
  )


class _Bare:
  """A phase's compiled program and nothing around it."""

  def __init__(self, phase: Phase, mode: accel.Mode):
    self.fused = phase.fused
    state = jax.jit(phase.init)({}, np.uint32(0))
    split = phase.split(state) if phase.split else None
    self.state = accel.place(state, split=split)
    self.data = accel.place(phase.data)
    fuse = accel.scan_steps if phase.fused else accel.one_step
    lifted = accel.data_parallel(
      fuse(phase.step), mode=mode, data="replicated", split=split
    )
    begin = time.perf_counter()
    self.run = lifted.compile(self.state, self._input(1))
    self.compile_s = time.perf_counter() - begin
    self.steps(1)  # The first dispatch allocates.

  def _input(self, n: int) -> Any:
    return (self.data, accel.place(np.int32(n))) if self.fused else self.data

  def steps(self, n: int) -> float:
    """Seconds of n steps, blocked at both edges."""
    each = STRETCH if self.fused else 1
    inputs = [self._input(min(each, n - i)) for i in range(0, n, each)]
    outputs = []
    begin = time.perf_counter()
    for data in inputs:
      self.state, out = self.run(self.state, data)
      outputs.append(out)
    jax.block_until_ready((self.state, outputs))
    return time.perf_counter() - begin

  def sample(self, seconds: float) -> list[float]:
    """Seconds per step, one sample a dispatch, at least three of them."""
    n = STRETCH if self.fused else 1
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
      samples.append(self.steps(n) / n)
    return samples

  def peak_bytes(self) -> int | None:
    """The compiler's account: arguments, results and temporaries."""
    memory = self.run.memory()
    if memory is None:
      return None
    return int(
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
    )


def _host_share(
  phase: Phase, bare: _Bare, mode: accel.Mode, step: float, seconds: float
) -> float:
  """The part of the loop's time that the bare program does not explain.

  Loop and bare program take turns, because the machine's speed drifts.
  """
  steps = min(4 * STRETCH, max(1, round(seconds / 3 / step)))
  phase = dataclasses.replace(phase, steps=steps, epoch=None, evaluations={})
  shares = []
  programs: dict[Any, Any] = {}
  for _ in range(6):
    around = _loop_seconds(phase, mode, programs)
    shares.append(1 - bare.steps(steps) / around)
  return max(0.0, statistics.median(shares[1:]))


def _loop_seconds(
  phase: Phase, mode: accel.Mode, programs: dict[Any, Any]
) -> float:
  """Seconds of the real loop over the phase, compilation left out."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    session = Session(
      shelf=Shelf(workdir),
      writer=Writer(workdir),
      clock=Clock(),
      reporter=Reporter(quiet=True),
      config=Config(log_every=STRETCH, save_every=0),
      programs=programs,
      mode=mode,
    )
    loop = PhaseLoop(phase, session, phase.name)
    state = jax.jit(phase.init)({}, np.uint32(0))
    ready: list[float] = []
    session.observer = lambda event, step: ready.append(time.perf_counter())
    jax.block_until_ready(loop.run(state, 0, {}))
    end = time.perf_counter()
    session.writer.close()
  return end - ready[0] - session.clock.seconds["compile"]


def table(rows: Sequence[Row]) -> str:
  """The rows as tables: what a step costs, and how it stands beside peers.

  Args:
    rows: what `benchmark` gave.

  Returns:
    The text.
  """
  cases = {(row["method"], row["case"]): row for row in rows}
  text = report.render(
    "a step", list(_COLUMNS), list(map(_cells, cases.values()))
  )
  beside = [
    [_title(row), row["peer"], report.number(row["ratio_to_peer"])]
    for row in rows
    if row["peer"]
  ]
  header = ["case", "peer", "times as fast"]
  return text + (report.render("peers", header, beside) if beside else "")


_COLUMNS = (
  "case",
  "device",
  "compile s",
  "p50 ms",
  "p90 ms",
  "ex/s/device",
  "GFLOP/step",
  "MFU",
  "MiB",
  "not the step",
)


def _title(row: Row) -> str:
  return f"{row['method']}: {row['case']}"


def _cells(row: Row) -> list[str]:
  def share(value):
    return "-" if value is None else f"{100 * value:.1f} %"

  return [
    _title(row),
    f"{row['device']} x {row['devices']}",
    f"{row['compile_s']:.1f}",
    f"{row['step_ms_p50']:.2f}",
    f"{row['step_ms_p90']:.2f}",
    f"{row['examples_per_s_per_device']:,.0f}",
    report.number((row["model_flops_per_step"] or float("nan")) / 1e9),
    share(row["mfu"]),
    report.number((row["peak_bytes"] or float("nan")) / 2**20),
    share(row["host_share"]),
  ]
