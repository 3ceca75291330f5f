"""The verbs of the command as functions: train, evaluate, load.

In a notebook a second process cannot have the device, so that these are what a
notebook calls. The defaults are the command's.
"""

import dataclasses
import errno
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from kd_jax import accel, fields, inputs, registry, report, workdirs
from kd_jax.errors import Interrupted, UsageError
from kd_jax.experiment import Config, Method, Phase, WholeRun
from kd_jax.training import run as running
from kd_jax.training.progress import Reporter
from kd_jax.training.writers import read_rows

PyTree = Any
_SUMMARY = {"seed", "devices", "compile_s", "train_s", "wall_s", "metrics"}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclasses.dataclass(frozen=True)
class Run:
  """A finished run.

  Attributes:
    method: the method.
    preset: the preset it started from, or "custom".
    config: its configuration.
    workdir: its folder.
    summary: what `summary.json` holds.
    data: the user's own data by role, if any were given.
  """

  method: Method
  preset: str
  config: Config
  workdir: pathlib.Path
  summary: Mapping[str, Any]
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

  @property
  def metrics(self) -> Mapping[str, float]:
    """The last numbers, "arm.metric" to value."""
    return self.summary["metrics"]

  @property
  def products(self) -> dict[str, PyTree]:
    """What the phases left, by phase key."""
    return running.read_products(self.phases(), self.workdir, self.config)

  @property
  def state(self) -> PyTree:
    """What the method's own last phase left."""
    phases = self.phases()
    products = running.read_products(phases, self.workdir, self.config)
    own = [p.key for p in phases if p.arm == self.method.main]
    return products[(own or [p.key for p in phases])[-1]]

  def phases(self) -> Sequence[Phase | WholeRun]:
    """The phases that the run went through.

    Returns:
      The phases, made again.

    Raises:
      UsageError: if the user's own files are not what they were.
    """
    own = self.method, self.config, self.data
    inputs.refuse_changed(*own, self.workdir)
    return self.method.phases(self.config, self.data, lambda line: None)

  def rows(self) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`."""
    path = self.workdir / "metrics.jsonl"
    return accel.from_first(lambda: list(read_rows(path)))

  def plot(self) -> dict[str, Any]:
    """The figures of the run, by name (also saved under `plots/`)."""
    return report.figures(self)

  def table(self) -> str:
    """The closing table as text."""
    return report.table(self)

  def ask(self, question: str, text: str = "") -> str:
    """Asks what the method's `evaluate` answers.

    Args:
      question: the option's name ("query").
      text: its value.

    Returns:
      The answer, as text to print.

    Raises:
      UsageError: for a question that the method does not know, or that makes
        no sense to it.
    """
    known = self.method.answers
    if question not in known:
      near = (
        registry.nearest(question, list(known)) if known else "there is none"
      )
      raise UsageError(f"{self.method.name} answers no {question!r}; {near}")
    return known[question].run(self, text)


def configure(
  method: str | Method,
  preset: str | None = None,
  config: Config | None = None,
  **values: Any,
) -> tuple[Method, str, Config]:
  """A method's configuration from a preset and some fields.

  Args:
    method: its name or record.
    preset: one of its presets; its default if None.
    config: a whole configuration instead of a preset.
    **values: fields by name; a nested one with "__" ("data__web").

  Returns:
    The method, the preset's name, and the configuration.

  Raises:
    UsageError: for an unknown method, preset or field.
  """
  method = registry.find(method)
  preset = preset or method.default
  if config is None:
    if preset not in method.presets:
      near = registry.nearest(preset, list(method.presets))
      raise UsageError(f"{method.name} has no preset {preset!r}; {near}")
    config = method.presets[preset]
  config = fields.override(
    config, {k.replace("__", "."): v for k, v in values.items()}
  )
  _check_arms(method, config.arms)
  return method, preset, config


def _check_arms(method: Method, arms: tuple[str, ...]) -> None:
  known = list(method.arms)
  if known and not arms:
    raise UsageError(f"arms is empty; there is: {', '.join(sorted(known))}")
  for place, arm in enumerate(arms):
    if arm not in known:
      near = registry.nearest(str(arm), known)
      raise UsageError(f"{method.name} has no arm {arm!r}; {near}")
    if arm in arms[:place]:
      raise UsageError(f"arms has {arm!r} twice")


def train(
  method: str | Method,
  preset: str | None = None,
  *,
  config: Config | None = None,
  workdir: str | pathlib.Path | None = None,
  data: Mapping[str, Any] | None = None,
  quiet: bool = False,
  tensorboard: bool = False,
  profile: bool = False,
  mode: accel.Mode = "auto",
  programs: dict[Any, Any] | None = None,
  observer: Callable[[str, int], None] = lambda event, step: None,
  **values: Any,
) -> Run:
  """Runs a method's arms, from wherever the folder stands.

  Where several processes run together every one of them calls this with the
  same arguments; the first one alone has the folder, and needs to.

  Args:
    method: its name.
    preset: one of its presets; its default if None.
    config: a whole configuration instead of a preset.
    workdir: the run's folder; "runs/METHOD-PRESET-TIME" by default. One that
      holds a run of the same configuration goes on, a finished one is read.
    data: by role, the user's own data (see the method's README).
    quiet: says nothing.
    tensorboard: writes event files too.
    profile: leaves a trace of some steps of each phase in the folder, for
      TensorBoard or Perfetto.
    mode: how steps are lifted to several devices.
    programs: compiled programs, to share between runs that differ in their
      seed alone.
    observer: told of what happens, for tests that stop a run at a point.
    **values: fields of the configuration by name.

  Returns:
    The finished run.

  Raises:
    UsageError: for wrong arguments, data or folders, before training begins.
    NonFiniteError: if training diverged.
    Interrupted: after a checkpoint, when a signal came.
  """
  method, preset, config = configure(method, preset, config, **values)
  data = _roles(data)
  accel.start()
  workdir = pathlib.Path(
    accel.from_first(
      lambda: str(workdir or workdirs.new_folder(method, preset))
    )
  )
  reporter = Reporter(quiet=quiet or not accel.is_first())
  try:
    own = inputs.find(method, config, data, workdir)
    described = workdirs.describe(method, preset, config, data, own.digests)
    if accel.from_first(lambda: _is_finished(workdir, described)):
      run = open_run(workdir, method, data)
      reporter.say(f"{workdir} is finished; its result again:")
      return run
    _check_devices(method, config)
    with running.claim_folder(workdir):
      reporter.say(f"{method.name} {preset} in {workdir}")
      here, data = inputs.replace(config, data, own)
      phases = method.phases(here, data, reporter.say)
      accel.from_first(lambda: inputs.keep(own, workdir))
      write = functools.partial(_write_json, workdir)
      write("config.json", described)
      result = running.execute(
        here,
        phases,
        workdir,
        reporter=reporter,
        programs=programs,
        mode=mode,
        tensorboard=tensorboard,
        profile=profile,
        observer=observer,
      )
      summary = workdirs.summarise(method, preset, config, result)
      run = Run(method, preset, here, workdir, summary, data)
      accel.from_first(lambda: [str(f) for f in report.save_figures(run)])
      write("summary.json", summary)
      return run
  except OSError as error:
    if error.errno not in _FULL:
      raise
    raise UsageError(
      f"cannot write {error.filename or workdir}: {error.strerror}. What was "
      f"saved before is whole; --workdir {workdir} goes on from it"
    ) from error
  except Interrupted as stop:
    raise Interrupted(
      stop.signum, f"{stop}, with --workdir {workdir}"
    ) from None
  finally:
    reporter.close()


def _is_finished(workdir: pathlib.Path, described: Mapping[str, Any]) -> bool:
  """Whether the folder holds this run's end; refuses another run's folder."""
  workdirs.refuse_other(workdir, described)
  return (workdir / "summary.json").exists()


def _write_json(workdir: pathlib.Path, name: str, data: Any) -> None:
  accel.from_first(lambda: running.write_json(workdir / name, data))


def open_run(
  workdir: str | pathlib.Path,
  method: str | Method | None = None,
  data: Mapping[str, Any] | None = None,
) -> Run:
  """Opens a finished run.

  Args:
    workdir: its folder.
    method: the method, if it is not an installed one.
    data: the user's own data that it ran on.

  Returns:
    The run.

  Raises:
    UsageError: if the folder holds no finished run.
  """
  workdir = pathlib.Path(workdir)
  accel.start()
  about = _read_json(workdir / "config.json")
  if missing := {"method", "preset", "config"} - set(about):
    raise UsageError(
      f"{workdir / 'config.json'} cannot be read: {min(missing)} is missing"
    )
  found = registry.find(method or about["method"])
  if found.name != about["method"]:
    raise UsageError(
      f"{workdir} is a run of {about['method']}, not {found.name}"
    )
  config = fields.override(
    found.presets.get(about["preset"], found.presets[found.default]),
    workdirs.flatten(about["config"]),
  )
  path = workdir / "summary.json"
  summary = _read_json(path)
  if missing := _SUMMARY - set(summary):
    raise UsageError(
      f"{path} cannot be read: {min(missing)} is missing; delete it, and "
      "kd-jax train with this --workdir writes it again"
    )
  config, data = _as_it_was(found, config, about, data, workdir)
  return Run(found, about["preset"], config, workdir, summary, data)


def _as_it_was(method, config, about, data, workdir):
  """The run's configuration and data, naming copies of what is not there now.

  Paths by role are those that it was given; arrays cannot be had again.
  """
  roles, files = about.get("data", {}), about.get("files", {})
  own = {k: v for k, v in roles.items() if f"data.{k}" in files}
  found = inputs.find(method, config, own, workdir, finished=True)
  config, own = inputs.replace(config, own, found)
  return config, own if data is None else _roles(data)


def _roles(data: Any) -> dict[str, Any]:
  if data is not None and not isinstance(data, Mapping):
    raise UsageError(
      f"data is a {type(data).__name__}; it is a dict, from what a method "
      "calls its data to a path or arrays"
    )
  return dict(data or {})


def _read_json(path: pathlib.Path) -> dict[str, Any]:
  return accel.from_first(lambda: workdirs.read_json(path))


def evaluate(
  method: str | Method,
  workdir: str | pathlib.Path,
  data: Mapping[str, Any] | None = None,
) -> dict[str, float]:
  """Measures the saved products of a run anew.

  Args:
    method: the method.
    workdir: the run's folder.
    data: the user's own data, by role.

  Returns:
    "arm.metric" to number.

  Raises:
    UsageError: if the run is not finished or damaged.
  """
  accel.start()
  run = open_run(workdir, method, data)
  return running.evaluate_products(run.phases(), run.workdir, run.config)


def load(
  workdir: str | pathlib.Path,
  method: str | Method | None = None,
  data: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], PyTree]:
  """Gives a trained model to use.

  Args:
    workdir: the run's folder.
    method: the method, if it is not an installed one.
    data: the user's own data that it ran on, where that were arrays; paths are
      known.

  Returns:
    `(apply, variables)`, for `apply(variables, inputs)`.

  Raises:
    UsageError: if the run is not finished, or the method has no model.
  """
  run = open_run(workdir, method, data)
  if run.method.apply is None:
    raise UsageError(f"{run.method.name} leaves no model to apply")
  return run.method.apply(run.config, run.products)


def _check_devices(method: Method, config: Config) -> None:
  """Refuses before any training what a step would refuse at its turn."""
  devices, values = jax.device_count(), dict(fields.walk(config))
  for name in method.divided:
    parts, of = devices, f"over {devices} devices"
    if name == "batch_size" and values.get("microbatches", 1) > 1:
      parts *= values["microbatches"]
      of += f" and {values['microbatches']} microbatches"
    if values[name] % parts:
      near = max(1, round(values[name] / parts)) * parts
      raise UsageError(
        f"{name} is {values[name]}, a global batch that does not divide {of}; "
        f"{near} does"
      )
