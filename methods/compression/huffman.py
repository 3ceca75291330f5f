"""Bits: fixed widths and Huffman's optimal prefix code, in NumPy.

Codes are canonical, so that their lengths alone, a byte per symbol of the
alphabet, are the table. A stream's bits go from the highest of each byte.
"""

import heapq

import numpy as np
from jaxtyping import Int, UInt8

Symbols = Int[np.ndarray, "n"]
Bits = UInt8[np.ndarray, "m"]


def fixed(symbols: Symbols, width: int) -> Bits:
  """Each symbol in so many bits.

  Args:
    symbols: from 0 to 2^width - 1.
    width: bits of one.

  Returns:
    Zeros and ones.

  Raises:
    ValueError: for a symbol that does not fit.
  """
  symbols = np.asarray(symbols, np.int64)
  if symbols.size and not 0 <= symbols.min() <= symbols.max() < 2**width:
    raise ValueError(f"symbols do not fit into {width} bits")
  shifts = np.arange(width - 1, -1, -1)
  return ((symbols[:, None] >> shifts) & 1).astype(np.uint8).ravel()


def unfixed(bits: Bits, width: int, n: int) -> Symbols:
  """Undoes `fixed` for n symbols."""
  table = bits[: n * width].reshape(n, width).astype(np.int64)
  return (table << np.arange(width - 1, -1, -1)).sum(1)


def lengths(counts: Int[np.ndarray, "k"]) -> UInt8[np.ndarray, "k"]:
  """Code lengths of an optimal prefix code.

  Args:
    counts: how often each symbol comes.

  Returns:
    Bits of each symbol; 0 for one that never comes, and for the only one that
    does (nothing needs to be said then).
  """
  counts = np.asarray(counts, np.int64)
  there = np.flatnonzero(counts)
  found = np.zeros(len(counts), np.uint8)
  if len(there) < 2:
    return found
  # (count, age, symbols below): of equal counts the older is merged first,
  # which keeps the longest code short.
  heap = [(int(counts[s]), i, [int(s)]) for i, s in enumerate(there)]
  heapq.heapify(heap)
  age = len(heap)
  while len(heap) > 1:
    a, _, left = heapq.heappop(heap)
    b, _, right = heapq.heappop(heap)
    found[left] += 1
    found[right] += 1
    heapq.heappush(heap, (a + b, age, left + right))
    age += 1
  return found


def canonical(length: UInt8[np.ndarray, "k"]) -> Int[np.ndarray, "k"]:
  """The codes of given lengths: in order of length, then of symbol.

  Args:
    length: bits of each symbol, 0 for none.

  Returns:
    Code values.
  """
  codes = np.zeros(len(length), np.int64)
  code = last = 0
  for symbol in sorted(np.flatnonzero(length), key=lambda s: (length[s], s)):
    code <<= int(length[symbol]) - last
    codes[symbol], last = code, int(length[symbol])
    code += 1
  return codes


def encode(symbols: Symbols, length: UInt8[np.ndarray, "k"]) -> Bits:
  """Writes symbols by the canonical code of these lengths."""
  codes = canonical(length)[symbols]
  size = length[symbols].astype(np.int64)
  begin = np.cumsum(size) - size
  bits = np.zeros(int(size.sum()), np.uint8)
  for b in range(int(length.max(initial=0))):
    some = size > b
    bits[begin[some] + b] = (codes[some] >> (size[some] - 1 - b)) & 1
  return bits


def decode(bits: Bits, length: UInt8[np.ndarray, "k"], n: int) -> Symbols:
  """Reads n symbols.

  What would be read at each bit is looked up for all bits at once; then the
  stream is followed from symbol to symbol.

  Args:
    bits: a stream that `encode` wrote, and anything after it.
    length: the code's lengths.
    n: how many symbols there are.

  Returns:
    The symbols.

  Raises:
    ValueError: if the stream ends early or holds no code.
  """
  there = np.flatnonzero(length)
  if not len(there):
    return np.zeros(n, np.int64)
  codes = canonical(length)
  longest = int(length.max())
  padded = np.concatenate([bits, np.zeros(longest, np.uint8)]).astype(np.int64)
  symbol = np.full(len(bits), -1, np.int64)
  value = np.zeros(len(bits), np.int64)
  for size in range(1, longest + 1):
    value = (value << 1) | padded[size - 1 : size - 1 + len(bits)]
    of_size = there[length[there] == size]
    if len(of_size):  # Canonical codes of one length are consecutive.
      place = value - codes[of_size[0]]
      hit = (symbol < 0) & (place >= 0) & (place < len(of_size))
      symbol[hit] = of_size[place[hit]]
  steps = np.where(symbol >= 0, length[symbol], 0).tolist()
  found, at = [], 0
  for _ in range(n):
    if at >= len(steps) or not steps[at]:
      raise ValueError("the stream of codes is damaged")
    found.append(at)
    at += steps[at]
  if at > len(bits):
    raise ValueError("the stream of codes ends early")
  return symbol[np.array(found, np.int64)] if n else np.zeros(0, np.int64)


def entropy(counts: Int[np.ndarray, "k"]) -> float:
  """Bits per symbol at least, H = -sum p log2 p."""
  p = np.asarray(counts, np.float64)
  p = p[p > 0] / p.sum()
  return float(-(p * np.log2(p)).sum())
