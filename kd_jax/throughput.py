"""`kd-jax benchmark`: what a step costs, and what is not the step.

A row times the compiled program of a phase as the loop runs it (`timing`):
warm-up is outside the clock, medians are quoted. Beside it stand what the loop,
with its writers and its progress, adds to it; what drawing the batch from the
columns is of it; and how often it is as fast as other libraries.
"""

import json
import pathlib
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import accel, networks, registry, report, timing
from kd_jax.errors import UsageError
from kd_jax.experiment import Case, Method
from kd_jax.networks import convolutions
from kd_jax.peaks import peak

Row = dict[str, Any]
# Cases of no method: networks by themselves, beside PyTorch, and where they are
# asked for single convolutions inside and outside of loops.
NETWORKS, CONVOLUTIONS = "networks", "convolutions"


def benchmark(
  methods: str | Method | Sequence[str | Method] = (),
  *,
  json_file: str | pathlib.Path | None = None,
  seconds: float = 3.0,
  mode: accel.Mode = "auto",
  profile: str | pathlib.Path | None = None,
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Times the steps of methods.

  Args:
    methods: one or more names, "networks" (the backbones alone) and
      "convolutions" (single layers) among them; if empty all that are installed
      and the networks.
    json_file: where the rows go too.
    seconds: how long each case is timed, compilation aside.
    mode: how steps are lifted to several devices.
    profile: a folder for a trace of each case, for TensorBoard or Perfetto.
    say: takes a line of news.

  Returns:
    A row per case and installed peer; one for a case without.

  Raises:
    UsageError: for an unknown method, or a trace that has no folder.
  """
  accel.start()
  rows = []
  if profile is not None and pathlib.Path(profile).is_file():
    raise UsageError(f"{profile} is a file; a trace needs a folder")
  for name, case in cases(methods):
    if case.accelerator and jax.default_backend() == "cpu":
      say(f"{name}: {case.name} is left to accelerators")
      continue
    say(f"{name}: {case.name}")
    rows += time_case(
      name, case, seconds=seconds, mode=mode, profile=profile, say=say
    )
    if json_file is not None:  # After each: a case may take minutes.
      write_json(json_file, rows)
  return rows


def cases(
  methods: str | Method | Sequence[str | Method],
) -> list[tuple[str, Case]]:
  """The cases of methods, and of the networks by themselves.

  Args:
    methods: as in `benchmark`.

  Returns:
    (method's name, case), in order.
  """
  if isinstance(methods, str | Method):
    methods = [methods]
  found = []
  for wanted in methods or (*registry.names(), NETWORKS):
    if wanted == NETWORKS:
      found += [(NETWORKS, case) for case in networks.CASES]
    elif wanted == CONVOLUTIONS:
      found += [(CONVOLUTIONS, case) for case in convolutions.CASES]
    else:
      if isinstance(wanted, str) and wanted not in (known := registry.names()):
        near = registry.nearest(wanted, [*known, NETWORKS, CONVOLUTIONS])
        raise UsageError(f"there is no method {wanted!r}; {near}")
      method = registry.find(wanted)
      found += [(method.name, case) for case in method.cases]
  return found


def write_json(path: str | pathlib.Path, rows: Sequence[Row]) -> None:
  """Writes rows, where they go too; once where several processes run."""
  text = json.dumps(list(rows), indent=2) + "\n"
  accel.from_first(lambda: pathlib.Path(path).write_text(text))


def time_case(
  method: str,
  case: Case,
  *,
  seconds: float,
  mode: accel.Mode = "auto",
  profile: str | pathlib.Path | None = None,
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Times one case, and each of its peers beside it.

  Args:
    method: the method's name, for the row.
    case: the case.
    seconds: how long it is timed.
    mode: how its step is lifted.
    profile: a folder for its trace.
    say: takes a line of news.

  Returns:
    A row per peer that is installed, or one: measures are numbers or None.
  """
  phase = case.make()
  bare = timing.Program(phase, mode)
  samples = bare.sample(seconds)
  if profile is not None:
    _trace(bare, pathlib.Path(profile) / _slug(f"{method} {case.name}"))
  step = statistics.median(samples)
  fed = None
  if timing.draws(phase):
    fixed = timing.Program(phase, mode, fixed=True)
    fed = timing.feed_share(bare, fixed, step, seconds)
  flops = case.flops()
  devices = jax.devices()
  top = peak(devices[0].device_kind, case.dtype)
  use = flops / step / (top.rate * len(devices)) if flops and top else None
  row = {
    "method": method,
    "case": case.name,
    "dtype": case.dtype,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "examples_per_s_per_device": phase.batch_size / step / len(devices),
    "step_ms_p50": 1e3 * step,
    "step_ms_p90": 1e3 * float(np.quantile(samples, 0.9)),
    "compile_s": bare.compile_s,
    "model_flops_per_step": flops,
    "mfu": use,
    "mfu_precision": top.precision if top else None,
    "peak_bytes": bare.peak_bytes(),
    "host_share": timing.host_share(phase, bare, mode, step, seconds),
    "feed_share": fed,
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
    ratio = timing.ratio(bare, run, seconds)
    rows.append({**row, "peer": peer_.name, "ratio_to_peer": ratio})
  return rows or [row]


def _trace(bare: timing.Program, folder: pathlib.Path) -> None:
  with jax.profiler.trace(str(folder)):
    bare.sample(0.0)


def _slug(text: str) -> str:
  return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def table(rows: Sequence[Row]) -> str:
  """The rows as tables: what a step costs, and how it stands beside peers.

  Args:
    rows: what `benchmark` gave.

  Returns:
    The text.
  """
  once = {(row["method"], row["case"]): row for row in rows}
  text = report.render(
    "a step", list(_COLUMNS), list(map(_cells, once.values()))
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
  "drawing",
)


def _title(row: Row) -> str:
  return f"{row['method']}: {row['case']}"


def _cells(row: Row) -> list[str]:
  def share(value):
    return "-" if value is None else f"{100 * value:.1f} %"

  mfu = share(row["mfu"])
  return [
    _title(row),
    f"{row['device']} x {row['devices']}",
    f"{row['compile_s']:.1f}",
    f"{row['step_ms_p50']:.2f}",
    f"{row['step_ms_p90']:.2f}",
    f"{row['examples_per_s_per_device']:,.0f}",
    report.number((row["model_flops_per_step"] or float("nan")) / 1e9),
    f"{mfu} of {row['mfu_precision']}" if row["mfu_precision"] else mfu,
    report.number((row["peak_bytes"] or float("nan")) / 2**20),
    share(row["host_share"]),
    share(row["feed_share"]),
  ]
