"""The loop: it dispatches steps, and that is all it does by itself.

The order at a step is fixed, so that a resumed run repeats an uninterrupted
one to the bit: first what is due between steps (the epoch function), then the
steps, then the row of metrics, the evaluation and the checkpoint that are due.
Where nothing but a row is due, it is read and written while the next steps are
under way: the device does not wait for the host.
"""

import contextlib
import dataclasses
import pathlib
import signal
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import accel, metrics
from kd_jax.errors import Interrupted, NonFiniteError
from kd_jax.experiment import Config, Phase
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


@dataclasses.dataclass
class Stretch:
  """Steps that are dispatched; their metrics may not be there yet.

  Attributes:
    step: steps taken before it.
    outputs: (steps, sums of metrics, healthy steps) of each dispatch.
  """

  step: int
  outputs: list[tuple[int, PyTree, Any]]

  @property
  def end(self) -> int:
    """Steps taken after it."""
    return self.step + sum(steps for steps, *_ in self.outputs)


class PhaseLoop:
  """One phase from a state and a step to the phase's last step."""

  def __init__(self, phase: Phase, session: Session, title: str):
    self.phase = phase
    self.session = session
    self.title = title
    self.window = Window()

  def run(self, state: PyTree, step: int, window: Mapping[str, Any]) -> PyTree:
    """Takes the remaining steps.

    Args:
      state: the state after `step` steps.
      step: steps taken.
      window: the sums since the last row of metrics.

    Returns:
      The state after the last step.

    Raises:
      NonFiniteError: names the step whose metrics were not finite.
      Interrupted: after a checkpoint, when a signal came.
    """
    session, phase = self.session, self.phase
    self.ready: dict[str, accel.Lifted] = {}
    self.counts: dict[int, jax.Array] = {}
    self.window = Window({k: list(v) for k, v in window.items()})
    self.under_way: Stretch | None = None
    self.data = accel.place(phase.data) if phase.data is not None else None
    self.feed = accel.prefetch(phase.stream(step)) if phase.stream else None
    self.tables = {
      name: accel.place(evaluation.data)
      for name, evaluation in phase.evaluations.items()
    }
    self.epoch_data = None
    if phase.epoch:
      same = phase.epoch.data is phase.data  # One copy on the devices.
      self.epoch_data = self.data if same else accel.place(phase.epoch.data)
    self.split = phase.split(state) if phase.split else None
    state = accel.place(state, split=self.split)
    session.reporter.begin(self.title, phase.steps, step)
    session.observer("phase", step)
    stretch = 0
    while step < phase.steps:
      if phase.epoch and step % phase.epoch.every == 0:
        self._settle()
        state = self._epoch(state, step)
      ahead = self._next_stop(step)
      with self._traced(stretch, ahead):
        state, dispatched = self._steps(state, step, ahead - step)
        self._settle()  # What came before, while these run.
        self.under_way = dispatched
        if session.profile is not None or accel.several():
          self._settle()
      step, stretch = ahead, stretch + 1
      self._after(state, step)
    if phase.epoch and phase.epoch.last:
      state = self._epoch(state, step)
    return state

  def _traced(self, stretch: int, ahead: int) -> Any:
    """A trace of the phase's second stretch, or of the only one it has.

    The first one compiles.
    """
    folder = self.session.profile
    wanted = stretch == (0 if ahead == self.phase.steps and not stretch else 1)
    if folder is None or not wanted:
      return contextlib.nullcontext()
    return jax.profiler.trace(str(folder / self.phase.key))

  def _cadences(self) -> list[int]:
    config = self.session.config
    every = [config.log_every, config.eval_every, config.save_every]
    if self.phase.epoch:
      every.append(self.phase.epoch.every)
    return [n for n in every if n > 0]

  def _next_stop(self, step: int) -> int:
    """The next step at which something is due."""
    due = [(step // n + 1) * n for n in self._cadences()]
    return min([self.phase.steps, *due])

  def _compiled(
    self,
    name: str,
    fn: Callable[..., Any],
    state: PyTree,
    data: PyTree,
    *,
    sharded: bool = False,
  ) -> accel.Lifted:
    """A program of the phase, looked for once: its shapes stay as they are."""
    if name not in self.ready:
      self.ready[name] = self.session.compile(
        f"{self.phase.key}/{name}",
        fn,
        state,
        data,
        data="sharded" if sharded else "replicated",
        split=self.split,
      )
    return self.ready[name]

  def _epoch(self, state: PyTree, step: int) -> PyTree:
    session, phase = self.session, self.phase
    run = self._compiled("epoch", phase.epoch.run, state, self.epoch_data)
    with session.clock.on("epoch"):
      state, record = run(state, self.epoch_data)
      record = jax.device_get(record)
    session.writer.write("epoch", phase.arm, phase.name, step, record)
    return state

  def _steps(self, state: PyTree, step: int, n: int) -> tuple[PyTree, Stretch]:
    """Dispatches n steps."""
    session, phase = self.session, self.phase
    if not phase.fused or self.feed is not None:
      return self._one_by_one(state, step, n)
    if n not in self.counts:  # Placing it takes as long as a small step.
      self.counts[n] = accel.place(np.int32(n))
    data = (self.data, self.counts[n])
    fused = accel.scan_steps(phase.step, self.split, phase.parts)
    run = self._compiled("steps", fused, state, data)
    with session.clock.on("train"):
      state, outputs = run(state, data)
    return state, Stretch(step, [(n, *outputs)])

  def _one_by_one(self, state, step, n):
    sharded = self.feed is not None
    data = next(self.feed) if sharded else self.data
    one = accel.one_step(self.phase.step)
    run = self._compiled("step", one, state, data, sharded=sharded)
    outputs = []
    with self.session.clock.on("train"):
      for i in range(n):
        state, out = run(state, data)
        outputs.append((1, *out))
        if sharded and i + 1 < n:
          data = next(self.feed)
    return state, Stretch(step, outputs)

  def _settle(self) -> None:
    """Waits for the steps under way, adds up their metrics, writes the row."""
    stretch, self.under_way = self.under_way, None
    if stretch is None:
      return
    session, phase = self.session, self.phase
    with session.clock.on("train"):
      outputs = jax.device_get(stretch.outputs)
    step, end = stretch.step, stretch.end
    for length, chunk, healthy in outputs:
      if healthy < length:
        raise NonFiniteError(
          f"{self.title}: a loss, gradient or metric became NaN or infinite at "
          f"step {step + int(healthy) + 1}. Checkpoints before it are kept; a "
          "smaller learning rate is the usual cure"
        )
      step += length
      self.window.add(chunk)
    session.clock.steps += end - stretch.step
    session.clock.examples += (end - stretch.step) * phase.batch_size
    session.reporter.update(end, self._news(), phase.batch_size)
    if end == phase.steps or end % session.config.log_every == 0:
      values = self.window.means()
      session.writer.write("train", phase.arm, phase.name, end, values)
      session.observer("row", end)

  def _news(self) -> dict[str, float]:
    loss = self.window.totals.get("loss")
    return {"loss": loss[0] / loss[1]} if loss and loss[1] else {}

  def _after(self, state: PyTree, step: int) -> None:
    """What is due after a step besides a row: evaluation, checkpoint, stop."""
    session, phase, config = self.session, self.phase, self.session.config
    last = step == phase.steps
    if last:
      self._settle()
    if config.eval_every and step % config.eval_every == 0 and not last:
      self._settle()
      values = evaluate(phase, phase.product(state), session, self.tables)
      session.writer.write("eval", phase.arm, phase.name, step, values)
    session.observer("step", step)
    session.stop = accel.largest(session.stop)
    due = config.save_every and step % config.save_every == 0
    if (due or session.stop) and not last:
      self._settle()
      self._save(state, step)
    if session.stop and not last:
      name = signal.Signals(session.stop).name
      raise Interrupted(
        session.stop,
        f"stopped by {name} at step {step} of {self.title}; the same command "
        "goes on from there",
      )

  def _save(self, state: PyTree, step: int) -> None:
    session = self.session
    session.observer("saving", step)
    with session.clock.on("save"):
      accel.check_replicated(state)
      session.shelf.save(
        state,
        {
          "phase": self.phase.key,
          "step": step,
          "window": self.window.totals,
          "rows": session.writer.position(),
          "clock": session.clock.dump(),
        },
      )
    session.observer("saved", step)


def evaluate(
  phase: Phase,
  product: PyTree,
  session: Session,
  tables: Mapping[str, PyTree] | None = None,
) -> dict[str, float | list[float]]:
  """Runs a phase's evaluations.

  Args:
    phase: the phase.
    product: its product, finished or not.
    session: clocks and programs.
    tables: the evaluations' data if they are placed already.

  Returns:
    "evaluation_metric" to number, or to a list of one number a seed.
  """
  values: dict[str, float | list[float]] = {}
  # A divided state's product is divided likewise; most are measured whole.
  placed = None if phase.split or tables is None else product
  for name, evaluation in phase.evaluations.items():
    data = tables[name] if tables else accel.place(evaluation.data)
    split = evaluation.split and evaluation.split(product)
    if split is not None:
      whole = accel.place(product, split=split)
    else:
      placed = accel.place(product) if placed is None else placed
      whole = placed
    run = session.compile(
      f"{phase.key}/{name}",
      _measured(evaluation.run, split),
      whole,
      data,
      data="replicated",
      donate=False,
      split=split,
    )
    with session.clock.on("evaluate"):
      found = run(whole, data)
      found = metrics.compute(found if split is None else found[1])
    values.update({f"{name}_{k}": v for k, v in found.items()})
  return values


def _measured(run: Callable[..., Any], split: PyTree) -> Callable[..., Any]:
  """An evaluation in the form that a divided argument is lifted in."""
  if split is None:
    return run
  return lambda product, data, *, axis_name=None: (
    product,
    run(product, data, axis_name=axis_name),
  )
