"""A graph made in Python, held to what a file is held to."""

import dataclasses

import numpy as np
from jaxtyping import Int32

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs.graph import RELATION, Graph, repeated


def checked(graph: Graph) -> Graph:
  """Refuses numbers without a name, and triples that come twice.

  Args:
    graph: made by hand.

  Returns:
    The same, its triples int32 and its names tuples.

  Raises:
    DataError: says what is wrong, in which split and row.
  """
  names = {
    part: _names(getattr(graph, part), f"the {part} of {graph.name}")
    for part in ("entities", "relations")
  }
  limits = len(names["entities"]), len(names["relations"])
  splits = {
    split: _triples(triples, f"{split} of {graph.name}", limits)
    for split, triples in graph.splits.items()
  }
  graph = dataclasses.replace(graph, **names, **splits)
  if twice := repeated(graph):
    (other, m), (split, n) = twice
    raise DataError(f"{graph.name}: row {n} of {split} is row {m} of {other}")
  return graph


def _names(names, what) -> tuple[str, ...]:
  # A set has no order that numbers could mean, a text is one name.
  if not isinstance(names, list | tuple | np.ndarray) or not len(names):
    raise DataError(
      f"{what} are {_short(names)}, expected a list or tuple of names, whose "
      "places are the numbers"
    )
  seen: dict[str, int] = {}
  for place, name in enumerate(names):
    if not isinstance(name, str) or not name.strip():
      raise DataError(f"{what}: number {place} is {name!r}, expected a name")
    if name in seen:
      raise DataError(
        f"{what}: number {place} is {name!r}, the name of number {seen[name]}"
      )
    seen[str(name)] = place
  return tuple(seen)


def _short(value) -> str:
  text = " ".join(repr(value).split())
  return text if len(text) <= 60 else f"{text[:60]}..."


def _triples(triples, what, limits) -> Int32[np.ndarray, "n 3"]:
  try:
    found = np.asarray(triples)
  except ValueError:
    raise DataError(
      f"{what} has rows of different lengths, expected three numbers in each"
    ) from None
  if found.ndim != 2 or found.shape[1] != 3 or not len(found):
    raise DataError(
      f"{what} has the shape {found.shape}, expected (n, 3), a triple or more, "
      "as an array or a list of rows"
    )
  if np.ma.is_masked(triples):
    raise DataError(f"{what} has masked numbers, expected all of them")
  if not np.issubdtype(found.dtype, np.integer):
    raise DataError(
      f"{what} is {found.dtype}, expected the numbers of names (an entity's "
      "place in entities, a relation's in relations), int32"
    )
  for column, label in enumerate(("head", "relation", "tail")):
    count = limits[column == RELATION]
    wrong = np.flatnonzero((found[:, column] < 0) | (found[:, column] >= count))
    if len(wrong):
      row = wrong[0]
      raise DataError(
        f"{what}, row {row}: the {label} is {found[row, column]}, expected 0 "
        f"to {count - 1}"
      )
  return found.astype(np.int32, copy=False)
