"""Zeros are not written: gaps to the next non-zero, and symbols.

Non-zeros in row-major order, each with the gap to the one before (from 1 on,
stored as gap - 1 in g bits). A gap above 2^g is bridged by fillers, entries of
symbol 0. So n_stored = nnz + fillers.

Source: Han, Mao and Dally 2016, section 2, and the released decoder's layout.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

WIDTHS = range(1, 17)


class Sparse(NamedTuple):
  """The entries of an array of symbols.

  Attributes:
    gaps: gap - 1 of each entry.
    symbols: of each entry, 0 for a filler.
    width: g.
  """

  gaps: Int[np.ndarray, "n"]
  symbols: Int[np.ndarray, "n"]
  width: int


def encode(flat: Int[np.ndarray, "n"], width: int) -> Sparse:
  """Entries for the non-zeros of an array.

  Args:
    flat: symbols, 0 for a zero.
    width: g, bits of a gap.

  Returns:
    The entries.
  """
  flat = np.asarray(flat, np.int64)
  places = np.flatnonzero(flat)
  gaps = np.diff(places, prepend=-1)
  most = 2**width
  fillers = (gaps - 1) // most
  # Each non-zero comes after its fillers.
  at = np.cumsum(fillers + 1) - 1
  n = int(at[-1]) + 1 if len(at) else 0
  stored = np.full(n, most - 1, np.int64)
  symbols = np.zeros(n, np.int64)
  stored[at] = gaps - 1 - fillers * most
  symbols[at] = flat[places]
  return Sparse(stored, symbols, width)


def decode(entries: Sparse, n: int) -> Int[np.ndarray, "n"]:
  """Undoes `encode`.

  Args:
    entries: gaps and symbols.
    n: length of the array.

  Returns:
    The symbols in place.

  Raises:
    ValueError: for an entry beyond the array.
  """
  flat = np.zeros(n, np.int64)
  places = np.cumsum(np.asarray(entries.gaps) + 1) - 1
  if len(places) and places[-1] >= n:
    raise ValueError("an entry stands beyond the end of its array")
  flat[places] = entries.symbols
  return flat
