"""Checkpoints: trees of arrays that are on disk whole, or not there at all.

Everything goes through Orbax, which writes into a temporary folder and renames
it when the last byte is there. A tree is saved as {path of the leaf: array} of
host arrays without a device axis, so that it comes back on any number of
devices, with a checksum of every leaf and of every file, so that damage is
noticed and named. Nothing that is read is executed.

Of several processes the first one alone has the folder (`Shelf`): it writes,
and what it reads it sends to the others, which need no disk in common with it.
"""

import json
import logging
import pathlib
import shutil
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from kd_jax import accel
from kd_jax.errors import UsageError

PyTree = Any

# Orbax tells its progress at INFO and WARNING; a run has its own reporter.
logging.getLogger("absl").setLevel(logging.ERROR)

# The end of the name of a folder that is not whole: Orbax's word, and ours for
# one that is being deleted.
_UNFINISHED = ".orbax-checkpoint-tmp"
_DIGESTS = "digests.json"

# The first process reads and writes by itself: Orbax must not wait for others.
_FIRST = ocp.options.MultiprocessingOptions(
  primary_host=0, active_processes={0}, barrier_sync_key_prefix="kd_jax"
)


def _checkpointer() -> ocp.Checkpointer:
  options = ocp.CompositeOptions(multiprocessing_options=_FIRST)
  handler = ocp.CompositeCheckpointHandler(composite_options=options)
  return ocp.Checkpointer(handler, multiprocessing_options=_FIRST)


