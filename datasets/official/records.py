"""CIFAR's binary batches: label bytes, then the planes of an image, in rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official.archives import members, named

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


def read(
  path: Path, batches: list[str], labels: int
) -> Iterator[
  tuple[str, UInt8[np.ndarray, "n l"], UInt8[np.ndarray, "n h w c"]]
]:
  """Reads batches of an archive.

  Args:
    path: the .tar.gz, or the folder that it was unpacked into.
    batches: names of the batches.
    labels: label bytes in front of each image.

  Yields:
    Name, labels and images of each batch, in the archive's order.

  Raises:
    DataError: if the archive or a batch is cut short or damaged, or a batch is
      missing; names it.
  """
  missing = set(batches)
  with named(path):
    for name, file in members(path, lambda name: name in missing):
      missing.discard(name)
      raw = np.frombuffer(file.read(), np.uint8)
      if not len(raw) or len(raw) % (labels + _PIXELS):
        raise DataError(
          f"{name} in {path} has {len(raw):,} bytes, expected a multiple of "
          f"{labels + _PIXELS:,}"
        )
      rows = raw.reshape(-1, labels + _PIXELS)
      planes = rows[:, labels:].reshape(-1, *_SHAPE)
      yield name, rows[:, :labels], planes.transpose(0, 2, 3, 1)
      if not missing:
        return
  raise DataError(f"{path} has no {' nor '.join(sorted(missing))}{_hint(path)}")


def _hint(path: Path) -> str:
  if "python" in path.name or "-py" in path.name:
    return ": it holds pickles, which run code; take the binary version"
  return ""
