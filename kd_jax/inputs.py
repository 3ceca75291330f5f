"""A user's own files: told apart by their content, and kept with the run.

A configuration holds the path of a user's data. What makes a run what it is are
the bytes there: their digests stand in `config.json` ("files"), a run does not
go on from other ones, and small files are copied into the run's folder
("inputs/FIELD/NAME"), so that it can be read when the files are gone.

A method says which of its fields are paths (`Method.files`); data that is given
by role is looked at too.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kd_jax import fields, workdirs
from kd_jax.errors import UsageError
from kd_jax.experiment import Config, Method

# What is copied into each run's folder, at most, by field.
MOST_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The user's files and folders that a run reads, by field.

  Attributes:
    paths: as they are written in the configuration or the data.
    digests: of what they hold; None where there is nothing.
    copies: copies in the run's folder that take the place of some.
    names: of a folder, the files that are read; all below it if none are named.
  """

  paths: Mapping[str, str]
  digests: Mapping[str, str | None]
  copies: Mapping[str, str]
  names: Collection[str] = ()


def find(
  method: Method,
  config: Config,
  data: Mapping[str, Any],
  workdir: pathlib.Path,
  *,
  finished: bool = False,
) -> Inputs:
  """Looks at the files of a run.

  Args:
    method: the method.
    config: the configuration.
    data: the user's own data by role.
    workdir: the run's folder, which may hold copies.
    finished: whether a copy also takes the place of a file that has changed,
      and not only of one that is gone.

  Returns:
    What is there.

  Raises:
    UsageError: if a file cannot be read.
  """
  recorded = workdirs.digests(workdir)
  given, names = paths(method, config, data, recorded), method.file_names
  found, copies = {}, {}
  for field, written in given.items():
    found[field], wanted = digest(written, names), recorded.get(field)
    copy = _copy_of(field, written, workdir)
    lost = found[field] != wanted if finished else found[field] is None
    if wanted and lost and digest(copy, names) == wanted:
      found[field], copies[field] = wanted, str(copy)
  return Inputs(given, found, copies, names)


def paths(
  method: Method,
  config: Config,
  data: Mapping[str, Any],
  recorded: Collection[str],
) -> dict[str, str]:
  """The user's files and folders that a run reads.

  Args:
    method: the method.
    config: the configuration.
    data: the user's own data by role. A word there is a path if it was one when
      the run was made, or is one now; other words are names of data sets.
    recorded: the fields that were paths when the run was made.

  Returns:
    Paths as they were written, by field; those of a role by "data.ROLE", which
    speaks for a field of that name.
  """
  roles = {
    f"data.{role}": os.fspath(value)
    for role, value in data.items()
    if isinstance(value, str | os.PathLike)
    and (f"data.{role}" in recorded or _place(value).exists())
  }
  given = {f"data.{role}" for role in data}
  own = method.files(config) if method.files else {}
  return {k: v for k, v in own.items() if k not in given} | roles


def digest(
  path: str | os.PathLike[str], names: Collection[str] = ()
) -> str | None:
  """The SHA-256 of a file's bytes, or of a folder's names and files.

  Args:
    path: a file, or a folder: all below it counts but what begins with a dot.
    names: of a folder, the files that count alone.

  Returns:
    64 hexadecimal digits; None if there is nothing.

  Raises:
    UsageError: if it cannot be read.
  """
  path, whole = _place(path), hashlib.sha256()
  try:
    if path.is_file():
      return _of_file(path)
    if not path.is_dir():
      return None
    for name in _below(path, names):
      whole.update(f"{name}\0{_of_file(path / name)}\0".encode())
  except OSError as error:
    raise UsageError(
      f"cannot read {error.filename or path}: {error.strerror}"
    ) from error
  return whole.hexdigest()


def _place(path: str | os.PathLike[str]) -> pathlib.Path:
  return pathlib.Path(os.path.expanduser(path))


def _of_file(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _below(folder: pathlib.Path, names: Collection[str]) -> Iterator[str]:
  """The files of a folder at any depth, in an order that is its own.

  Links to folders are followed, once each. Of names that are given those in the
  folder itself: runs may lie below it, and all else that it is for.
  """
  if names:
    yield from (name for name in sorted(names) if (folder / name).is_file())
    return
  seen = set()
  for root, folders, names in os.walk(folder, followlinks=True):
    real = os.path.realpath(root)
    if real in seen:
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if name[0] != ".")
    for name in sorted(n for n in names if n[0] != "."):
      path = pathlib.Path(root, name)
      if path.is_file():
        yield path.relative_to(folder).as_posix()


def _copy_of(field: str, written: str, workdir: pathlib.Path) -> pathlib.Path:
  return workdir / "inputs" / field / _place(written).name


def keep(own: Inputs, workdir: pathlib.Path) -> None:
  """Copies a run's small files into its folder.

  Args:
    own: the files. What is larger than `MOST_BYTES` stays where it is.
    workdir: the run's folder.
  """
  for field, written in own.paths.items():
    path, to = _place(written), _copy_of(field, written, workdir)
    if field in own.copies or digest(to, own.names) == own.digests[field]:
      continue
    names = [""] if path.is_file() else list(_below(path, own.names))
    if sum((path / name).stat().st_size for name in names) > MOST_BYTES:
      continue
    shutil.rmtree(to.parent, ignore_errors=True)
    for name in names:
      (to / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(path / name, to / name)


def replace(
  config: Config, data: Mapping[str, Any], own: Inputs
) -> tuple[Config, dict[str, Any]]:
  """A configuration and data that name copies where these are taken.

  Args:
    config: the configuration.
    data: the user's own data by role.
    own: the files in them.

  Returns:
    Both. What a field says around a path stays ("PATH:1000").
  """
  known, roles = dict(fields.walk(config)), dict(data)
  changed = {}
  for field, copy in own.copies.items():
    role = field.removeprefix("data.")
    if role in roles:
      roles[role] = copy
    else:
      changed[field] = known[field].replace(own.paths[field], copy, 1)
  return fields.override(config, changed), roles


def refuse_changed(
  method: Method,
  config: Config,
  data: Mapping[str, Any],
  workdir: pathlib.Path,
) -> None:
  """Refuses to read a run with other files than it was made with.

  Args:
    method: the method.
    config: the configuration.
    data: the user's own data by role.
    workdir: the run's folder.

  Raises:
    UsageError: names the first one that is gone or has changed.
  """
  recorded = workdirs.digests(workdir)
  for field, path in paths(method, config, data, recorded).items():
    now = digest(path, method.file_names)
    if now != recorded.get(field, now):
      what = "is gone" if now is None else "holds something else now"
      raise UsageError(
        f"{path} ({field}) {what}; {workdir} was made with what it held: put "
        "that back"
      )
