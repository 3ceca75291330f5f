"""A run: phases in order, in a folder, from wherever it stands."""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import pathlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import accel
from kd_jax.errors import Interrupted, UsageError
from kd_jax.experiment import Config, Phase, WholeRun
from kd_jax.training import unchanged
from kd_jax.training.checkpoint import Shelf
from kd_jax.training.clock import Clock
from kd_jax.training.evaluating import evaluate
from kd_jax.training.loop import PhaseLoop
from kd_jax.training.progress import Reporter
from kd_jax.training.session import Session
from kd_jax.training.writers import open_writer

PyTree = Any


def write_json(path: pathlib.Path, data: Any) -> None:
  """Writes a JSON file whole or not at all.

  Args:
    path: the file.
    data: plain data; a number that is not finite becomes null.
  """
  temporary = path.with_name(f".{path.name}.part")
  temporary.write_text(json.dumps(_finite(data), indent=2) + "\n")
  os.replace(temporary, path)


def _finite(data: Any) -> Any:
  if isinstance(data, Mapping):
    return {k: _finite(v) for k, v in data.items()}
  if isinstance(data, list | tuple):
    return [_finite(v) for v in data]
  return None if isinstance(data, float) and not math.isfinite(data) else data


@contextlib.contextmanager
def claim_folder(workdir: pathlib.Path) -> Iterator[None]:
  """Takes a run's folder for this process alone.

  Args:
    workdir: the folder; it is made if it is not there. Of several processes
      that run together the first one takes it.

  Yields:
    Nothing; the folder is this process's until the block ends. One that was
    made for a wrong use, and holds nothing yet, is taken away again.

  Raises:
    UsageError: if it cannot be written, or another process has it.
  """
  new = not workdir.exists()
  with contextlib.ExitStack() as stack:
    accel.from_first(lambda: _lock(workdir, stack))
    try:
      yield
    except UsageError:
      alone = new and accel.is_first()
      if alone and [p.name for p in workdir.iterdir()] == [".lock"]:
        shutil.rmtree(workdir)
      raise


def _lock(workdir: pathlib.Path, stack: contextlib.ExitStack) -> None:
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context((workdir / ".lock").open("w"))
    lock.write("kd-jax" * 1000)
    lock.flush()
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise UsageError(
      f"another process is running in {workdir}; choose another --workdir"
    ) from None
  except OSError as error:
    raise UsageError(f"cannot write {workdir}: {error.strerror}") from error


@contextlib.contextmanager
def _signals(session: Session) -> Iterator[None]:
  """SIGINT and SIGTERM ask the loop to stop; a second one stops at once."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def ask(signum, frame):
    if session.stop:
      raise KeyboardInterrupt
    session.stop = signum
    session.reporter.say("stopping: the step is finished and saved first")

  old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield
  finally:
    for signum, handler in old.items():
      signal.signal(signum, handler)


def execute(
  config: Config,
  phases: Sequence[Phase | WholeRun],
  workdir: pathlib.Path,
  *,
  reporter: Reporter,
  programs: dict[Any, Any] | None = None,
  mode: accel.Mode = "auto",
  tensorboard: bool = False,
  profile: bool = False,
  observer: Callable[[str, int], None] = lambda event, step: None,
) -> dict[str, Any]:
  """Runs what is not finished of a run's phases.

  Args:
    config: the configuration; its seed and cadences are used.
    phases: in order; their keys differ.
    workdir: the run's folder.
    reporter: progress.
    programs: compiled programs, to share with runs that differ in their seed
      alone.
    mode: how steps are lifted.
    tensorboard: whether to write event files too.
    profile: whether to leave a trace of some steps of each phase.
    observer: told of what happens, for tests that stop a run at a point.

  Returns:
    {"metrics": {"arm.metric": number}, "per_seed": {...}, "clock": {...}}.

  Raises:
    UsageError: if the folder cannot be written or is damaged.
    NonFiniteError: if training diverged.
    Interrupted: after a checkpoint, when a signal came.
  """
  shelf = Shelf(workdir)
  begun = shelf.latest() is not None or any(shelf.has(p.key) for p in phases)
  accel.from_first(
    lambda: write_json(
      workdir / unchanged.FILE, unchanged.check(workdir, phases, begun)
    )
  )
  session = Session(
    shelf=shelf,
    writer=open_writer(workdir, tensorboard=tensorboard),
    clock=Clock(),
    reporter=reporter,
    config=config,
    programs={} if programs is None else programs,
    mode=mode,
    observer=observer,
    profile=workdir / "profile" if profile and accel.is_first() else None,
  )
  position = _position(session, phases)
  products: dict[str, PyTree] = {}
  found: dict[str, Any] = {}
  with _signals(session):
    try:
      for number, phase in enumerate(phases, 1):
        key, shelf = phase.key, session.shelf
        if not shelf.has(key):
          title = f"[{number}/{len(phases)}] {key}"
          product, values = _run_phase(
            phase, products, session, title, position
          )
          _finish(phase, product, values, session)
          products[key] = product
        else:
          products[key] = _stored(phase, products, session)
          values = shelf.about(key)["metrics"]
        found.update(_named(phase, values))
        session.stop = accel.largest(session.stop)
        if session.stop and number < len(phases):
          raise Interrupted(
            session.stop, f"stopped after {key}; the same command goes on"
          )
    finally:
      session.writer.close()
      reporter.close()
  return {**_split_seeds(found), "clock": session.clock.dump()}


def _position(session, phases) -> dict[str, Any]:
  """Where the run stands; the writer and the clocks are set back to it."""
  shelf = session.shelf
  finished = [p.key for p in phases if shelf.has(p.key)]
  latest = shelf.latest()
  position: dict[str, Any] = {"phase": None, "rows": 0}
  if finished:
    position = {**shelf.about(finished[-1]), "phase": None}
  if latest is not None and latest["phase"] not in finished:
    position = latest
  session.writer.rewind(position["rows"])
  if "clock" in position:
    session.clock.load(position["clock"])
  return position


def _run_phase(phase, products, session, title, position):
  """A phase from its start or its checkpoint to its product and metrics."""
  seed = np.uint32(session.config.seed)
  if isinstance(phase, WholeRun):
    return _run_whole(phase, products, session, title, seed)
  if position["phase"] == phase.key:
    like = jax.eval_shape(phase.init, products, seed)
    state = session.shelf.resume(like)
    step, window = position["step"], position["window"]
    session.reporter.say(f"{title}: going on from step {step}")
  else:
    args = _everywhere((products, seed))
    init = _once(session, f"{phase.key}/init", phase.init, *args)
    state, step, window = init(*args), 0, {}
  state = PhaseLoop(phase, session, title).run(state, step, window)
  product = accel.to_host(phase.product(state))
  return product, evaluate(phase, product, session)


def _run_whole(phase, products, session, title, seed):
  session.reporter.begin(title, phase.steps, 0)
  if phase.host:
    with session.clock.on("train"):
      product, values = phase.run(products, phase.data, seed)
    session.clock.steps += phase.steps
    session.clock.examples += phase.steps
    return jax.device_get(product), dict(values)
  data = accel.place(phase.data) if phase.data is not None else None
  products, seed = _everywhere((products, seed))
  run = _once(session, f"{phase.key}/run", phase.run, products, data, seed)
  with session.clock.on("train"):
    product, values = accel.to_host(run(products, data, seed))
  session.clock.steps += phase.steps
  session.clock.examples += phase.steps
  return product, {k: np.asarray(v).tolist() for k, v in values.items()}


def _everywhere(args):
  """Arguments of a program that several processes run together, as one."""
  return accel.place(args) if accel.several() else args


def _once(session, name, fn, *args):
  """A jitted function from the session's programs; compilation is clocked."""
  plain = dataclasses.replace(session.config, seed=0, arms=())
  shapes = str(jax.tree.map(lambda x: (np.shape(x), str(x.dtype)), args))
  key = (name, repr(plain), shapes)
  if key not in session.programs:
    with session.clock.on("compile"):
      session.programs[key] = accel.compiled(jax.jit(fn).lower(*args))
    accel.wait()
  return session.programs[key]


