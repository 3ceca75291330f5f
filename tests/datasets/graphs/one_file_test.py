"""One file of triples: what is held out of it."""

import itertools

import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.datasets.errors import DataError

_FACTS = [
  f"p{i}\t{'likes' if (i + j) % 2 else 'knows'}\tp{j}"
  for i, j in itertools.permutations(range(8), 2)
]


def _file(tmp_path, lines, name="facts.tsv"):
  path = tmp_path / name
  path.write_text("\n".join(lines) + "\n")
  return path


def _named(graph, triples):
  return {
    f"{graph.entities[h]}\t{graph.relations[r]}\t{graph.entities[t]}"
    for h, r, t in triples.tolist()
  }


def test_a_tenth_each_and_nothing_is_lost(tmp_path):
  graph = graphs.load(_file(tmp_path, _FACTS))
  assert [len(t) for t in graph.splits.values()] == [44, 6, 6]
  assert _named(graph, graph.known) == set(_FACTS)
  # No line was held out that train needs.
  assert set(np.unique(graph.train[:, [0, 2]])) == set(range(8))
  assert set(np.unique(graph.train[:, 1])) == {0, 1}


def test_names_that_occur_once_stay_in_train(tmp_path):
  once = [f"only{i}\tlikes\tp0" for i in range(40)] + ["p1\tonce\tp1"]
  path = _file(tmp_path, _FACTS + once)
  for seed in range(5):
    graph = graphs.load(path, seed=seed)
    assert set(once) <= _named(graph, graph.train)
    assert len(graph.valid) + len(graph.test) == 2 * round(0.1 * 97)


def test_the_seed_alone_decides(tmp_path):
  path = _file(tmp_path, _FACTS)
  one, two, other = (graphs.load(path, seed=s) for s in (3, 3, 4))
  np.testing.assert_array_equal(one.test, two.test)
  assert one.test.tolist() != other.test.tolist()


@pytest.mark.parametrize(
  ("lines", "match"),
  [
    (["a\tr\tb", "b\tr\tc"], "has 2 triples, too few to hold out 2"),
    ([*_FACTS, _FACTS[3]], r"line 57: 'p0 knows p4' is in line 4 already"),
    (["a r b"], "line 1 has 1 column, expected 3"),
  ],
)
def test_bad_files(tmp_path, lines, match):
  with pytest.raises(DataError, match=match):
    graphs.load(_file(tmp_path, lines))
