"""The cut to the busiest entities, against its sentence read literally."""

import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import cut


def _graph(train, valid, test, entities=6, relations=3):
  arrays = [np.array(t, np.int32).reshape(-1, 3) for t in (train, valid, test)]
  return graphs.Graph(
    "g",
    tuple(f"e{i}" for i in range(entities)),
    tuple(f"r{i}" for i in range(relations)),
    *arrays,
  )


def _literally(graph, count):
  """The cut by loops over names."""
  degree = [0] * len(graph.entities)
  for h, _, t in graph.train.tolist():
    degree[h] += 1
    degree[t] += 1
  ranked = sorted(range(len(degree)), key=lambda e: (-degree[e], e))
  kept = set(ranked[:count])
  inside = {
    split: [tuple(x) for x in triples.tolist() if {x[0], x[2]} <= kept]
    for split, triples in graph.splits.items()
  }
  trained = {r for _, r, _ in inside["train"]}
  return {
    split: [
      (graph.entities[h], graph.relations[r], graph.entities[t])
      for h, r, t in rows
      if r in trained
    ]
    for split, rows in inside.items()
  }


def _named(graph, split):
  return [
    (graph.entities[h], graph.relations[r], graph.entities[t])
    for h, r, t in graph.splits[split].tolist()
  ]


@pytest.mark.parametrize("count", [40, 200, 703])
def test_keeps_what_the_sentence_says(count):
  whole = graphs.load("families")
  part = graphs.load(f"families:{count}")
  expected = _literally(whole, count)
  assert part.name == f"families:{count}"
  assert len(part.entities) == count
  for split in graphs.SPLITS:
    assert _named(part, split) == expected[split]
  assert set(part.relations) == {r for _, r, _ in expected["train"]}


def test_equal_degrees_go_by_number():
  # Degrees 2, 2, 4, 2, 2, 0: after e2 the smaller of the equal ones stay.
  train = [(2, 0, 0), (2, 0, 1), (2, 1, 3), (2, 1, 4), (0, 0, 1), (3, 2, 4)]
  graph = _graph(train, [(1, 0, 2), (3, 1, 0)], [(0, 0, 2), (0, 2, 1)])
  part = cut.busiest(graph, 3)
  assert part.entities == ("e0", "e1", "e2")
  assert part.relations == ("r0",)
  assert part.train.tolist() == [[2, 0, 0], [2, 0, 1], [0, 0, 1]]
  assert part.valid.tolist() == [[1, 0, 2]]
  # (0, r2, 1) has kept ends, but no kept training triple has r2.
  assert part.test.tolist() == [[0, 0, 2]]


def test_a_loop_counts_at_both_ends():
  graph = _graph([(5, 0, 5), (0, 0, 1)], [(0, 1, 1)], [(0, 2, 1)])
  assert cut.degrees(graph).tolist() == [1, 1, 0, 0, 0, 2]


def test_a_split_that_is_left_empty():
  graph = _graph([(0, 0, 1), (2, 0, 3)], [(2, 0, 3)], [(0, 0, 1)])
  with pytest.raises(DataError, match="g:2 has no valid triple; keep more"):
    cut.busiest(graph, 2)
