import dataclasses

import numpy as np

from kd_jax.methods.ote import inputs


def test_weights_are_by_the_pairs_counts(graph, config):
  found = inputs.training(graph, config)["weight"]
  train = graph.train.tolist()
  for weight, (h, r, t) in zip(found, train, strict=True):
    # Counters that begin at 4 when a pair is first seen, as in the code that
    # the paper's trainer comes from.
    hr = 3 + sum(a == h and b == r for a, b, _ in train)
    rt = 3 + sum(b == r and c == t for _, b, c in train)
    np.testing.assert_allclose(weight, 1 / np.sqrt(hr + rt), rtol=1e-6)


def test_questions_know_all_answers_of_all_splits(graph):
  found = inputs.questions(graph, graph.test)
  everything = graph.known.tolist()
  for side, (k, a) in {"tail": (0, 2), "head": (2, 0)}.items():
    columns, answers = found[side]["columns"], found[side]["answers"]
    seen = set()
    for i in range(len(graph.test)):
      kept, r, answer = (
        int(columns[name][i]) for name in ("kept", "relation", "answer")
      )
      start, count = columns["start"][i], columns["count"][i]
      wanted = {x[a] for x in everything if x[k] == kept and x[1] == r}
      assert answers[start : start + count].tolist() == sorted(wanted)
      seen.add((kept, r, answer))
    asked = {(x[k], x[1], x[a]) for x in graph.test.tolist()}
    assert seen == asked
    degree = np.bincount(graph.train[:, a], minlength=len(graph.entities))
    by = [degree[columns["answer"][columns["degree"] == i]] for i in range(3)]
    assert by[0].max() <= by[1].min()
    assert by[1].max() <= by[2].min()


def test_only_training_triples_teach(graph, config):
  other = dataclasses.replace(graph, valid=graph.test, test=graph.valid)
  a, b = (inputs.training(g, config) for g in (graph, other))
  np.testing.assert_array_equal(a["weight"], b["weight"])
  np.testing.assert_array_equal(
    a["known"]["tail"].answers, b["known"]["tail"].answers
  )
