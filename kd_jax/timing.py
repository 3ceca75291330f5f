"""Seconds of a phase's compiled program, alone and in the loop.

Warm-up is outside the clock, every sample is blocked on at its edges. Two
things that are compared take turns, because a machine's speed drifts.
"""

import contextlib
import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import accel
from kd_jax.experiment import Config, Phase
from kd_jax.training.checkpoint import Shelf
from kd_jax.training.clock import Clock
from kd_jax.training.loop import PhaseLoop, dispatch
from kd_jax.training.progress import Reporter
from kd_jax.training.session import Session
from kd_jax.training.writers import NoWriter, Writer

# Steps between two rows of metrics, as in the loop: a fused program takes so
# many at once.
STRETCH = 50
# Rows that the loop is timed for where steps are short: one of two may be late.
ROWS = 20
# Seconds that a dispatch may take when it is timed.
DISPATCH_S = 4.0


class Program:
  """A phase's compiled program and nothing around it.

  Attributes:
    compile_s: seconds of tracing and compiling.
    state: the phase's state.
  """

  def __init__(
    self,
    phase: Phase,
    mode: accel.Mode,
    devices: Sequence[jax.Device] | None = None,
    *,
    fixed: bool = False,
  ):
    """Compiles the program and runs it once.

    Args:
      phase: the phase.
      mode: how its step is lifted.
      devices: on which; all of them if None.
      fixed: whether one batch, drawn beforehand, takes the place of drawing;
        for a step that draws from columns.
    """
    self.fused = phase.fused
    self._devices = devices
    state = accel.to_host(jax.jit(phase.init)({}, np.uint32(0)))
    step, data = phase.step, phase.data
    if fixed:
      data = jax.device_get(jax.jit(step.batch)(state, data))
      step = step.step
    split = phase.split(state) if phase.split else None
    self.state = accel.place(state, devices, split=split)
    self.data = accel.place(data, devices)
    if fixed:
      step = _whole(step)
    lifted = accel.data_parallel(
      dispatch(dataclasses.replace(phase, step=step), split),
      mode=mode,
      devices=devices,
      data="replicated",
      split=split,
    )
    self.mode = lifted.mode
    # What was compiled earlier would show as nothing.
    clear = contextlib.nullcontext if fixed else accel.without_cache
    with clear():
      begin = time.perf_counter()
      self.run = lifted.compile(self.state, self._input(1))
      self.compile_s = time.perf_counter() - begin
    self.steps(1)  # The first dispatch allocates.

  def _input(self, n: int) -> Any:
    if not self.fused:
      return self.data
    return self.data, accel.place(np.int32(n), self._devices)

  def steps(self, n: int) -> float:
    """Seconds of n steps, blocked at both edges."""
    each = STRETCH if self.fused else 1
    inputs = [self._input(min(each, n - i)) for i in range(0, n, each)]
    outputs = []
    begin = time.perf_counter()
    for data in inputs:
      self.state, out = self.run(self.state, data)
      outputs.append(out)
    jax.block_until_ready((self.state, outputs))
    return time.perf_counter() - begin

  def sample(self, seconds: float) -> list[float]:
    """Seconds per step, one sample a dispatch, at least three of them."""
    n = 1
    if self.fused:
      n = min(STRETCH, max(1, round(DISPATCH_S / self.steps(1))))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
      samples.append(self.steps(n) / n)
    return samples

  def peak_bytes(self) -> int | None:
    """The compiler's account: arguments, results and temporaries, a device."""
    memory = self.run.memory()
    if memory is None:
      return None
    return int(
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
    )


