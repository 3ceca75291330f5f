"""What a run's folder says of itself: configuration, summary, whose it is."""

import dataclasses
import json
import pathlib
import time
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import draws
from kd_jax.errors import UsageError
from kd_jax.experiment import Config, Method


def new_folder(method: Method, preset: str) -> pathlib.Path:
  """The default folder of a run that begins now.

  Args:
    method: the method.
    preset: the preset's name.

  Returns:
    "runs/METHOD-PRESET-TIME".
  """
  stamp = time.strftime("%Y%m%d-%H%M%S")
  return pathlib.Path("runs") / f"{method.name}-{preset}-{stamp}"


def newest(method: Method) -> pathlib.Path:
  """The finished run that began last, among the default folders.

  Args:
    method: the method.

  Returns:
    Its folder.

  Raises:
    UsageError: if there is none.
  """
  pattern = f"{method.name}-*-*/summary.json"
  found = sorted(
    (p.parent for p in pathlib.Path("runs").glob(pattern)),
    key=lambda folder: folder.name.split("-")[-2:],
  )
  if not found:
    raise UsageError(
      f"runs holds no finished run of {method.name}; kd-jax train "
      f"{method.name} makes one, or --workdir DIR names it"
    )
  return found[-1]


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads one of the folder's JSON files.

  Args:
    path: the file.

  Returns:
    What it holds.

  Raises:
    UsageError: if it is not there or not a JSON object.
  """
  try:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
      raise ValueError("it is not a JSON object")
    return found
  except FileNotFoundError:
    raise UsageError(
      f"{path.parent} holds no finished run: {path.name} is missing"
    ) from None
  except (OSError, ValueError) as error:
    raise UsageError(f"{path} cannot be read: {error}") from error


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """A JSON configuration as dotted names, its lists as tuples.

  Args:
    config: the nested configuration.
    prefix: what to put before each name.

  Returns:
    {"data.web": value, ...}.
  """
  flat: dict[str, Any] = {}
  for name, value in config.items():
    if isinstance(value, dict):
      flat.update(flatten(value, f"{prefix}{name}."))
    else:
      flat[prefix + name] = _tuples(value)
  return flat


def _tuples(value: Any) -> Any:
  """JSON's lists as the tuples that a configuration holds."""
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def describe(
  method: Method,
  preset: str,
  config: Config,
  data: Mapping[str, Any],
  files: Mapping[str, str | None],
) -> dict[str, Any]:
  """What `config.json` holds.

  Args:
    method: the method.
    preset: the preset's name.
    config: the configuration.
    data: the user's own data by role; arrays are told by their checksums.
    files: the digests of the user's own files, by field.

  Returns:
    Plain data.
  """
  given = {
    role: {k: zlib.crc32(np.ascontiguousarray(v)) for k, v in value.items()}
    if isinstance(value, Mapping)
    else str(value)
    for role, value in data.items()
  }
  described = {
    "method": method.name,
    "preset": preset,
    "draws": draws.VERSION,
    "config": dataclasses.asdict(config),
    "data": given,
    "files": dict(files),
  }
  return json.loads(json.dumps(described))


def digests(workdir: pathlib.Path) -> dict[str, Any]:
  """The digests of the user's own files that a run was made with, by field.

  Args:
    workdir: the run's folder.

  Returns:
    What its `config.json` says; nothing where nothing is saved beside it.

  Raises:
    UsageError: if it cannot be read.
  """
  path = workdir / "config.json"
  if not path.exists() or not _has_work(workdir):
    return {}
  return read_json(path).get("files", {})


def refuse_other(workdir: pathlib.Path, described: Mapping[str, Any]) -> None:
  """Refuses a folder that holds a run of another configuration.

  A run that stopped before its first checkpoint holds nothing to go on from: a
  wrong argument can be put right in the same folder.

  Args:
    workdir: the folder.
    described: this run's `config.json`.

  Raises:
    UsageError: shows the fields that differ.
  """
  path = workdir / "config.json"
  if not path.exists():
    return
  there = read_json(path)
  before, now = flatten(there), flatten(dict(described))
  before.pop("preset", None), now.pop("preset", None)
  if "draws" not in before or (workdir / "summary.json").exists():
    before.pop("draws", None), now.pop("draws", None)  # Nothing to go on with.
  names = {n for n in {*before, *now} if before.get(n) != now.get(n)}
  differing = [
    _difference(name, before.get(name), now.get(name))
    for name in sorted(names)
    if not _told(name, names)
  ]
  if differing and _has_work(workdir):
    raise UsageError(
      f"{workdir} holds a run of another configuration "
      f"({'; '.join(differing)}); choose another --workdir"
    )


def _told(name: str, names: set[str]) -> bool:
  """Whether a file is another one because its path is."""
  field = name.removeprefix("files.")
  return field != name and bool({field, f"config.{field}"} & names)


def _difference(name: str, there: Any, here: Any) -> str:
  if name == "draws":
    return "it was begun by a version of kd_jax whose seeds draw other batches"
  if name.startswith("files."):
    what = "is gone" if here is None else "holds something else now"
    return f"{name.removeprefix('files.')}: what the path names {what}"
  return f"{name.removeprefix('config.')}: {there!r} there, {here!r} here"


def _has_work(workdir: pathlib.Path) -> bool:
  saved = [workdir / "checkpoints", workdir / "products"]
  there = any(any(folder.glob("*")) for folder in saved)
  return there or (workdir / "summary.json").exists()


def summarise(
  method: Method, preset: str, config: Config, result: Mapping[str, Any]
) -> dict[str, Any]:
  """What `summary.json` holds.

  Args:
    method: the method.
    preset: the preset's name.
    config: the configuration.
    result: what `training.run.execute` gave.

  Returns:
    Plain data.
  """
  clock = result["clock"]
  summary = {
    "method": method.name,
    "preset": preset,
    "config": dataclasses.asdict(config),
    "seed": config.seed,
    "steps": clock["steps"],
    "examples": clock["examples"],
    "devices": [d.device_kind for d in jax.devices()],
    "compile_s": clock["compile"],
    "train_s": clock["train"] + clock["epoch"],
    "wall_s": clock["wall"],
    "metrics": result["metrics"],
  }
  if result["per_seed"]:
    summary["per_seed"] = result["per_seed"]
  return summary
