"""Reads the files that `artifact` writes; nothing that is read is executed."""

import json
import math
import zlib
from typing import Any

import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.compression import huffman, sparse, trees

PyTree = Any
MAGIC = b"KDC2"


def decode(content: bytes) -> PyTree:
  """Reads a file.

  Args:
    content: its bytes.

  Returns:
    The tree that was written, with the same bits.

  Raises:
    UsageError: if it is not such a file, or damaged.
  """
  try:
    (_, _, listed), at = header(content)
    leaves = {}
    for path, shape, dtype, kind, length, *about in listed:
      part = content[at : at + length]
      if len(part) != length:
        raise ValueError("it ends early")
      leaves[path] = _read(part, kind, tuple(shape), np.dtype(dtype), about)
      at += length
    if at != len(content):
      raise ValueError("it goes on after its end")
    return trees.unflatten(leaves)
  except (*_WRONG, zlib.error) as error:
    raise UsageError(f"this is no compressed network: {error}") from error


_WRONG = (ValueError, TypeError, KeyError, IndexError, OverflowError)


def header(content: bytes) -> tuple[Any, int]:
  """What a file says of itself, and where its streams begin.

  Raises:
    ValueError: if it is not such a file, or was changed.
  """
  if content[:4] != MAGIC:
    raise ValueError(f"it does not begin with {MAGIC.decode()}")
  if zlib.crc32(content[8:]) != int.from_bytes(content[4:8], "little"):
    raise ValueError("it was cut or changed (its check sum differs)")
  end = 12 + int.from_bytes(content[8:12], "little")
  return json.loads(zlib.decompress(content[12:end])), end


def _read(part, kind, shape, dtype, about) -> np.ndarray:
  n = math.prod(shape)
  if kind == "raw":
    return (
      np.frombuffer(part, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    )
  if kind == "codes":
    symbols = _unsymbols(part, about, n)
  else:
    width, entries, cut, *rest = about
    gaps = _unsymbols(part[:cut], rest[:2], entries)
    if kind == "floats":
      values = np.frombuffer(part[cut:], dtype.newbyteorder("<"))
      flat = np.zeros(n, dtype)
      flat[np.cumsum(gaps + 1) - 1] = values
      return flat.reshape(shape)
    values = _unsymbols(part[cut:], rest[2:], entries)
    symbols = sparse.decode(sparse.Sparse(gaps, values, width), n)
  if dtype.kind == "i":
    symbols = np.where(symbols % 2, -(symbols + 1) // 2, symbols // 2)
  return symbols.astype(dtype).reshape(shape)


def _unsymbols(part: bytes, about, n) -> np.ndarray:
  size, coded = about
  if not coded:
    bits = np.unpackbits(np.frombuffer(part, np.uint8))
    return huffman.unfixed(bits, size, n)
  length = np.frombuffer(part[:size], np.uint8)
  bits = np.unpackbits(np.frombuffer(part[size:], np.uint8))
  return huffman.decode(bits, length, n)
