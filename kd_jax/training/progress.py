"""Progress for people: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


def duration(seconds: float) -> str:
  """Seconds as a person says them: "8 s", "3 min 20 s", "2 h 5 min".

  Args:
    seconds: a duration.

  Returns:
    The text.
  """
  whole = round(seconds)
  if whole < 60:
    return f"{whole} s"
  if whole < 3600:
    return f"{whole // 60} min {whole % 60} s"
  return f"{whole // 3600} h {whole % 3600 // 60} min"


class Reporter:
  """Says where a run is: phase, step, loss, rate and time left.

  Attributes:
    quiet: whether it says nothing at all.
  """

  def __init__(self, stream: TextIO | None = None, *, quiet: bool = False):
    self._stream = stream or sys.stderr
    self.quiet = quiet
    self._bar: Progress | None = None
    self._task = None

  def say(self, line: str) -> None:
    """Prints a line of news.

    Args:
      line: the line.
    """
    if self.quiet:
      return
    if self._bar is not None:
      self._bar.console.print(line, highlight=False, markup=False)
    else:
      print(line, file=self._stream, flush=True)

  def begin(self, title: str, total: int, step: int) -> None:
    """Begins a phase.

    Args:
      title: what to call it.
      total: its steps.
      step: steps taken already, by an earlier process.
    """
    self._title, self._total = title, total
    self._timed: tuple[float, int] | None = None
    self._last_line = time.monotonic()
    if self._bar is None and not self.quiet and self._stream.isatty():
      self._bar = _bar(self._stream)
      self._bar.start()
    if self._bar is not None:
      if self._task is not None:
        self._bar.remove_task(self._task)
      self._task = self._bar.add_task(
        title, total=total, completed=step, news="compiling"
      )

  def update(
    self, step: int, values: Mapping[str, float], batch_size: int
  ) -> None:
    """Reports on the phase.

    Args:
      step: steps taken.
      values: the newest metrics; "loss" is shown.
      batch_size: examples per step.
    """
    if self.quiet:
      return
    now = time.monotonic()
    news = f"loss {values['loss']:.4g}" if "loss" in values else ""
    if self._timed is None:  # Until here most of the time was compilation.
      self._timed = now, step
    else:
      begin, first = self._timed
      rate = (step - first) / max(now - begin, 1e-9)
      left = (self._total - step) / rate if rate else 0.0
      news += f"  {rate * batch_size:,.0f} examples/s  {duration(left)} left"
    if self._bar is not None:
      self._bar.update(self._task, completed=step, news=news)
    elif now - self._last_line > SECONDS_BETWEEN_LINES:
      self._last_line = now
      self.say(f"{self._title}: step {step}/{self._total}  {news}")

  def close(self) -> None:
    """Takes the bar away."""
    if self._bar is not None:
      self._bar.stop()
      self._bar = self._task = None


def _bar(stream: TextIO) -> Progress:
  return Progress(
    TextColumn("{task.description}"),
    BarColumn(),
    TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[news]}"),
    console=Console(file=stream),
    transient=True,
  )
