"""Progress of long work on the host: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

T = TypeVar("T")
Say = Callable[[str], None]


def to_stderr(line: str) -> None:
  """Writes one line where it does not mix with results.

  Args:
    line: what to say.
  """
  print(line, file=sys.stderr, flush=True)


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
  console = Console(stderr=True)
  if console.is_terminal and say is to_stderr:
    columns = (
      TextColumn(label),
      BarColumn(),
      MofNCompleteColumn(),
      TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
      yield from bar.track(items, total=total)
    return
  said = time.monotonic()
  say(f"{label}: {total} to do")
  for done, item in enumerate(items):
    if time.monotonic() - said > every:
      said = time.monotonic()
      say(f"{label}: {done} of {total}")
    yield item
  say(f"{label}: done")
