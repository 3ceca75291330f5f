"""The generated families: what their relations are by construction."""

import collections

import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.datasets.graphs import describe, generated

_MIRROR = {
  "spouse": "spouse",
  "sibling": "sibling",
  "father_of": "has_father",
  "has_father": "father_of",
  "mother_of": "has_mother",
  "has_mother": "mother_of",
}


def _facts(graph, triples):
  return {
    (graph.entities[h], graph.relations[r], graph.entities[t])
    for h, r, t in triples.tolist()
  }


@pytest.fixture(scope="module")
def graph():
  return generated.families(7)


def test_categories_are_those_of_the_rules(graph):
  kinds = [describe.CATEGORIES[k] for k in describe.categories(graph)]
  assert dict(zip(graph.relations, kinds, strict=True)) == {
    "spouse": "1-1",
    "sibling": "N-N",
    "father_of": "1-N",
    "has_father": "N-1",
    "mother_of": "1-N",
    "has_mother": "N-1",
    "grandparent_of": "N-N",
  }


def test_every_fact_follows_from_who_whose_child_is(graph):
  """All relations again, from `father_of` and `mother_of` of all splits."""
  facts = _facts(graph, graph.known)
  parents = collections.defaultdict(dict)
  for h, r, t in facts:
    if r in ("father_of", "mother_of"):
      assert r not in parents[t]
      parents[t][r] = h
  derived = set()
  for child, found in parents.items():
    father, mother = found["father_of"], found["mother_of"]
    derived |= {(father, "father_of", child), (child, "has_father", father)}
    derived |= {(mother, "mother_of", child), (child, "has_mother", mother)}
    derived |= {(father, "spouse", mother), (mother, "spouse", father)}
    derived |= {
      (child, "sibling", other)
      for other, same in parents.items()
      if other != child and same == found
    }
    for parent in (father, mother):
      for grandparent in parents.get(parent, {}).values():
        derived.add((grandparent, "grandparent_of", child))
  assert facts == derived
  assert len(facts) == len(graph.known)


def test_what_is_held_out_follows_from_train(graph):
  train = _facts(graph, graph.train)
  for split in ("valid", "test"):
    triples = graph.splits[split]
    masks = generated.by_pattern(graph, triples)
    assert sum(m.astype(int) for m in masks.values()).tolist() == [1] * len(
      triples
    )
    for pattern in ("symmetry", "inversion"):
      found = _facts(graph, triples[masks[pattern]])
      assert len(found) > 20
      assert {(t, _MIRROR[r], h) for h, r, t in found} <= train
    found = _facts(graph, triples[masks["composition"]])
    assert len(found) > 20
    everyone = {p for h, _, t in train for p in (h, t)}
    for grandparent, _, child in found:
      assert any(
        _is_parent(train, grandparent, p) and _is_parent(train, p, child)
        for p in everyone
      )


def _is_parent(train, parent, child):
  return any(
    (parent, f"{kind}_of", child) in train
    or (child, f"has_{kind}", parent) in train
    for kind in ("father", "mother")
  )


def test_no_grandparent_is_given_away(graph):
  """Where a fact is held out, so are those of siblings and of the spouse."""
  place = graph.relations.index("grandparent_of")
  in_train = set(graph.train[graph.train[:, 1] == place][:, 2].tolist())
  for split in ("valid", "test"):
    triples = graph.splits[split]
    children = set(triples[triples[:, 1] == place][:, 2].tolist())
    assert children
    assert not children & in_train


def test_the_seed_alone_decides(graph):
  again, other = generated.families(7), generated.families(8)
  assert again.entities == graph.entities
  np.testing.assert_array_equal(again.known, graph.known)
  assert other.known.shape != graph.known.shape or np.any(
    other.known != graph.known
  )


def test_by_name_with_the_seed(graph):
  found = graphs.load("families", seed=7)
  np.testing.assert_array_equal(found.test, graph.test)
