"""Where the numbers of a run go: JSON lines, a CSV, TensorBoard events."""

import csv
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kd_jax import accel
from kd_jax.errors import UsageError


class Writer:
  """Appends rows to `metrics.jsonl` and mirrors numbers to TensorBoard.

  A row is {"kind", "arm", "phase", "step", name: number or list}. On resume the
  file is cut back to the checkpoint's position, so that a resumed run leaves
  the rows of an uninterrupted one.
  """

  def __init__(self, workdir: pathlib.Path, *, tensorboard: bool = False):
    self.path = workdir / "metrics.jsonl"
    self._events = _events(workdir / "tensorboard") if tensorboard else None
    self._file = self.path.open("ab")

  def position(self) -> int:
    """The length of the file in bytes, for the checkpoint."""
    self._file.flush()
    return self._file.tell()

  def rewind(self, position: int) -> None:
    """Cuts the file back to a checkpoint's position.

    Args:
      position: what `position` gave when the checkpoint was saved. A file that
        was cut short from outside keeps its whole lines.
    """
    whole = self.path.read_bytes()[:position].rfind(b"\n") + 1
    self._file.truncate(whole)
    self._file.seek(whole)

  def write(
    self, kind: str, arm: str, phase: str, step: int, values: Mapping[str, Any]
  ) -> None:
    """Writes one row.

    Args:
      kind: "train", "eval" or "epoch".
      arm: the phase's arm.
      phase: the phase's name.
      step: steps taken in the phase.
      values: numbers, or vectors (written as lists).
    """
    plain = {name: _plain(value) for name, value in values.items()}
    row = {"kind": kind, "arm": arm, "phase": phase, "step": step, **plain}
    self._file.write(json.dumps(row).encode() + b"\n")
    self._file.flush()
    if self._events is not None:
      for name, value in plain.items():
        if isinstance(value, float):
          self._events.add_scalar(f"{arm or phase}/{kind}/{name}", value, step)

  def close(self) -> None:
    """Writes `metrics.csv` from the rows and closes the files."""
    self._file.close()
    if self._events is not None:
      self._events.close()
    write_csv(self.path)


class NoWriter(Writer):
  """What a process has that is not the first: it writes nothing."""

  def __init__(self):
    pass

  def position(self) -> int:
    """Nothing was written."""
    return 0

  def rewind(self, position: int) -> None:
    """There is nothing to cut."""

  def write(
    self, kind: str, arm: str, phase: str, step: int, values: Mapping[str, Any]
  ) -> None:
    """Writes nothing."""

  def close(self) -> None:
    """There is nothing to close."""


def open_writer(workdir: pathlib.Path, *, tensorboard: bool = False) -> Writer:
  """The run's writer, or on a process that is not the first one none.

  Args:
    workdir: the run's folder.
    tensorboard: whether event files are written too.

  Returns:
    The writer.

  Raises:
    UsageError: on every process, where the folder cannot be written.
  """
  found: list[Writer] = []

  def make():
    found.append(Writer(workdir, tensorboard=tensorboard))

  accel.from_first(make)
  return found[0] if found else NoWriter()


def _plain(value: Any) -> float | list[float] | None:
  array = np.asarray(value, np.float64)
  array = np.where(np.isfinite(array), array, np.nan)
  listed = array.tolist()
  if isinstance(listed, list):
    return [None if x != x else x for x in listed]
  return None if listed != listed else listed


def _events(folder: pathlib.Path) -> Any:
  try:
    import tensorboardX
  except ImportError as error:
    raise UsageError(
      "TensorBoard events need an extra: pip install 'kd-jax[tensorboard]'"
    ) from error
  return tensorboardX.SummaryWriter(str(folder))


def read_rows(path: pathlib.Path) -> Iterator[dict[str, Any]]:
  """Reads `metrics.jsonl`.

  Args:
    path: the file.

  Yields:
    Its rows; a last line that a killed process left half written is not one.

  Raises:
    UsageError: names a line that is not JSON.
  """
  with path.open("rb") as file:
    for number, line in enumerate(file, 1):
      try:
        if line.endswith(b"\n"):
          yield json.loads(line)
      except ValueError as error:
        raise UsageError(
          f"{path} is damaged: line {number} is not JSON; delete that line"
        ) from error


def write_csv(path: pathlib.Path) -> None:
  """Writes the rows of a `metrics.jsonl` as a table beside it.

  Args:
    path: the `metrics.jsonl`; vectors are left to it.
  """
  rows = [
    {k: v for k, v in row.items() if not isinstance(v, list)}
    for row in read_rows(path)
  ]
  first = ("kind", "arm", "phase", "step")
  names = sorted({name for row in rows for name in row} - set(first))
  with path.with_suffix(".csv").open("w", newline="") as file:
    table = csv.DictWriter(file, [*first, *names])
    table.writeheader()
    table.writerows(rows)
