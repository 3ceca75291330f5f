import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ote import known

RNG = np.random.default_rng(0)
N, R = 9, 2
TRIPLES = np.unique(
  np.stack([RNG.integers(0, m, 60) for m in (N, R, N)], 1), axis=0
).astype(np.int32)


def answers_by_hand(side):
  found = {}
  for h, r, t in TRIPLES.tolist():
    kept, answer = (h, t) if side == "tail" else (t, h)
    found.setdefault((kept, r), set()).add(answer)
  return found


@pytest.mark.parametrize("side", ["tail", "head"])
def test_every_question_has_its_answers(side):
  lists, question = known.index(TRIPLES, side)
  kept, relation, _ = known.columns(TRIPLES, side)
  wanted = answers_by_hand(side)
  for k, r, q in zip(kept, relation, question, strict=True):
    found = lists.answers[lists.start[q] : lists.start[q + 1]]
    assert found.tolist() == sorted(wanted[int(k), int(r)])


def drawn(question, lists, rows, entities=N, halvings=None, count=4000):
  draw = jax.jit(known.draw, static_argnames=("entities", "count", "halvings"))
  return draw(
    jax.random.key(3),
    rows,
    question,
    lists,
    entities=entities,
    count=count,
    halvings=known.depth(lists) if halvings is None else halvings,
  )


@pytest.mark.parametrize("side", ["tail", "head"])
def test_draws_are_uniform_over_what_is_not_known(side):
  lists, question = known.index(TRIPLES, side)
  lists = jax.tree.map(jnp.asarray, lists)
  asked = np.unique(question)
  found, fine = drawn(asked, lists, jnp.arange(len(asked)))
  assert fine.all()
  for q, row in zip(asked, np.asarray(found), strict=True):
    known_ = set(lists.answers[lists.start[q] : lists.start[q + 1]].tolist())
    counts = np.bincount(row, minlength=N)
    free = [e for e in range(N) if e not in known_]
    assert counts[list(known_)].sum() == 0
    # Within five standard deviations.
    mean = 4000 / len(free)
    assert np.abs(counts[free] - mean).max() < 5 * np.sqrt(mean)


def test_without_filter_known_ones_are_drawn_too():
  lists, question = known.index(TRIPLES, "tail")
  lists = jax.tree.map(jnp.asarray, lists)
  found, fine = drawn(question[:1], lists, jnp.arange(1), halvings=0)
  assert fine.all()
  assert len(np.unique(found)) == N


def test_a_question_that_everything_answers_has_no_negatives():
  all_ = np.array([[0, 0, t] for t in range(4)] + [[1, 0, 2]], np.int32)
  lists, question = known.index(all_, "tail")
  lists = jax.tree.map(jnp.asarray, lists)
  found, fine = drawn(question[[0, 4]], lists, jnp.arange(2), entities=4)
  assert not fine[0].any()
  assert fine[1].all()
  assert set(np.unique(found[1]).tolist()) == {0, 1, 3}


def test_draws_are_keyed_by_the_global_row():
  lists, question = known.index(TRIPLES, "tail")
  lists = jax.tree.map(jnp.asarray, lists)
  asked = question[:8]
  whole, _ = drawn(asked, lists, jnp.arange(8))
  part, _ = drawn(asked[4:], lists, jnp.arange(4, 8))
  np.testing.assert_array_equal(whole[4:], part)
  assert len({row.tobytes() for row in np.asarray(whole)}) == 8
