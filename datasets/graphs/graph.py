"""A knowledge graph on the host: names, and triples of their numbers."""

import dataclasses
import hashlib

import numpy as np
from jaxtyping import Int32

HEAD, RELATION, TAIL = 0, 1, 2
SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Graph:
  """Facts (head, relation, tail), in three splits.

  Attributes:
    name: what to call it in messages.
    entities: names; an entity's number is its place.
    relations: names; a relation's number is its place.
    train: numbers of head, relation and tail.
    valid: likewise, to choose settings on.
    test: likewise, to report.
  """

  name: str
  entities: tuple[str, ...]
  relations: tuple[str, ...]
  train: Int32[np.ndarray, "n 3"]
  valid: Int32[np.ndarray, "v 3"]
  test: Int32[np.ndarray, "t 3"]

  @property
  def splits(self) -> dict[str, Int32[np.ndarray, "n 3"]]:
    """The triples by the split's name."""
    return {split: getattr(self, split) for split in SPLITS}

  @property
  def known(self) -> Int32[np.ndarray, "k 3"]:
    """The triples of all splits, what a filtered rank leaves out."""
    return np.concatenate([self.train, self.valid, self.test])

  @property
  def digest(self) -> str:
    """The SHA-256 of names and triples, in hexadecimal."""
    names = "\0".join([*self.entities, "", *self.relations])
    whole = hashlib.sha256(names.encode())
    for split, triples in self.splits.items():
      whole.update(f"{split} {len(triples)}".encode())
      whole.update(np.ascontiguousarray(triples, np.int32).tobytes())
    return whole.hexdigest()

  def __str__(self) -> str:
    """What runs call it: a run does not go on from another graph."""
    return f"{self.name} ({self.digest})"


Place = tuple[str, int]


def repeated(graph: Graph) -> tuple[Place, Place] | None:
  """A triple that comes twice, in one split or two.

  Args:
    graph: the graph.

  Returns:
    Split and row where it stood, and where it comes again: the first such row,
    the splits one after the other. None if all triples differ.
  """
  head, relation, tail = graph.known.astype(np.int64).T
  pairs = head * len(graph.relations) + relation
  facts = pairs * len(graph.entities) + tail
  order = np.argsort(facts, kind="stable")
  again = np.flatnonzero(np.diff(facts[order]) == 0)
  if not len(again):
    return None
  at = again[np.argmin(order[again + 1])]
  ends = np.cumsum([len(triples) for triples in graph.splits.values()])

  def place(row):
    split = int(np.searchsorted(ends, row, side="right"))
    before = ends[split - 1] if split else 0
    return SPLITS[split], int(row - before)

  return place(order[at]), place(order[at + 1])
