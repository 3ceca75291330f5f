"""Graphs made in Python: what is refused, and what is taken as it is."""

import dataclasses

import jaxtyping
import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.datasets.errors import DataError


@pytest.fixture
def graph():
  return graphs.load("families:60")


def test_a_good_one_is_taken_as_it_is(graph):
  taken = graphs.load(graph)
  assert taken.digest == graph.digest
  for split, triples in graph.splits.items():
    assert taken.splits[split] is triples


def test_lists_are_taken(graph, monkeypatch):
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  lists = {s: t.tolist() for s, t in graph.splits.items()}
  names = np.array(graph.entities)
  taken = graphs.load(dataclasses.replace(graph, entities=names, **lists))
  assert taken.digest == graph.digest
  assert type(taken.entities[0]) is str


def test_other_integers_and_lists_of_names_become_ours(graph, monkeypatch):
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  wide = {s: t.astype(np.int64) for s, t in graph.splits.items()}
  other = dataclasses.replace(graph, entities=list(graph.entities), **wide)
  taken = graphs.load(other)
  assert taken.entities == graph.entities
  assert taken.train.dtype == np.int32
  assert taken.digest == graph.digest


def _changed(split, row, column, value):
  def change(graph):
    triples = graph.splits[split].copy()
    triples[row, column] = value
    return {split: triples}

  return change


@pytest.mark.parametrize(
  ("change", "match"),
  [
    (
      _changed("valid", 2, 0, 60),
      "valid of .*, row 2: the head is 60, expected 0 to 59",
    ),
    (_changed("train", 1, 2, -1), "train of .*, row 1: the tail is -1"),
    (_changed("test", 0, 1, 99), "test of .*, row 0: the relation is 99"),
    (lambda g: {"train": g.train.astype(float)}, "train of .* is float64"),
    (lambda g: {"test": g.test[:, :2]}, r"test of .* shape \(\d+, 2\), expect"),
    (lambda g: {"valid": g.valid[:0]}, r"valid of .* shape \(0, 3\)"),
    (
      lambda g: {"entities": (*g.entities[:-1], g.entities[3])},
      "entities of .*: number 59 is .*, the name of number 3",
    ),
    (lambda g: {"relations": [*range(4)]}, "relations of .*: number 0 is 0, e"),
    (
      lambda g: {"relations": {"a", "b"}},
      "relations of .* are {.*, expect",
    ),
    (lambda g: {"entities": {"a": 1}}, "entities of .* are {'a': 1}, expected"),
    (
      lambda g: {"entities": "abc"},
      "entities of .* are 'abc', expected",
    ),
    (lambda g: {"entities": None}, "entities of .* are None, expected a list"),
    (lambda g: {"entities": ()}, r"entities of .* are \(\), expected a list"),
    (
      lambda g: {"entities": ("a", " ")},
      "entities of .*: number 1 is ' ', expected a name",
    ),
    (
      lambda g: {"train": [[0, 0, 1], [0, 1]]},
      "train of .* has rows of different lengths",
    ),
    (lambda g: {"train": {(0, 0, 1)}}, r"train of .* shape \(\)"),
    (lambda g: {"train": [0, 0, 1]}, r"train of .* shape \(3,\)"),
    (lambda g: {"train": [["a", "r", "b"]]}, "train of .* is <U1, expected"),
    (lambda g: {"train": [[0, 0, None]]}, "train of .* is object, expected"),
    (lambda g: {"train": [[0, 0, 2**40]]}, "train of .*, row 0: the tail is 1"),
    (
      lambda g: {"train": np.ma.masked_equal([[0, 0, 1]], 1)},
      "train of .* has masked numbers",
    ),
    (
      lambda g: {"test": np.concatenate([g.test, g.train[4:5]])},
      r"row \d+ of test is row 4 of train",
    ),
    (
      lambda g: {"train": np.concatenate([g.train, g.train[5:7]])},
      r"row \d+ of train is row 5 of train",
    ),
  ],
)
def test_bad_ones_are_refused(graph, monkeypatch, change, match):
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  with pytest.raises(DataError, match=match):
    graphs.load(dataclasses.replace(graph, **change(graph)))


@pytest.mark.parametrize(
  "source", [None, 5, ("a", "b"), [[0, 0, 1]], np.eye(3), {"train": []}, b"x"]
)
def test_what_is_no_graph_at_all(monkeypatch, source):
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  with pytest.raises(DataError, match=r"a graph is a name, .*; arrays"):
    graphs.load(source)
