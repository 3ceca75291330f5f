"""A compressed network as bytes, and back, bit for bit.

A file is "KDC2", the CRC-32 of what comes after it (4 bytes), the length of a
header (4), the header (JSON, deflated) and one stream per array, each of whole
bytes. The header says how it was coded and lists the arrays: path, shape, type,
kind and what the kind needs. Kinds:

  raw     numbers as they are
  codes   small integers, all of them
  sparse  small integers, those that are not zero (`sparse`)
  floats  numbers, those that are not zero

Small integers are written in fixed widths or by Huffman's code (`huffman`),
whichever `code` says; with Huffman each kind is tried and the shorter kept.
`reading` reads it.
"""

import json
import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.compression import huffman, sparse, trees
from kd_jax.methods.compression.reading import MAGIC, header
from kd_jax.methods.compression.reading import decode as decode

PyTree = Any


class SizeReport(NamedTuple):
  """What a network takes, in three currencies.

  Attributes:
    parameters: numbers that are not zero.
    bits: of everything but the header, by what they are: "weights", "indices",
      "codebooks" (and scales), "tables" (of codes), "others" (biases, norms).
    bytes: of the file.
  """

  parameters: int
  bits: dict[str, int]
  bytes: int

  @property
  def total_bits(self) -> int:
    """All bits but the header's."""
    return sum(self.bits.values())


class _Stream(NamedTuple):
  """An array's part of the file.

  Attributes:
    about: what the header says of it, after path, shape and type.
    content: its bytes.
    bits: how many bits are what.
  """

  about: list[Any]
  content: bytes
  bits: dict[str, int]


def encode(
  tree: PyTree, code: str = "huffman", index_bits: int | None = None
) -> tuple[bytes, SizeReport]:
  """Writes a finished network.

  Args:
    tree: "params" in any form and "batch_stats", of host arrays.
    code: "huffman", "fixed" widths, or "raw".
    index_bits: bits of a gap; the number that makes it shortest if None.

  Returns:
    The file's bytes, and what is in them.

  Raises:
    UsageError: for an unknown code.
  """
  if code not in ("huffman", "fixed", "raw"):
    raise UsageError(f"code is {code!r}; it is huffman, fixed or raw")
  listed, streams, bits = [], [], {}
  nonzero = 0
  for path, leaf in trees.flatten(tree).items():
    array = np.asarray(leaf)
    stream = _write(path, array, code, index_bits)
    listed.append([path, list(array.shape), array.dtype.str, *stream.about])
    streams.append(stream.content)
    nonzero += _numbers(path, array)
    for what, n in stream.bits.items():
      bits[what] = bits.get(what, 0) + n
  about = json.dumps([code, index_bits, listed], separators=(",", ":"))
  packed = zlib.compress(about.encode(), 9)
  body = b"".join([len(packed).to_bytes(4, "little"), packed, *streams])
  content = MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
  return content, SizeReport(nonzero, bits, len(content))


def _numbers(path: str, array: np.ndarray) -> int:
  """Non-zero parameters: statistics, codebooks and seeds are none."""
  if not path.startswith("params/") or _is_table(path):
    return 0
  return int(np.count_nonzero(array))


def _is_table(path: str) -> bool:
  """Whether an array only says what weights mean, or where they go."""
  *_, form, last = ("", *path.split("/"))
  return last in _TABLES or (last == "scale" and form in _SCALED)


_TABLES = {"centroids", "in_scale", "in_zero", "seed", "perm", "sign"}
_SCALED = ("scaled", "quantized", "xnor")


def _write(path, array, code, index_bits) -> _Stream:
  last = path.split("/")[-1]
  if code == "raw" or array.size == 0:
    return _raw(path, array)
  if last in ("codes", "q"):
    return _integers(array, code, index_bits)
  is_kernel = array.ndim >= 2 and array.dtype.kind == "f"
  if is_kernel and np.count_nonzero(array) < array.size:
    found = _floats(array, code, index_bits)
    return min(found, _raw(path, array), key=lambda s: len(s.content))
  return _raw(path, array)


