"""Known answers by question, and negatives that are not among them.

A question is a pair: (head, relation) asks for tails, (relation, tail) for
heads. The known answers of all questions lie in one list, those of a question
side by side in ascending order: whether a candidate is among them is a binary
search whose length is the logarithm of the longest list, and no number larger
than the list's own length occurs (a key made of pair and entity would overflow
32 bits on large graphs).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, UInt32

from kd_jax.methods.ote.model import Side
from kd_jax.training.state import row_keys


class Known(NamedTuple):
  """Answers by question.

  Attributes:
    start: by question, where its answers begin; one more, where all end.
    answers: entities.
  """

  start: Int[Array | np.ndarray, "q"]
  answers: Int[Array | np.ndarray, "a"]


def columns(
  triples: Int32[np.ndarray, "n 3"], side: Side
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What is kept, the relation, and the answer, of triples seen from a side.

  Args:
    triples: heads, relations, tails.
    side: what is asked for.

  Returns:
    Three columns.
  """
  heads, relations, tails = np.asarray(triples).T
  if side == "tail":
    return heads, relations, tails
  return tails, relations, heads


def index(
  triples: Int32[np.ndarray, "n 3"], side: Side
) -> tuple[Known, Int32[np.ndarray, "n"]]:
  """Collects the answers of every question that triples ask.

  Args:
    triples: heads, relations, tails.
    side: what is asked for.

  Returns:
    The known answers, and each triple's question.
  """
  kept, relations, answers = columns(triples, side)
  pairs, question = np.unique(
    np.stack([kept, relations], 1), axis=0, return_inverse=True
  )
  question = question.reshape(-1)
  facts = np.unique(np.stack([question, answers], 1), axis=0)
  start = np.searchsorted(facts[:, 0], np.arange(len(pairs) + 1))
  known = Known(start.astype(np.int32), facts[:, 1].astype(np.int32))
  return known, question.astype(np.int32)


def depth(known: Known) -> int:
  """Halvings that find a place in the longest list of answers."""
  return int(np.diff(known.start).max(initial=0)).bit_length()


def contains(
  known: Known,
  question: Int[Array, "b"],
  candidates: Int[Array, "b m"],
  halvings: int,
) -> Bool[Array, "b m"]:
  """Whether candidates are known answers.

  Args:
    known: the answers.
    question: one per row.
    candidates: entities.
    halvings: `depth(known)`.

  Returns:
    True where they are.
  """
  last = len(known.answers) - 1
  low, high = (
    jnp.broadcast_to(known.start[question + i][:, None], candidates.shape)
    for i in (0, 1)
  )
  end = high
  for _ in range(halvings):
    middle = (low + high) // 2
    less = known.answers[jnp.minimum(middle, last)] < candidates
    searching = low < high
    low = jnp.where(searching & less, middle + 1, low)
    high = jnp.where(searching & ~less, middle, high)
  found = known.answers[jnp.minimum(low, last)] == candidates
  return found & (low < end)


def draw(
  key: Array,
  row: Int[Array, "b"],
  question: Int[Array, "b"],
  known: Known,
  *,
  entities: int,
  count: int,
  rounds: int,
  halvings: int,
) -> tuple[Int[Array, "b m"], Bool[Array, "b m"]]:
  """Draws entities that are no known answers.

  Uniform over the entities; what is a known answer is drawn anew, up to
  `rounds` times.

  Args:
    key: the step's key.
    row: places in the global batch, which the draws are keyed by.
    question: what each row asks.
    known: answers in the training triples.
    entities: how many there are.
    count: draws per row.
    rounds: how often one is drawn anew at most.
    halvings: `depth(known)`.

  Returns:
    The entities, and False where one is a known answer even so.
  """
  words = jax.vmap(lambda k: jax.random.bits(k, (2,)))(row_keys(key, row))
  found = _numbers(words, 0, count, entities)
  bad = contains(known, question, found, halvings)
  for i in range(1, rounds + 1):
    found = jnp.where(bad, _numbers(words, i, count, entities), found)
    bad = contains(known, question, found, halvings)
  return found, ~bad


def _numbers(
  words: UInt32[Array, "b 2"], turn: int, count: int, entities: int
) -> Any:
  """Numbers below `entities`, from a counter scrambled with a row's two words.

  The remainder favours small numbers by less than entities / 2**32.
  """
  place = jnp.arange(turn * count, (turn + 1) * count, dtype=jnp.uint32)
  x = _mix(words[:, :1] + place[None] * np.uint32(0x9E3779B9))
  x = _mix(x ^ words[:, 1:])
  return (x % np.uint32(entities)).astype(jnp.int32)


def _mix(x):
  """Scrambles 32 bits (the finalizer of MurmurHash3, A. Appleby)."""
  x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
