"""What a graph is like: its sizes, its relations' categories, its degrees."""

import numpy as np
from jaxtyping import Int

from kd_jax.datasets.graphs.cut import degrees
from kd_jax.datasets.graphs.graph import HEAD, RELATION, TAIL, Graph

# A relation's category is a place in this tuple.
CATEGORIES = ("1-1", "1-N", "N-1", "N-N")
_MANY = 1.5


def categories(graph: Graph) -> Int[np.ndarray, "relations"]:
  """Whether a relation joins one or many heads with one or many tails.

  Many tails means more than 1.5 for each head, on average over the heads that
  the relation has in train; likewise many heads.

  Source: Bordes et al., Translating Embeddings for Modeling Multi-relational
  Data, NIPS 2013, section 4.3.

  Args:
    graph: the graph.

  Returns:
    Places in `CATEGORIES`, by relation; 0 for one that train lacks.
  """
  count = len(graph.relations)
  triples = np.bincount(graph.train[:, RELATION], minlength=count)

  def per(column):
    pairs = np.unique(graph.train[:, [RELATION, column]], axis=0)
    ends = np.bincount(pairs[:, 0], minlength=count)
    return triples / np.maximum(ends, 1)

  return (per(HEAD) > _MANY) + 2 * (per(TAIL) > _MANY)


def facts(graph: Graph) -> dict[str, str]:
  """A graph's sizes, categories and degrees in words.

  Args:
    graph: the graph.

  Returns:
    Text by label, to print.
  """
  found = {
    "entities": f"{len(graph.entities):,}",
    "relations": f"{len(graph.relations):,}",
  }
  for split, triples in graph.splits.items():
    found[f"{split} triples"] = f"{len(triples):,}"
  kinds = categories(graph)
  found["relations by category"] = _by_category(kinds)
  found["test triples by category"] = _by_category(
    kinds[graph.test[:, RELATION]]
  )
  for label, column in (("in", TAIL), ("out", HEAD)):
    counts = np.bincount(graph.train[:, column], minlength=len(graph.entities))
    found[f"{label}-degree in train"] = _spread(counts)
  absent = int((degrees(graph) == 0).sum())
  found["entities without a training triple"] = f"{absent:,}"
  return found


def _by_category(kinds) -> str:
  counts = np.bincount(kinds, minlength=len(CATEGORIES))
  return ", ".join(
    f"{name} {n:,}" for name, n in zip(CATEGORIES, counts, strict=True)
  )


def _spread(counts) -> str:
  median, high = np.quantile(counts, [0.5, 0.99])
  return (
    f"mean {counts.mean():.1f}, median {median:.0f}, 99 % below {high:.0f}, "
    f"most {counts.max():,}"
  )
