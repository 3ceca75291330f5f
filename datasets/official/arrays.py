"""Rows of arrays in .npy and .npz files, a piece at a time, without pickle."""

import math
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from kd_jax.datasets.errors import DataError


def rows(
  stream: IO[bytes], where: str, size: int = 1024
) -> Iterator[np.ndarray]:
  """Reads an array of unsigned bytes or integers from a .npy stream.

  Args:
    stream: the file's bytes.
    where: what to call it in messages.
    size: rows in a piece.

  Yields:
    Pieces of the array along its first axis.

  Raises:
    DataError: if it is not such an array, or is cut short.
  """
  shape, dtype = _header(stream, where)
  row = math.prod(shape[1:]) * dtype.itemsize
  for start in range(0, shape[0], size):
    n = min(size, shape[0] - start)
    raw = stream.read(n * row)
    if len(raw) != n * row:
      raise DataError(
        f"{where} ends in row {start + len(raw) // max(row, 1):,} of "
        f"{shape[0]:,}"
      )
    yield np.frombuffer(raw, dtype).reshape(n, *shape[1:])
  if stream.read(1):
    raise DataError(f"{where} has more bytes than its {shape[0]:,} rows")


def whole(stream: IO[bytes], where: str) -> np.ndarray:
  """Reads all rows.

  Args:
    stream: the file's bytes.
    where: what to call it in messages.

  Returns:
    The array.

  Raises:
    DataError: see `rows`.
  """
  pieces = list(rows(stream, where, 1 << 20))
  if not pieces:
    raise DataError(f"{where} is empty")
  return np.concatenate(pieces)


def column(archive: zipfile.ZipFile, name: str, where: str) -> IO[bytes]:
  """Opens an array of an .npz archive.

  Args:
    archive: the .npz.
    name: the array's key.
    where: what to call the archive in messages.

  Returns:
    The stream of its .npy file.

  Raises:
    DataError: if there is none.
  """
  if f"{name}.npy" not in archive.namelist():
    keys = [n.removesuffix(".npy") for n in archive.namelist()]
    raise DataError(f"{where} has no array {name!r}; it has {keys}")
  return archive.open(f"{name}.npy")


def _header(stream: IO[bytes], where: str):
  lib = np.lib.format
  try:
    version = lib.read_magic(stream)
    read = {
      (1, 0): lib.read_array_header_1_0,
      (2, 0): lib.read_array_header_2_0,
    }.get(version)
    if read is None:
      raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = read(stream)
  except ValueError as error:
    raise DataError(f"{where} is not a .npy file: {error}") from None
  # Objects would be pickles.
  if dtype.kind not in "iu" or fortran or not shape:
    raise DataError(
      f"{where} is {dtype} {shape}, expected integers in C order with rows"
    )
  return shape, dtype