def flatten(tree: PyTree) -> dict[str, Any]:
  """The leaves of a tree by the path a person would write.

  Args:
    tree: any pytree.

  Returns:
    `{"params.dense.kernel": leaf, ...}`.
  """
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _checksum(array: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _digests(path: pathlib.Path) -> dict[str, int]:
  """A checksum of every file of a folder."""
  files = [f for f in sorted(path.rglob("*")) if f.is_file()]
  return {
    f.relative_to(path).as_posix(): zlib.crc32(f.read_bytes())
    for f in files
    if f.name != _DIGESTS
  }


def _intact(path: pathlib.Path, item: str) -> bool | None:
  """Whether an item's files are what was written; None if that is not known.

  The digests come after the commit: a process killed in between leaves none.
  """
  try:
    wanted = json.loads((path / _DIGESTS).read_text())
    there = _digests(path)
    return all(
      there.get(name) == digest
      for name, digest in wanted.items()
      if name.startswith(f"{item}/")
    )
  except (OSError, ValueError, AttributeError):
    return None


def write(path: pathlib.Path, tree: PyTree, about: Mapping[str, Any]) -> None:
  """Writes a tree and what there is to say about it, as one folder.

  Args:
    path: the folder; it must not exist.
    tree: arrays, replicated over the devices or on the host.
    about: plain data.

  Raises:
    UsageError: if the disk is full or read-only.
  """
  leaves = {k: np.asarray(v) for k, v in flatten(jax.device_get(tree)).items()}
  about = {
    **about,
    "checksums": {k: _checksum(v) for k, v in leaves.items()},
    "shapes": {k: [v.shape, str(v.dtype)] for k, v in leaves.items()},
    # Orbax does not save an array without elements.
    "empty": {
      k: [v.shape, str(v.dtype)] for k, v in leaves.items() if not v.size
    },
  }
  leaves = {k: v for k, v in leaves.items() if v.size}
  items = {"about": ocp.args.JsonSave(about)}
  if leaves:
    items["tree"] = ocp.args.PyTreeSave(leaves)
  try:
    with _checkpointer() as checkpointer:
      checkpointer.save(path.resolve(), ocp.args.Composite(**items))
    (path / _DIGESTS).write_text(json.dumps(_digests(path)))
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    raise UsageError(
      f"cannot write {path}: {reason}. What was saved before is whole; free "
      "some space and give the same command with this --workdir to go on"
    ) from error


def read_about(path: pathlib.Path) -> dict[str, Any]:
  """Reads what a folder says about its tree.

  Args:
    path: a folder that `write` wrote.

  Returns:
    The plain data.

  Raises:
    UsageError: if the folder is damaged.
  """
  if _intact(path, "about") is False:
    raise UsageError(_damaged(path, "its description"))
  try:
    with _checkpointer() as checkpointer:
      items = checkpointer.restore(
        path.resolve(), ocp.args.Composite(about=ocp.args.JsonRestore())
      )
    return dict(items["about"])
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UsageError(_damaged(path, "its description")) from error


def read(path: pathlib.Path, like: PyTree) -> PyTree:
  """Reads a tree.

  Args:
    path: a folder that `write` wrote.
    like: arrays or shapes, in the structure that is wanted.

  Returns:
    The tree, of host arrays.

  Raises:
    UsageError: names the leaf that is missing, of another shape or damaged.
  """
  about = read_about(path)
  checksums, empty = about["checksums"], about["empty"]
  wanted = flatten(like)
  _same_leaves(path, set(wanted), set(checksums))
  there = [name for name in wanted if name not in empty]
  leaves = _restore(path, there) if there else {}
  leaves |= {k: np.zeros(shape, dtype) for k, (shape, dtype) in empty.items()}
  for name, want in wanted.items():
    got = leaves[name]
    if tuple(got.shape) != tuple(want.shape) or got.dtype != want.dtype:
      raise UsageError(
        f"{path} is of another model: leaf {name} is {got.dtype}"
        f"{tuple(got.shape)} there and {want.dtype}{tuple(want.shape)} here"
      )
    if _checksum(got) != checksums[name]:
      raise UsageError(_damaged(path, f"leaf {name}"))
  return jax.tree.unflatten(
    jax.tree.structure(like), [leaves[name] for name in wanted]
  )


def _same_leaves(path, wanted, there) -> None:
  if missing := sorted(wanted - there):
    raise UsageError(f"{path} is of another model: it has no leaf {missing[0]}")
  if more := sorted(there - wanted):
    raise UsageError(
      f"{path} is of another model: leaf {more[0]} is not in this one"
    )


def _restore(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
  """Reads the leaves together, or one by one if the files are damaged.

  That names the leaf; and reading many damaged leaves together would print
  tracebacks from Orbax's threads.
  """
  if _intact(path, "tree"):
    return _restore_leaves(path, names)
  leaves = {}
  for name in names:
    try:
      leaves.update(_restore_leaves(path, [name]))
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise UsageError(_damaged(path, f"leaf {name}")) from error
  return leaves


def _restore_leaves(path, names):
  whole = ocp.RestoreArgs(restore_type=np.ndarray)
  with _checkpointer() as checkpointer:
    items = checkpointer.restore(
      path.resolve(),
      ocp.args.Composite(
        tree=ocp.args.PyTreeRestore(
          item=dict.fromkeys(names, 0),
          restore_args=dict.fromkeys(names, whole),
          partial_restore=True,
        )
      ),
    )
  return {name: np.asarray(items["tree"][name]) for name in names}


def _delete(path: pathlib.Path) -> None:
  """Deletes a folder whole: a kill on the way leaves nothing that counts."""
  leaving = path.with_name(path.name + _UNFINISHED)
  path.rename(leaving)
  shutil.rmtree(leaving)


def _damaged(path: pathlib.Path, what: str) -> str:
  return (
    f"{path} is damaged ({what} cannot be read): delete that folder and give "
    "the same command with this --workdir to go on from what was saved before"
  )


class Shelf:
  """The saved trees of a run: checkpoints in order, and finished products.

  Every process calls each method, in the same order; the first one does what it
  says.

  Attributes:
    checkpoints: the folder of checkpoints, "000001" and so on.
    products: the folder of products, by phase.
  """

  KEEP = 2

  def __init__(self, workdir: pathlib.Path, *, read_only: bool = False):
    self.checkpoints = workdir / "checkpoints"
    self.products = workdir / "products"
    if not read_only:
      accel.from_first(self._tidy)

  def _tidy(self) -> None:
    for folder in (self.checkpoints, self.products):
      folder.mkdir(parents=True, exist_ok=True)
      for leftover in folder.glob(f"*{_UNFINISHED}*"):
        shutil.rmtree(leftover)

  def save(self, state: PyTree, about: Mapping[str, Any]) -> None:
    """Saves a checkpoint and lets go of the oldest.

    Args:
      state: the phase's state.
      about: where the run stands.
    """
    state = accel.to_host(state)

    def save():
      there = self._numbers()
      write(self._path((there or [0])[-1] + 1), state, about)
      for number in there[: 1 - self.KEEP]:
        _delete(self._path(number))

    accel.from_first(save)

  def latest(self) -> dict[str, Any] | None:
    """What the newest checkpoint says of itself, if there is one."""

    def latest():
      there = self._numbers()
      return read_about(self._path(there[-1])) if there else None

    return accel.from_first(latest)

  def resume(self, like: PyTree) -> PyTree:
    """Reads the newest checkpoint.

    Args:
      like: arrays or shapes, in the state's structure.

    Returns:
      The state, of host arrays.

    Raises:
      UsageError: as `read`.
    """
    return accel.tree_from_first(
      lambda: read(self._path(self._numbers()[-1]), like), like
    )

  def clear(self) -> None:
    """Deletes the checkpoints (a finished phase's product stands for them)."""

    def clear():
      for number in self._numbers():
        _delete(self._path(number))

    accel.from_first(clear)

  def put(self, key: str, product: PyTree, about: Mapping[str, Any]) -> None:
    """Saves a finished phase's product.

    Args:
      key: the phase's key.
      product: arrays.
      about: its metrics and clocks.
    """
    accel.from_first(lambda: write(self.products / key, product, about))

  def has(self, key: str) -> bool:
    """Whether a phase is finished."""
    return accel.from_first((self.products / key).is_dir)

  def product(self, key: str, like: PyTree) -> PyTree:
    """Reads a finished phase's product.

    Args:
      key: the phase's key.
      like: arrays or shapes, in the product's structure.

    Returns:
      The product, of host arrays.

    Raises:
      UsageError: as `read`.
    """
    return accel.tree_from_first(lambda: read(self.products / key, like), like)

  def shapes(self, key: str) -> PyTree:
    """What a product that is a tree of dicts looks like.

    Args:
      key: the phase's key.

    Returns:
      Shapes in the tree's structure, for `product`.

    Raises:
      UsageError: as `read_about`.
    """
    tree: dict[str, Any] = {}
    for name, (shape, dtype) in self.about(key)["shapes"].items():
      *parents, last = name.split(".")
      inner = tree
      for parent in parents:
        inner = inner.setdefault(parent, {})
      inner[last] = jax.ShapeDtypeStruct(tuple(shape), jax.numpy.dtype(dtype))
    return tree

  def about(self, key: str) -> dict[str, Any]:
    """What was said of a finished phase's product: its metrics and clocks.

    Args:
      key: the phase's key.

    Returns:
      The plain data.

    Raises:
      UsageError: as `read_about`.
    """
    return accel.from_first(lambda: read_about(self.products / key))

  def _numbers(self) -> list[int]:
    names = [p.name for p in self.checkpoints.iterdir() if p.name.isdigit()]
    return sorted(map(int, names))

  def _path(self, number: int) -> pathlib.Path:
    return self.checkpoints / f"{number:06d}"
