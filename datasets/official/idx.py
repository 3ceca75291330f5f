"""The IDX format of MNIST: a magic number, big-endian sizes, unsigned bytes."""

import math
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official.archives import gunzip

_UNSIGNED_BYTE = 0x08


def read(path: Path, ndim: int) -> UInt8[np.ndarray, "..."]:
  """Reads an IDX file.

  Args:
    path: the file, gzip'd or not.
    ndim: how many axes it must have: 1 for labels, 3 for images.

  Returns:
    Its array.

  Raises:
    DataError: says what is wrong with the file.
  """
  content = gunzip(path)
  if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
    raise DataError(f"{path} is not an IDX file of unsigned bytes")
  start = 4 + 4 * ndim
  if content[3] != ndim or len(content) < start:
    raise DataError(f"{path} has {content[3]} axes, expected {ndim}")
  shape = struct.unpack(f">{ndim}I", content[4:start])
  found, expected = len(content) - start, math.prod(shape)
  if found != expected:
    size = "x".join(map(str, shape))
    raise DataError(f"{path} has {found:,} bytes for {size}, not {expected:,}")
  return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
