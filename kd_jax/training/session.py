"""What a run's phases share at the edge, and the sums of a row."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import accel, metrics
from kd_jax.experiment import Config
from kd_jax.training.checkpoint import Shelf
from kd_jax.training.clock import Clock
from kd_jax.training.progress import Reporter
from kd_jax.training.writers import Writer

PyTree = Any


@dataclasses.dataclass
class Session:
  """What a run's phases share at the edge: disk, clock, news, programs.

  Attributes:
    shelf: checkpoints and products.
    writer: metrics.
    clock: where the time went.
    reporter: progress.
    config: the cadences are read from it.
    programs: compiled programs by (phase, configuration, shapes); runs that
      differ in their seed alone share them.
    mode: how steps are lifted.
    observer: told of (event, step), the event "phase", "step" (steps were
      dispatched), "row" (one was written), "saving", "saved" or "product".
    stop: the signal that asked the run to stop, 0 if none did.
    profile: a folder for traces, or None.
  """

  shelf: Shelf
  writer: Writer
  clock: Clock
  reporter: Reporter
  config: Config
  programs: dict[Any, Any] = dataclasses.field(default_factory=dict)
  mode: accel.Mode = "auto"
  observer: Callable[[str, int], None] = lambda event, step: None
  stop: int = 0
  profile: pathlib.Path | None = None

  def compile(
    self,
    name: str,
    fn: Callable[..., Any],
    state: PyTree,
    table: PyTree,
    **how: Any,
  ) -> accel.Lifted:
    """A lifted and compiled function, from the cache if it is there.

    Args:
      name: names the function within the run's configuration.
      fn: `(state, data, *, axis_name)`.
      state: its first argument, placed.
      table: its second.
      **how: passed to `accel.data_parallel`.

    Returns:
      The compiled function.
    """
    plain = dataclasses.replace(self.config, seed=0, arms=())
    shapes = jax.tree.map(lambda x: (np.shape(x), str(x.dtype)), (state, table))
    key = (name, repr(plain), self.mode, str(shapes))
    if key not in self.programs:
      with self.clock.on("compile"):
        lifted = accel.data_parallel(fn, mode=self.mode, **how)
        self.programs[key] = lifted.compile(state, table)
      accel.wait()
    return self.programs[key]


@dataclasses.dataclass
class Window:
  """Sums of the metrics since the last row, on the host in float64."""

  totals: dict[str, list[float]] = dataclasses.field(default_factory=dict)

  def add(self, step_metrics: Mapping[str, metrics.Mean]) -> None:
    """Adds a step's or a chunk's metrics."""
    for name, value in step_metrics.items():
      entry = self.totals.setdefault(name, [0.0, 0.0])
      entry[0] += float(value.total)
      entry[1] += float(value.count)

  def means(self) -> dict[str, float]:
    """Divides and starts anew."""
    values = {k: t / c if c else np.nan for k, (t, c) in self.totals.items()}
    self.totals = {}
    return values
