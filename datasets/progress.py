"""Progress of long work on the host: a bar on a terminal, lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
  BarColumn,
  DownloadColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

T = TypeVar("T")
Say = Callable[[str], None]
# Where to speak while the standard error is silenced; the last one counts.
_heard: list[TextIO] = []


@contextlib.contextmanager
def heard_on(stream: TextIO) -> Iterator[None]:
  """Keeps progress audible where others are silenced.

  Args:
    stream: where progress goes inside the context.

  Yields:
    Nothing.
  """
  _heard.append(_heard[-1] if _heard else stream)
  try:
    yield
  finally:
    _heard.pop()


def to_stderr(line: str) -> None:
  """Writes one line where it does not mix with results.

  Args:
    line: what to say.
  """
  print(line, file=_stream(), flush=True)


def track(
  items: Iterable[T],
  total: int,
  label: str,
  say: Say = to_stderr,
  every: float = 10.0,
) -> Iterator[T]:
  """Yields the items and shows how far they are.

  Args:
    items: what to go through.
    total: how many there are.
    label: what is being done, without a full stop.
    say: takes the plain lines, where the standard error is not a terminal.
    every: seconds between two plain lines.

  Yields:
    The items.
  """
  with counting(total, label, say, every) as advance:
    for item in items:
      yield item
      advance(1)


@contextlib.contextmanager
def counting(
  total: int,
  label: str,
  say: Say = to_stderr,
  every: float = 10.0,
  *,
  size: bool = False,
) -> Iterator[Callable[[int], None]]:
  """Shows how far a count has come.

  Args:
    total: how many there are to be; 0 if unknown.
    label: what is being done, without a full stop.
    say: takes the plain lines, where the standard error is not a terminal.
    every: seconds between two plain lines.
    size: the count is of bytes.

  Yields:
    A function that takes how many more are done.
  """
  console = Console(file=_stream())
  if console.is_terminal and say is to_stderr:
    count = DownloadColumn() if size else MofNCompleteColumn()
    columns = (TextColumn(label), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
      task = bar.add_task(label, total=total or None)
      yield lambda more: bar.advance(task, more)
    return
  text = decimal if size else str
  all_of_it = text(total) if total else "an unknown number"
  done, said = 0, time.monotonic()

  def advance(more: int) -> None:
    nonlocal done, said
    done += more
    if time.monotonic() - said > every:
      said = time.monotonic()
      say(f"{label}: {text(done)} of {all_of_it}")

  say(f"{label}: {all_of_it} to do")
  yield advance
  say(f"{label}: done")


def _stream() -> TextIO:
  return _heard[-1] if _heard else sys.stderr
