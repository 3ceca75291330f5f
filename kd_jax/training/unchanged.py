"""A run goes on from the data that it began with, or not at all.

The user's own files are told by their bytes before they are read (`inputs`).
What the phases hold in the end, a named data set's columns among it, is told
here, so that one that was built anew under a run is noticed as well.
"""

import json
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kd_jax.errors import UsageError
from kd_jax.experiment import Phase, WholeRun

FILE = "data.json"


def checksums(phases: Sequence[Phase | WholeRun]) -> dict[str, str]:
  """The checksum of every phase's arrays.

  Args:
    phases: of a run. What a stream brings is not looked at.

  Returns:
    8 hexadecimal digits (CRC-32) by phase key.
  """
  known: dict[int, int] = {}
  return {phase.key: f"{_checksum(phase, known):08x}" for phase in phases}


def _checksum(phase: Phase | WholeRun, known: dict[int, int]) -> int:
  held: list[Any] = [phase.data]
  if isinstance(phase, Phase):
    held += [measure.data for measure in phase.evaluations.values()]
    held += [phase.epoch.data] if phase.epoch else []
  total = 0
  for path, leaf in jax.tree.leaves_with_path(held):
    if id(leaf) not in known:
      known[id(leaf)] = _of_array(leaf)
    line = f"{jax.tree_util.keystr(path)} {known[id(leaf)]}"
    total = zlib.crc32(line.encode(), total)
  return total


def _of_array(leaf: Any) -> int:
  if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
    leaf.dtype, jax.dtypes.prng_key
  ):
    leaf = jax.random.key_data(leaf)
  array = np.ascontiguousarray(leaf)
  about = f"{array.shape} {array.dtype.str}".encode()
  return zlib.crc32(array.reshape(-1).view(np.uint8), zlib.crc32(about))


def check(
  workdir: pathlib.Path, phases: Sequence[Phase | WholeRun], begun: bool
) -> dict[str, str]:
  """Refuses to go on from other data than the run began with.

  Args:
    workdir: the run's folder.
    phases: what is to be run.
    begun: whether something of the run is saved already.

  Returns:
    Their checksums, to be written to `FILE` there.

  Raises:
    UsageError: names the first phase whose data have changed.
  """
  now, path = checksums(phases), workdir / FILE
  if not begun or not path.exists():
    return now
  try:
    before = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UsageError(f"{path} cannot be read: {error}") from None
  for key, found in now.items():
    if before.get(key, found) != found:
      raise UsageError(
        f"the data of {key} are not those that {workdir} was begun with (a "
        "data set was built anew?); put them back, or choose another --workdir"
      )
  return now
