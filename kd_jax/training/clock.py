"""Clocks that keep compilation, training and evaluation apart."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
  """Seconds by activity, summed over restarts.

  `compile` is the compiler, `train` the steps from their first dispatch until
  their results are there, `evaluate`, `epoch` and `save` what happens between.
  Steps that run while a row is written count as `train` where they are waited
  for; what the row hides of them is in no activity.

  Attributes:
    seconds: seconds by activity.
    examples: examples trained on.
    steps: steps taken.
  """

  ACTIVITIES = ("compile", "train", "evaluate", "epoch", "save")

  def __init__(self) -> None:
    self.seconds = dict.fromkeys(self.ACTIVITIES, 0.0)
    self.examples = 0
    self.steps = 0
    self._earlier = 0.0
    self._start = time.monotonic()

  @property
  def wall(self) -> float:
    """Seconds since the run's first start, the time it was down left out."""
    return self._earlier + time.monotonic() - self._start

  @contextlib.contextmanager
  def on(self, activity: str) -> Iterator[None]:
    """Times a block.

    Args:
      activity: one of ACTIVITIES.

    Yields:
      Nothing.
    """
    begin = time.monotonic()
    try:
      yield
    finally:
      self.seconds[activity] += time.monotonic() - begin

  def dump(self) -> dict[str, float]:
    """What goes into a checkpoint."""
    return {
      **self.seconds,
      "wall": self.wall,
      "examples": self.examples,
      "steps": self.steps,
    }

  def load(self, dumped: dict[str, float]) -> None:
    """Goes on from a checkpoint.

    Args:
      dumped: what `dump` gave.
    """
    self.seconds = {name: dumped[name] for name in self.ACTIVITIES}
    self.examples = int(dumped["examples"])
    self.steps = int(dumped["steps"])
    self._earlier = dumped["wall"]
    self._start = time.monotonic()
