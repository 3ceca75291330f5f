"""A graph out of one file of triples: a share of them is held out."""

import collections
from pathlib import Path

import numpy as np

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import reading, text
from kd_jax.datasets.graphs.graph import SPLITS, Graph

SHARE = 0.1


def read_file(path: Path, *, seed: int = 0) -> Graph:
  """Reads one file and holds out a tenth for valid and a tenth for test.

  A triple is held out only while its head, its relation and its tail occur in
  triples that stay in train, so that something is learned of each name.

  Args:
    path: head, relation and tail in each line; may be gzip'd.
    seed: which triples are held out.

  Returns:
    The graph; its names are sorted.

  Raises:
    DataError: names the line; or if too few triples can be held out.
  """
  if not path.is_file():
    raise DataError(f"there is no file {path}")
  whole = text.open_text(path)
  rows = text.triples(whole)
  _refuse_twice(whole, rows)
  chosen = _held_out(rows, round(SHARE * len(rows)), seed)
  if len(chosen) < 2:
    raise DataError(
      f"{path} has {len(rows)} triples, too few to hold out 2 whose names all "
      "occur in others; put train.txt, valid.txt and test.txt in a folder "
      "instead"
    )
  half = len(chosen) // 2
  held = {"valid": set(chosen[:half]), "test": set(chosen[half:])}
  held["train"] = set(range(len(rows))) - held["valid"] - held["test"]
  parts = {s: [rows[i] for i in sorted(held[s])] for s in SPLITS}
  texts = dict.fromkeys(SPLITS, whole)
  names = dict.fromkeys(reading.DICTIONARIES)
  return reading.number(texts, parts, names, str(path))


def _refuse_twice(whole: text.Text, rows: list[text.Triple]) -> None:
  lines: dict[text.Triple, int] = {}
  for n, row in enumerate(rows, start=1):
    if row in lines:
      raise DataError(
        f"{whole.where}, line {n}: {' '.join(row)!r} is in line {lines[row]} "
        "already"
      )
    lines[row] = n


def _held_out(rows: list[text.Triple], each: int, seed: int) -> list[int]:
  """Twice `each` triples, in random order, that leave no name untrained."""
  left = collections.Counter()
  for row in rows:
    left.update(_names(row))
  chosen = []
  for i in np.random.default_rng(seed).permutation(len(rows)).tolist():
    if len(chosen) == 2 * each:
      break
    names = _names(rows[i])
    if all(left[name] > count for name, count in names.items()):
      left.subtract(names)
      chosen.append(i)
  return chosen


def _names(row: text.Triple) -> collections.Counter:
  head, relation, tail = row
  return collections.Counter(
    [("entity", head), ("relation", relation), ("entity", tail)]
  )
