"""Several processes: the first one has the disk, and tells the others.

Hosts of a slice share no disk, so that nobody but the first process reads or
writes the run's folder, and what it finds there crosses the network. Every
process must call each function of this module, in the same order; with one
process they are what they wrap.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from kd_jax.errors import UsageError

T = TypeVar("T")
PyTree = Any

# Words that cross the network at once: 64 MiB on each device.
_CHUNK = 2**24
_alone = 0


def is_first() -> bool:
  """Whether this process is the one that reads, writes and speaks."""
  return not jax.distributed.is_initialized() or jax.process_index() == 0


def several() -> bool:
  """Whether other processes take part in what is being done."""
  if _alone or not jax.distributed.is_initialized():
    return False  # Asked before there are devices, too.
  return jax.process_count() > 1


def devices() -> list[jax.Device]:
  """The devices of every process that takes part in what is being done."""
  return jax.local_devices() if _alone else jax.devices()


@contextlib.contextmanager
def by_itself() -> Iterator[None]:
  """Within it this process asks nobody, because the others wait for it."""
  global _alone
  _alone += 1
  try:
    yield
  finally:
    _alone -= 1


def from_first(fn: Callable[[], T]) -> T:
  """What a function finds on the first process, told to all of them.

  It is a barrier, too: no process returns before the first one is done.

  Args:
    fn: runs on the first process alone; gives plain data (what JSON holds) or
      None. It may call other functions of this module.

  Returns:
    What it gave.

  Raises:
    UsageError: on every process, if the function raised one, and on the others
      if it raised anything else.
  """
  if not several():
    return fn()
  caught: Exception | None = None
  words = b""
  if is_first():
    try:
      with by_itself():
        words = json.dumps({"found": fn()}).encode()
    except Exception as error:
      caught = error
      words = json.dumps({"error": str(error)}).encode()
  size = np.zeros(1, np.uint32) + len(words)
  size = int(multihost_utils.broadcast_one_to_all(size)[0])
  told = json.loads(_tell(np.frombuffer(words, np.uint8), size).tobytes())
  if caught is not None:
    raise caught
  if "error" in told:
    raise UsageError(told["error"])
  return told["found"]


def tree_from_first(fn: Callable[[], T], like: PyTree) -> T:
  """A tree of arrays that the first process has, bit by bit.

  Args:
    fn: gives the tree; runs on the first process alone.
    like: arrays or shapes in the tree's structure.

  Returns:
    The tree, of host arrays.

  Raises:
    UsageError: as `from_first`.
  """
  found: list[Any] = []
  from_first(lambda: found.append(fn()))
  if not several():
    return found[0]
  shapes, structure = jax.tree.flatten(like)
  leaves = [b""] * len(shapes)
  if found:
    leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(found[0])]
  counts = [int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in shapes]
  whole = _tell(np.frombuffer(b"".join(leaves), np.uint8), sum(counts))
  parts = np.split(whole, np.cumsum(counts)[:-1])
  return jax.tree.unflatten(
    structure,
    [
      np.frombuffer(part.tobytes(), s.dtype).reshape(s.shape)
      for part, s in zip(parts, shapes, strict=True)
    ],
  )


def _tell(data: np.ndarray, size: int) -> np.ndarray:
  """`size` bytes of the first process, in words: a sum of which is exact."""
  words = np.zeros(-(-size // 4), np.uint32)
  words.view(np.uint8)[: len(data)] = data
  for begin in range(0, len(words), _CHUNK):
    part = slice(begin, begin + _CHUNK)
    words[part] = multihost_utils.broadcast_one_to_all(words[part])
  return words.view(np.uint8)[:size]


def largest(value: int) -> int:
  """The largest of the processes' numbers (a signal that one of them got)."""
  if not several():
    return value
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def wait() -> None:
  """Waits for the other processes.

  After compiling, say: a program's first collective gives up when a process is
  late for it by half a minute, and this does not.
  """
  from_first(lambda: None)


def to_host(tree: T) -> T:
  """Brings a tree to the host of every process, divided leaves whole.

  Args:
    tree: arrays, replicated or divided over the devices.

  Returns:
    The same tree, of NumPy arrays.
  """

  def fetch(x):
    here = not isinstance(x, jax.Array) or x.is_fully_addressable
    if here or x.is_fully_replicated:
      return x
    return multihost_utils.process_allgather(x, tiled=True)

  return jax.device_get(jax.tree.map(fetch, tree))
