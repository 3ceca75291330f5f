import dataclasses

import numpy as np
import pytest

from kd_jax.datasets import graphs


def _changes(graph):
  other = graph.train.copy()
  other[0, 2] = 1 - other[0, 2]
  yield "a triple", {"train": other}
  yield "their order", {"train": graph.train[::-1]}
  yield "a split", {"train": graph.valid, "valid": graph.train}
  yield "a name", {"entities": ("x", *graph.entities[1:])}
  # Both lists end to end are the same names.
  first, *rest = graph.relations
  yield (
    "whose name",
    {
      "entities": (*graph.entities, first),
      "relations": tuple(rest),
    },
  )


def test_a_digest_is_of_all_that_a_graph_holds():
  graph = graphs.load("families:60")
  again = dataclasses.replace(graph, train=graph.train.astype(np.int64))
  assert graph.digest == again.digest == graphs.load("families:60").digest
  assert graph.digest in str(graph)
  for what, change in _changes(graph):
    assert dataclasses.replace(graph, **change).digest != graph.digest, what


@pytest.mark.parametrize(
  ("source", "whole", "named"),
  [
    ("kinships", "kinships", True),
    ("families:60", "families", True),
    ("fb15k237:1000:50", "fb15k237", True),
    ("folder/facts", "folder/facts", False),
    ("folder/facts:10", "folder/facts", False),
    ("a:b.tsv", "a:b.tsv", False),
  ],
)
def test_what_a_source_is_cut_from(source, whole, named):
  assert graphs.whole_of(source) == whole
  assert graphs.is_graph(source) == named
