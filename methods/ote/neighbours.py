"""The training triples as two lists of edges, made once on the host.

On the incoming side a tail hears from its (head, relation) pairs, on the
outgoing side a head from its (relation, tail) pairs. A pair sends the same
message along all of its edges, so that messages are computed once per distinct
pair; and pairs of one relation stand together in tiles, so that one matrix
serves a whole tile.
"""

import numpy as np
from jaxtyping import Int32

from kd_jax.methods.ote.model import SIDES

# Pairs per tile; the last tile of a relation is padded.
TILE = 16
Edges = dict[str, np.ndarray]


def edges(
  train: Int32[np.ndarray, "n 3"], shuffled: bool = False
) -> dict[str, Edges]:
  """Both sides' edges.

  Args:
    train: the training triples.
    shuffled: whether each message goes to a random edge instead of its own (a
      control: everyone hears as many messages, from anyone).

  Returns:
    By the side that hears ("tail": incoming, "head": outgoing), "entity" (by
    tile and place: who a message is from), "relation" (by tile), "message" (by
    edge: which message, tiles laid end to end), "to" (by edge: who hears it,
    ascending) and "place" (by training triple: its edge).
  """
  return {side: _one_side(train, side, shuffled) for side in SIDES}


def _one_side(train, side, shuffled) -> Edges:
  heads, relations, tails = np.asarray(train).T
  senders, hearers = (heads, tails) if side == "tail" else (tails, heads)
  above = senders.max(initial=0) + 1
  pairs, pair = np.unique(
    relations.astype(np.int64) * above + senders, return_inverse=True
  )
  place, tile_relation = _tiles(pairs // above)
  entity = np.zeros(len(tile_relation) * TILE, np.int32)
  entity[place] = pairs % above
  # Stable: the edges of an entity stay in the order of the triples.
  order = np.argsort(hearers, kind="stable")
  message = place[pair][order]
  if shuffled:
    message = np.random.default_rng(0).permutation(message)
  where = np.empty(len(order), np.int32)
  where[order] = np.arange(len(order))
  return {
    "entity": entity.reshape(-1, TILE),
    "relation": tile_relation.astype(np.int32),
    "message": message.astype(np.int32),
    "to": hearers[order].astype(np.int32),
    "place": where,
  }


def _tiles(relation) -> tuple[np.ndarray, np.ndarray]:
  """Where each pair (in order of relation) goes, and the tiles' relations."""
  names, first, counts = np.unique(
    relation, return_index=True, return_counts=True
  )
  tiles = -(-counts // TILE)
  start = np.concatenate([[0], np.cumsum(tiles)[:-1]]) * TILE
  within = np.arange(len(relation)) - np.repeat(first, counts)
  return np.repeat(start, counts) + within, np.repeat(names, tiles)