def _whole(step):
  """A step that takes its device's part of a batch that all devices hold."""

  def taken(state, batch, *, axis_name=None):
    if axis_name is not None:
      count, own = accel.axis_size(axis_name), accel.axis_index(axis_name)
      batch = jax.tree.map(
        lambda a: jax.lax.dynamic_slice_in_dim(
          a, own * (a.shape[0] // count), a.shape[0] // count
        ),
        batch,
      )
    return step(state, accel.constrain(batch), axis_name=axis_name)

  return taken


def draws(phase: Phase) -> bool:
  """Whether a phase's step draws its batch from columns."""
  return hasattr(phase.step, "batch") and hasattr(phase.step, "step")


def share(
  whole: Callable[[], float], part: Callable[[], float], turns: int = 5
) -> float:
  """The part of one time that another one does not explain.

  Args:
    whole: gives seconds.
    part: gives seconds of what should be a part of it.
    turns: how often they take turns; one more goes before, unheard.

  Returns:
    The median of 1 - part / whole; where there is nothing, some noise on either
    side of 0.
  """
  shares = []
  for _ in range(turns + 1):
    around = whole()
    shares.append(1 - part() / around)
  return statistics.median(shares[1:])


def host_share(
  phase: Phase, bare: Program, mode: accel.Mode, step: float, seconds: float
) -> float:
  """The part of the real loop's time that the bare program does not explain.

  Of a loop that is under way (`loop_seconds`).

  Args:
    phase: the phase.
    bare: its program.
    mode: how steps are lifted.
    step: seconds of one.
    seconds: a third of them is timed at a time; the whole takes four to
      eight times as many.

  Returns:
    The share.
  """
  steps = min(ROWS * STRETCH, max(1, round(seconds / 3 / step)))
  programs: dict[Any, Any] = {}
  return share(
    lambda: loop_seconds(phase, steps, mode, programs),
    lambda: bare.steps(steps),
  )


def feed_share(
  bare: Program, fixed: Program, step: float, seconds: float
) -> float:
  """The part of a step that goes into drawing its batch from the columns.

  Args:
    bare: the program as it is.
    fixed: the same on one batch.
    step: seconds of a step.
    seconds: how long to measure, about.

  Returns:
    The share.
  """
  steps = min(ROWS * STRETCH, max(1, round(seconds / 12 / step)))
  return share(lambda: bare.steps(steps), lambda: fixed.steps(steps))


def loop_seconds(
  phase: Phase, steps: int, mode: accel.Mode, programs: dict[Any, Any]
) -> float:
  """Seconds that the real loop takes for some steps, once it is under way.

  From the writing of the second row to that of the last: what a phase takes to
  begin (placing its state and data, compiling, the first row's file) is over
  when the clock starts.

  Args:
    phase: the phase.
    steps: how many are timed.
    mode: how steps are lifted.
    programs: compiled ones, from call to call.

  Returns:
    Seconds.
  """
  row = min(STRETCH, steps)
  phase = dataclasses.replace(
    phase, steps=2 * row + steps, epoch=None, evaluations={}
  )
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    session = Session(
      shelf=Shelf(workdir),
      writer=Writer(workdir) if accel.is_first() else NoWriter(),
      clock=Clock(),
      reporter=Reporter(quiet=True),
      config=Config(log_every=row, save_every=0),
      programs=programs,
      mode=mode,
    )
    loop = PhaseLoop(phase, session, phase.name)
    state = jax.jit(phase.init)({}, np.uint32(0))
    rows: dict[int, float] = {}

    def heard(event, step):
      if event == "row":
        rows[step] = time.perf_counter()

    session.observer = heard
    jax.block_until_ready(loop.run(state, 0, {}))
    session.writer.close()
  return rows[phase.steps] - rows[2 * row]


def ratio(bare: Program, run: Callable[[int], None], seconds: float) -> float:
  """A peer's seconds per step over ours, the two taking turns.

  Args:
    bare: our program.
    run: takes n of the peer's steps.
    seconds: how long to measure, about.

  Returns:
    The median of five ratios; above 1 we are faster.
  """

  def timed(n):
    begin = time.perf_counter()
    run(n)
    return time.perf_counter() - begin

  timed(1)  # Whatever it compiles or allocates.
  each = seconds / 6
  ours = max(1, round(each / bare.steps(1)))
  theirs = max(1, round(each / timed(1)))
  return statistics.median(
    (timed(theirs) / theirs) / (bare.steps(ours) / ours) for _ in range(5)
  )
