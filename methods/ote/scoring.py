"""Scores of candidates, with and without the context of the graph.

The score with context adds three distances to the plain one. Those on the
candidate's side would rotate every candidate back; for an orthogonal Q the kept
side is rotated instead, since |c Q^T - x| = |c - x Q|: candidates are scaled at
most. `linear` blocks, and scales after the rotation, take the long way.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.config import ModelConfig
from kd_jax.methods.ote.model import Relations, Side

PyTree = Any


class Question(NamedTuple):
  """The kept side of triples, ready to be compared with candidates.

  Attributes:
    asked: where the answers should be.
    kept: the kept entities themselves; None without context.
    around: their context on the side towards the answers; None without.
    relation: what the relations do; None without context.
  """

  asked: Float[Array, "b d"]
  kept: Float[Array, "b d"] | None = None
  around: Float[Array, "b d"] | None = None
  relation: Relations | None = None


def question(
  model: ModelConfig,
  relation: Relations,
  kept: Float[Array, "b d"],
  side: Side,
  around: Float[Array, "b d"] | None = None,
) -> Question:
  """Acts on the kept side, once per triple.

  Args:
    model: the model.
    relation: one per triple.
    kept: heads if tails are asked for, else tails.
    side: what is asked for.
    around: the kept entities' context (outgoing for heads, incoming for tails),
      None without.

  Returns:
    What candidates are compared with.
  """
  asked = models.TOWARDS[side](model, relation, kept[:, None])[:, 0]
  if around is None:
    return Question(asked)
  return Question(asked, kept, around, relation)


def scores(
  model: ModelConfig,
  margin: float,
  q: Question,
  side: Side,
  candidates: Float[Array, "b m d"] | Float[Array, "m d"],
  around: Float[Array, "b m d"] | Float[Array, "m d"] | None = None,
) -> Float[Array, "b m"]:
  """Scores of candidates; the larger the likelier.

  Source: the paper's scores (with context a quarter of the sum)

  Args:
    model: the model.
    margin: gamma.
    q: the questions.
    side: what is asked for.
    candidates: each question's own, or the same for all.
    around: their context (incoming for tails, outgoing for heads).

  Returns:
    The scores.
  """
  plain = models.compare(model, q.asked, candidates)
  start = models.offset(model, margin)
  if q.around is None:
    return start - plain
  total = plain + models.compare(model, q.asked, around)
  back, scale, turned = _back(model, q.relation, side, candidates)
  for x in (q.kept, q.around):
    total = total + models.compare(model, turned(x), back, scale)
  return start - total / 4


def _back(model, relation, side, candidates):
  """Candidates on the kept side, their scales, and what to do to that side."""
  exact = model.name != "linear" and (
    relation.up is None or model.scale_side == "input"
  )
  if not exact:
    rotated = _rotate_all(model, relation, side, candidates)
    return rotated, None, lambda x: x
  scale = relation.down if side == "tail" else relation.up
  if scale is not None:
    scale = scale.reshape(len(scale), -1)

  def turned(x):
    return models.TOWARDS[side](model, relation, x[:, None], False)[:, 0]

  return candidates, scale, turned


def _rotate_all(model, relation, side, candidates):
  if candidates.ndim == 2:
    count = len(jax.tree.leaves(relation)[0])
    candidates = jnp.broadcast_to(candidates, (count, *candidates.shape))
  return models.BACK[side](model, relation, candidates)
