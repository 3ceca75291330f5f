"""`kd-jax benchmark modes`: one step lifted in three ways to 1, 2, 4 devices.

"jit" is one program over a sharded batch that the compiler divides; "pmap" and
"shard_map" run the same body once per device. Each count's programs take turns,
because a machine's speed drifts. Host devices of a CPU share its cores: there
more devices show what a mode costs, and no speed-up.
"""

import os
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import accel, report, throughput, timing
from kd_jax.errors import UsageError
from kd_jax.experiment import Case, Method

Row = dict[str, Any]
MODES = ("jit", "pmap", "shard_map")
COUNTS = (1, 2, 4)
ROUNDS = 5


def compare(
  methods: str | Method | Sequence[str | Method],
  *,
  json_file: str | pathlib.Path | None = None,
  seconds: float = 3.0,
  counts: Sequence[int] = COUNTS,
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Compares the modes on the first case of each method.

  On a CPU it asks for four host devices, which only a process that has not used
  JAX yet can have.

  Args:
    methods: their names.
    json_file: where the rows go too.
    seconds: how long each program is timed, compilation aside.
    counts: numbers of devices; those that there are not are left out.
    say: takes a line of news.

  Returns:
    A row per case, number of devices and mode.

  Raises:
    UsageError: for an unknown method, or none.
  """
  if not methods:
    raise UsageError("name a method: kd-jax benchmark modes METHOD ...")
  _host_devices(max(counts))
  accel.start()
  rows = []
  for name, case in _first(throughput.cases(methods)):
    for count in counts:
      if count > len(jax.devices()):
        say(f"there are no {count} devices")
        continue
      say(f"{name}: {case.name}, {count} x {jax.devices()[0].device_kind}")
      rows += _of_count(name, case, jax.devices()[:count], seconds)
  if json_file is not None:
    throughput.write_json(json_file, rows)
  return rows


def _first(cases):
  return {name: (name, case) for name, case in reversed(cases)}.values()


def _host_devices(count: int) -> None:
  """Several devices out of a CPU, if it is not too late for that."""
  flags = os.environ.get("XLA_FLAGS", "")
  if "xla_force_host_platform_device_count" in flags:
    return
  try:
    jax.config.update("jax_num_cpu_devices", count)
  except RuntimeError:
    return  # There are devices already.


def _of_count(
  name: str, case: Case, devices: Sequence[jax.Device], seconds: float
) -> list[Row]:
  phase = case.make()
  programs = {m: timing.Program(phase, m, devices) for m in MODES}
  samples: dict[str, list[float]] = {mode: [] for mode in MODES}
  for _ in range(ROUNDS):
    for mode, program in programs.items():
      samples[mode] += program.sample(seconds / ROUNDS)
  return [
    {
      "method": name,
      "case": case.name,
      "mode": program.mode,
      "device": devices[0].device_kind,
      "devices": len(devices),
      "batch_size": phase.batch_size,
      "compile_s": program.compile_s,
      "step_ms_p50": 1e3 * statistics.median(samples[mode]),
      "step_ms_p90": 1e3 * float(np.quantile(samples[mode], 0.9)),
      "bytes_per_device": program.peak_bytes(),
    }
    for mode, program in programs.items()
  ]


def table(rows: Sequence[Row]) -> str:
  """The rows as a table.

  Args:
    rows: what `compare` gave.

  Returns:
    The text.
  """
  header = [
    "case",
    "mode",
    "devices",
    "compile s",
    "p50 ms",
    "p90 ms",
    "MiB a device",
  ]
  cells = [
    [
      f"{row['method']}: {row['case']}",
      row["mode"],
      f"{row['devices']}",
      f"{row['compile_s']:.1f}",
      f"{row['step_ms_p50']:.2f}",
      f"{row['step_ms_p90']:.2f}",
      report.number((row["bytes_per_device"] or float("nan")) / 2**20),
    ]
    for row in rows
  ]
  return report.render("modes", header, cells, texts=2)