def _raw(path, array) -> _Stream:
  what = (
    "codebooks"
    if _is_table(path)
    else "weights"
    if array.ndim >= 2
    else "others"
  )
  little = array.astype(array.dtype.newbyteorder("<"), copy=False)
  content = little.tobytes()
  return _Stream(["raw", len(content)], content, {what: 8 * len(content)})


def _integers(array, code, index_bits) -> _Stream:
  """All of them, or those that are not zero; the shorter."""
  flat = array.ravel().astype(np.int64)
  # Zigzag: -1, 1, -2, 2 become 1, 2, 3, 4.
  signed = array.dtype.kind == "i"
  symbols = np.where(flat < 0, -2 * flat - 1, 2 * flat) if signed else flat
  every = _symbols(symbols, code, "weights")
  about = ["codes", len(every.content), *every.about]
  found = [_Stream(about, every.content, every.bits)]
  if (symbols == 0).any():
    found.append(_gapped(symbols, code, index_bits))
  return min(found, key=lambda s: len(s.content))


def _gapped(symbols, code, index_bits) -> _Stream:
  def at(width):
    entries = sparse.encode(symbols, width)
    gaps = _symbols(entries.gaps, code, "indices", 2**width)
    values = _symbols(entries.symbols, code, "weights")
    content = gaps.content + values.content
    about = ["sparse", len(content), width, len(entries.gaps)]
    about += [len(gaps.content), *gaps.about, *values.about]
    tables = gaps.bits.get("tables", 0) + values.bits.get("tables", 0)
    bits = {**gaps.bits, **values.bits, "tables": tables}
    return _Stream(about, content, bits)

  widths = _widths(symbols) if index_bits is None else [index_bits]
  return min((at(w) for w in widths), key=lambda s: len(s.content))


def _widths(symbols) -> range:
  """Widths around the one that spans an average gap."""
  mean = len(symbols) / max(1, np.count_nonzero(symbols))
  middle = max(1, round(math.log2(mean)))
  return range(max(1, middle - 1), middle + 5)


def _floats(array, code, index_bits) -> _Stream:
  flat = array.ravel()
  # By their bits: -0.0 is written.
  places = (flat.view(f"u{flat.itemsize}") != 0).astype(np.int64)

  def at(width):
    entries = sparse.encode(places, width)
    gaps = _symbols(entries.gaps, code, "indices", 2**width)
    values = np.zeros(len(entries.gaps), flat.dtype)
    values[entries.symbols > 0] = flat[places > 0]
    little = values.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()
    about = ["floats", len(gaps.content) + len(little), width, len(values)]
    about += [len(gaps.content), *gaps.about]
    bits = {**gaps.bits, "weights": 8 * len(little)}
    return _Stream(about, gaps.content + little, bits)

  widths = _widths(places) if index_bits is None else [index_bits]
  return min((at(w) for w in widths), key=lambda s: len(s.content))


def _symbols(symbols, code, what, alphabet=None) -> _Stream:
  """One stream of small integers; `about` is [alphabet size, is Huffman]."""
  alphabet = alphabet or int(symbols.max(initial=0)) + 1
  width = max(1, math.ceil(math.log2(alphabet)))
  plain = huffman.fixed(symbols, width)
  if code == "huffman":
    # Table: a byte for each symbol up to the largest that comes.
    used = int(symbols.max(initial=0)) + 1
    length = huffman.lengths(np.bincount(symbols, minlength=used))
    n = int(length[symbols].astype(np.int64).sum())
    if n + 8 * used < len(plain):
      bits = huffman.encode(symbols, length)
      content = length.tobytes() + np.packbits(bits).tobytes()
      return _Stream([used, 1], content, {what: n, "tables": 8 * used})
  content = np.packbits(plain).tobytes()
  return _Stream([width, 0], content, {what: len(plain)})


def bits(content: bytes) -> SizeReport:
  """What is in a file; the protocol's last function.

  Args:
    content: its bytes.

  Returns:
    The report that `encode` gave when it was written.

  Raises:
    UsageError: as `decode`.
  """
  tree = decode(content)
  (code, index_bits, _), _ = header(content)
  return encode(tree, code, index_bits)[1]
