"""Known answers by question, and negatives that are not among them.

A question is a pair: (head, relation) asks for tails, (relation, tail) for
heads. The known answers of all questions lie in one list, those of a question
side by side in ascending order, so that a binary search within them is as long
as the logarithm of the longest, and no number is larger than the list (a key
made of pair and entity overflows 32 bits on large graphs).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, UInt32

from kd_jax.datasets import order
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
  kept, relations, answers = (
    c.astype(np.int64) for c in columns(triples, side)
  )
  # One number for a pair, one for a fact: sorted far faster than rows.
  _, question = np.unique(
    kept * (relations.max(initial=0) + 1) + relations, return_inverse=True
  )
  above = answers.max(initial=0) + 1
  facts = np.unique(question * above + answers)
  asked = np.arange(question.max(initial=-1) + 2)
  start = np.searchsorted(facts // above, asked)
  known = Known(start.astype(np.int32), (facts % above).astype(np.int32))
  return known, question.astype(np.int32)


def depth(known: Known) -> int:
  """Halvings that find a place in the longest list of answers."""
  return int(np.diff(known.start).max(initial=0)).bit_length()


def draw(
  key: Array,
  row: Int[Array, "b"],
  question: Int[Array, "b"],
  known: Known,
  *,
  entities: int,
  count: int,
  halvings: int,
) -> tuple[Int[Array, "b m"], Bool[Array, "b m"]]:
  """Draws entities that are no known answers, uniformly.

  What drawing again and again until nothing known is left would give, without
  drawing again: of the numbers that are no answers the u-th is wanted, which is
  u plus the number of answers before it. The answers a_0 < a_1 < ... before it
  are those with a_j - j <= u, and a binary search counts them.

  Args:
    key: the step's key.
    row: places in the global batch, which the draws are keyed by.
    question: what each row asks.
    known: answers in the training triples.
    entities: how many there are.
    count: draws per row.
    halvings: `depth(known)`; 0 draws from all entities, known or not.

  Returns:
    The entities, and False in a row whose answers are all entities.
  """
  words = jax.vmap(lambda k: jax.random.bits(k, (2,)))(row_keys(key, row))
  bits = _scramble(words, count)
  low, high = (known.start[question + i][:, None] for i in (0, 1))
  free = entities - (high - low) if halvings else jnp.full_like(low, entities)
  # The remainder favours small numbers by less than entities / 2**32.
  wanted = (bits % jnp.maximum(free, 1).astype(jnp.uint32)).astype(jnp.int32)
  before = _before(known, low, high, wanted, halvings)
  found = jnp.minimum(wanted + before, entities - 1)
  return found, jnp.broadcast_to(free > 0, found.shape)


def _before(known, low, high, wanted, halvings):
  """How many of the answers from `low` to `high` come before the u-th free."""
  first, last = low, len(known.answers) - 1
  low, high = (jnp.broadcast_to(x, wanted.shape) for x in (low, high))
  for _ in range(halvings):
    middle = (low + high) // 2
    at = known.answers[jnp.minimum(middle, last)]
    before = (at - (middle - first) <= wanted) & (low < high)
    low = jnp.where(before, middle + 1, low)
    high = jnp.where(before, high, middle)
  return low - first


def _scramble(words: UInt32[Array, "b 2"], count: int) -> Any:
  """A counter scrambled with a row's two words: `count` numbers per row."""
  place = jnp.arange(count, dtype=jnp.uint32)
  x = order.mix(jnp, words[:, :1] + place[None] * np.uint32(0x9E3779B9))
  return order.mix(jnp, x ^ words[:, 1:])
