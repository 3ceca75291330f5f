"""Categories and sizes, against counts by hand."""

import numpy as np

from kd_jax.datasets import graphs
from kd_jax.datasets.graphs import describe

# r0 1-1; r1 one head, three tails; r2 three heads, one tail; r3 two by two;
# r4 three triples for two heads: 1.5 tails, which are not many; r5 is unused.
_TRAIN = [
  *[(0, 0, 1), (2, 0, 3)],
  *[(0, 1, 1), (0, 1, 2), (0, 1, 3)],
  *[(1, 2, 0), (2, 2, 0), (3, 2, 0)],
  *[(0, 3, 1), (0, 3, 2), (3, 3, 1), (3, 3, 2)],
  *[(0, 4, 1), (0, 4, 2), (3, 4, 4)],
]


def _graph():
  ends = np.array([(0, 1, 4), (0, 5, 1)], np.int32)
  names = tuple(f"e{i}" for i in range(6)), tuple(f"r{i}" for i in range(6))
  return graphs.Graph("g", *names, np.array(_TRAIN, np.int32), ends, ends[:1])


def test_categories():
  kinds = [describe.CATEGORIES[k] for k in describe.categories(_graph())]
  assert kinds == ["1-1", "1-N", "N-1", "N-N", "1-1", "1-1"]


def test_facts():
  found = describe.facts(_graph())
  assert found["entities"] == "6"
  assert found["train triples"] == "15"
  assert found["relations by category"] == "1-1 3, 1-N 1, N-1 1, N-N 1"
  assert found["test triples by category"] == "1-1 0, 1-N 1, N-1 0, N-N 0"
  # Tails: e0 three times, e1 five, e2 four, e3 two, e4 once, e5 never.
  assert found["in-degree in train"].startswith("mean 2.5, median 2,")
  assert found["in-degree in train"].endswith("most 5")
  assert found["entities without a training triple"] == "1"
