"""The part of a graph that its busiest entities make."""

import numpy as np
from jaxtyping import Bool, Int

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs.graph import HEAD, RELATION, SPLITS, TAIL, Graph


def degrees(graph: Graph) -> Int[np.ndarray, "entities"]:
  """How many training triples an entity is head or tail of.

  Args:
    graph: the graph.

  Returns:
    The counts; a triple from an entity to itself counts twice.
  """
  ends = graph.train[:, [HEAD, TAIL]].ravel()
  return np.bincount(ends, minlength=len(graph.entities))


def busiest(graph: Graph, count: int) -> Graph:
  """Keeps the entities of largest training degree, and what joins them.

  Entities and relations keep their order. A relation stays if a kept training
  triple has it; a triple of valid or test stays if its relation does.

  Args:
    graph: the whole.
    count: how many entities; of equal degrees the smaller number stays.

  Returns:
    The part, called "NAME:COUNT".

  Raises:
    DataError: if there are not so many entities, or a split is left empty.
  """
  if not 2 <= count <= len(graph.entities):
    raise DataError(
      f"{graph.name} has {len(graph.entities)} entities; it cannot be cut to "
      f"{count} (2 at least)"
    )
  first = np.argsort(-degrees(graph), kind="stable")[:count]
  entities = np.zeros(len(graph.entities), bool)
  entities[first] = True
  kept = {s: t[_inside(t, entities)] for s, t in graph.splits.items()}
  relations = np.zeros(len(graph.relations), bool)
  relations[kept["train"][:, RELATION]] = True
  return _renumbered(graph, f"{graph.name}:{count}", kept, entities, relations)


def _inside(triples, entities) -> Bool[np.ndarray, "n"]:
  return entities[triples[:, HEAD]] & entities[triples[:, TAIL]]


def _renumbered(graph, name, kept, entities, relations) -> Graph:
  """The kept triples with the numbers of the kept names alone."""
  new_entity = np.cumsum(entities, dtype=np.int32) - 1
  new_relation = np.cumsum(relations, dtype=np.int32) - 1
  splits = {}
  for split in SPLITS:
    triples = kept[split][relations[kept[split][:, RELATION]]]
    if not len(triples):
      raise DataError(f"{name} has no {split} triple; keep more entities")
    head, relation, tail = triples.T
    columns = new_entity[head], new_relation[relation], new_entity[tail]
    splits[split] = np.stack(columns, axis=1)
  return Graph(
    name,
    tuple(np.array(graph.entities, object)[entities]),
    tuple(np.array(graph.relations, object)[relations]),
    **splits,
  )
