"""The loop: it dispatches steps, and that is all it does by itself.

The order at a step is fixed, so that a resumed run repeats an uninterrupted
one to the bit: first what is due between steps (the epoch function), then the
steps, then the row of metrics, the evaluation and the checkpoint that are due.
Where nothing but a row is due, and rows follow each other quickly, it is read
and written while the next steps are under way: the device does not wait.
"""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import accel
from kd_jax.errors import Interrupted, NonFiniteError
from kd_jax.experiment import Phase
from kd_jax.training.evaluating import evaluate
from kd_jax.training.session import Session, Window

PyTree = Any
# Stretches of more seconds are not overlapped: rows and signals would be late.
LONG_S = 1.0


@dataclasses.dataclass
class Stretch:
  """Steps that are dispatched; their metrics may not be there yet.

  Attributes:
    step: steps taken before it.
    outputs: of each dispatch how many steps it took, and what it gave: (sums of
      metrics, healthy steps) and which arrays of the state it lost.
    begun: when it was dispatched, by the process's clock.
  """

  step: int
  outputs: list[tuple[int, Any]]
  begun: float

  @property
  def end(self) -> int:
    """Steps taken after it."""
    return self.step + sum(steps for steps, *_ in self.outputs)


def dispatch(phase: Phase, split: PyTree) -> Callable[..., Any]:
  """What one call of a phase's compiled program does: steps, and the guard.

  Args:
    phase: the phase.
    split: `phase.split` of its state, or None.

  Returns:
    `accel.scan_steps` of its step, or `accel.one_step` where its steps are not
    fused; `accel.guarded`, whether its state may diverge or not.
  """
  if phase.fused:
    taken = accel.scan_steps(phase.step, split, phase.parts)
  else:
    taken = accel.one_step(phase.step)
  return accel.guarded(taken, split)


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
      NonFiniteError: names the step whose metrics were not finite, or the
        steps among which an array of the state became so.
      Interrupted: after a checkpoint, when a signal came.
    """
    session, phase = self.session, self.phase
    self.ready: dict[str, accel.Lifted] = {}
    self.counts: dict[int, jax.Array] = {}
    self.window = Window({k: list(v) for k, v in window.items()})
    self.under_way: Stretch | None = None
    self.long = False
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
    self.names = [
      jax.tree_util.keystr(path, simple=True, separator="/")
      for path, _ in jax.tree_util.tree_leaves_with_path(state)
    ]
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
        try:
          state, dispatched = self._steps(state, step, ahead - step)
        except BaseException:  # A stream's, say: the rows before it are kept.
          with contextlib.suppress(NonFiniteError):
            self._settle()
          raise
        self._settle()  # What came before, while these run.
        self.under_way = dispatched
        if self.long or session.profile is not None or accel.several():
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
    fn = accel.guarded(phase.epoch.run, self.split)
    run = self._compiled("epoch", fn, state, self.epoch_data)
    with session.clock.on("epoch"):
      state, found = run(state, self.epoch_data)
      record, lost = jax.device_get(found)
    if name := self._lost(lost):
      self._give_up(f"{name}, between steps,", step)
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
    run = self._compiled("steps", dispatch(phase, self.split), state, data)
    begun = time.perf_counter()
    with session.clock.on("train"):
      state, outputs = run(state, data)
    return state, Stretch(step, [(n, outputs)], begun)

  def _one_by_one(self, state, step, n):
    sharded = self.feed is not None
    data = next(self.feed) if sharded else self.data
    phase = dataclasses.replace(self.phase, fused=False)
    one = dispatch(phase, self.split)
    run = self._compiled("step", one, state, data, sharded=sharded)
    outputs, begun = [], time.perf_counter()
    with self.session.clock.on("train"):
      for i in range(n):
        state, out = run(state, data)
        outputs.append((1, out))
        if sharded and i + 1 < n:
          data = next(self.feed)
    return state, Stretch(step, outputs, begun)

  def _settle(self) -> None:
    """Waits for the steps under way, adds up their metrics, writes the row."""
    stretch, self.under_way = self.under_way, None
    if stretch is None:
      return
    session, phase = self.session, self.phase
    with session.clock.on("train"):
      outputs = jax.device_get(stretch.outputs)
    self.long = time.perf_counter() - stretch.begun > LONG_S
    step, end = stretch.step, stretch.end
    for length, ((chunk, healthy), lost) in outputs:
      if healthy < length:
        self._give_up("a loss, gradient or metric", step + int(healthy) + 1)
      step += length
      if name := self._lost(lost):
        self._give_up(f"{name}, though no loss or metric did,", step, length)
      self.window.add(chunk)
    session.clock.steps += end - stretch.step
    session.clock.examples += (end - stretch.step) * phase.batch_size
    session.reporter.update(end, self._news(), phase.batch_size)
    if end == phase.steps or end % session.config.log_every == 0:
      values = self.window.means()
      session.writer.write("train", phase.arm, phase.name, end, values)
      session.observer("row", end)

  def _lost(self, lost: np.ndarray) -> str:
    """The first array of the state that was lost, "" if none was."""
    if self.phase.may_diverge or not lost.any():
      return ""
    return self.names[int(lost.argmax())]

  def _give_up(self, what: str, step: int, among: int = 1) -> None:
    """Says what was lost at a step, or in one of several up to it."""
    when = (
      f"step {step}" if among == 1 else f"steps {step - among + 1} to {step}"
    )
    raise NonFiniteError(
      f"{self.title}: {what} became NaN or infinite at {when}. Checkpoints "
      "before it are kept; a smaller learning rate is the usual cure"
    )

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