def _finish(phase, product, values, session) -> None:
  numbers = {k: v for k, v in values.items() if np.ndim(v) == 0}
  steps = phase.steps
  session.writer.write("eval", phase.arm, phase.name, steps, numbers)
  session.observer("finishing", steps)
  session.shelf.put(
    phase.key,
    product,
    {
      "metrics": values,
      "rows": session.writer.position(),
      "clock": session.clock.dump(),
    },
  )
  session.observer("product", steps)
  session.shelf.clear()


def _stored(phase, products, session) -> PyTree:
  """A finished phase's product, checked against what it should look like."""
  seed = np.uint32(session.config.seed)
  if isinstance(phase, WholeRun) and phase.host:
    like = session.shelf.shapes(phase.key)
  elif isinstance(phase, WholeRun):
    like = jax.eval_shape(phase.run, products, phase.data, seed)[0]
  else:
    like = jax.eval_shape(
      lambda p, s: phase.product(phase.init(p, s)), products, seed
    )
  return session.shelf.product(phase.key, like)


def _named(phase, values) -> dict[str, Any]:
  return {f"{phase.arm or phase.name}.{k}": v for k, v in values.items()}


def _split_seeds(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Numbers as they are; vectors over seeds as their mean, and as lists."""
  metrics = {
    k: float(np.mean(v)) if np.ndim(v) else v for k, v in found.items()
  }
  per_seed = {k: list(v) for k, v in found.items() if np.ndim(v)}
  return {"metrics": metrics, "per_seed": per_seed}


def _reading(workdir: pathlib.Path, config: Config) -> Session:
  """A session that reads a run and writes nothing."""
  return Session(
    shelf=Shelf(workdir, read_only=True),
    writer=None,
    clock=Clock(),
    reporter=Reporter(quiet=True),
    config=config,
  )


def read_products(
  phases: Sequence[Phase | WholeRun], workdir: pathlib.Path, config: Config
) -> dict[str, PyTree]:
  """The products of a finished run.

  Args:
    phases: the run's phases.
    workdir: its folder.
    config: its configuration.

  Returns:
    Products by phase key.

  Raises:
    UsageError: if a phase is not finished or its product is damaged.
  """
  session, products = _reading(workdir, config), {}
  for phase in phases:
    if not session.shelf.has(phase.key):
      raise UsageError(
        f"{workdir} is not finished: {phase.key} is missing; kd-jax train with "
        "this --workdir goes on"
      )
    products[phase.key] = _stored(phase, products, session)
  return products


def evaluate_products(
  phases: Sequence[Phase | WholeRun], workdir: pathlib.Path, config: Config
) -> dict[str, float]:
  """Measures the products of a finished run anew.

  Args:
    phases: the run's phases.
    workdir: its folder.
    config: its configuration.

  Returns:
    "arm.metric" to number; a whole run's are read, since they are its result.

  Raises:
    UsageError: if a phase is not finished or its product is damaged.
  """
  session = _reading(workdir, config)
  products = read_products(phases, workdir, config)
  found: dict[str, Any] = {}
  for phase in phases:
    if isinstance(phase, WholeRun):
      values = session.shelf.about(phase.key)["metrics"]
    else:
      values = evaluate(phase, products[phase.key], session)
    found.update(_named(phase, values))
  return _split_seeds(found)["metrics"]
