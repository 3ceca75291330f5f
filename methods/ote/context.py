"""Directed context: what the graph around an entity says of it.

Each training triple sends a message to its tail (where it should be, seen from
its head and relation) and one to its head. An entity's incoming and outgoing
context are means of these, or attention over them; nothing is learned but a
dummy neighbour that every entity has under attention.

Letters: n entities, e edges, p messages, d width.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.config import ModelConfig
from kd_jax.methods.ote.model import Relations, Side

PyTree = Any
# The logit of an edge that is left out: its weight is exactly 0.
_NEVER = -1e30


class Contexts(NamedTuple):
  """Both contexts of every entity.

  Attributes:
    tail: incoming, what an entity hears as a tail.
    head: outgoing, what it hears as a head.
  """

  tail: Float[Array, "n d"]
  head: Float[Array, "n d"]


def contexts(
  model: ModelConfig,
  params: PyTree,
  relations: Relations,
  margin: float,
  edges: Mapping[Side, PyTree],
  without: Any = None,
) -> Contexts | None:
  """The contexts of all entities.

  Source: the paper's graph contexts

  Args:
    model: the model.
    params: its parameters, the table of entities whole.
    relations: what all relations do.
    margin: gamma.
    edges: see `neighbours.edges`.
    without: training triples, by number, that send no messages; None leaves
      none out.

  Returns:
    The contexts; None for a model without.
  """
  if model.context == "none":
    return None
  found = {}
  for side in models.SIDES:
    lists = edges[side]
    kept = jnp.ones(lists["to"].shape, bool)
    if without is not None:
      kept = kept.at[lists["place"][without]].set(False)
    sent = messages(model, params["entity"], relations, side, lists)
    if model.context == "mean_self":
      found[side] = mean_with_self(params["entity"], sent, lists, kept)
    else:
      dummy = _dummy(model, params["dummy"], margin, side)
      found[side] = attend(params["entity"], sent, dummy, lists, kept)
  return Contexts(**found)


def messages(
  model: ModelConfig,
  entity: Float[Array, "n d"],
  relations: Relations,
  side: Side,
  lists: Mapping[str, Array],
) -> Float[Array, "p d"]:
  """What each distinct pair of a neighbour and a relation says.

  Args:
    model: the model.
    entity: the table.
    relations: what all relations do.
    side: who hears ("tail": messages of heads).
    lists: that side's edges.

  Returns:
    The messages, tiles laid end to end.
  """
  rows = relations.rows(lists["relation"])
  said = models.TOWARDS[side](model, rows, entity[lists["entity"]])
  return said.reshape(-1, entity.shape[-1])


def mean_with_self(
  entity: Float[Array, "n d"],
  sent: Float[Array, "p d"],
  lists: Mapping[str, Array],
  kept: Bool[Array, "e"],
) -> Float[Array, "n d"]:
  """The mean of an entity's messages and of the entity itself.

  Args:
    entity: the table.
    sent: the messages.
    lists: the edges.
    kept: which edges count.

  Returns:
    The contexts; an entity that hears nothing is its own.
  """
  n = len(entity)
  heard = jnp.where(kept[:, None], sent[lists["message"]], 0.0)
  degree = _sum(kept.astype(entity.dtype), lists["to"], n)
  return (_sum(heard, lists["to"], n) + entity) / (degree[:, None] + 1)


def attend(
  entity: Float[Array, "n d"],
  sent: Float[Array, "p d"],
  dummy: Float[Array, "1 d"],
  lists: Mapping[str, Array],
  kept: Bool[Array, "e"],
) -> Float[Array, "n d"]:
  """Scaled dot-product attention of entities over what they hear.

  The dummy's message reaches every entity alike, so that its logits are a
  matrix-vector product and not n more edges.

  Args:
    entity: the table.
    sent: the messages.
    dummy: the dummy neighbour's message.
    lists: the edges.
    kept: which edges count.

  Returns:
    The contexts; an entity that hears nothing hears the dummy alone.
  """
  n, root = len(entity), entity.shape[-1] ** 0.5
  to, heard = lists["to"], sent[lists["message"]]
  logit = (entity[to] * heard).sum(-1) / root
  logit = jnp.where(kept, logit, _NEVER)
  own = (entity * dummy).sum(-1) / root
  top = jax.ops.segment_max(logit, to, n, indices_are_sorted=True)
  top = jax.lax.stop_gradient(jnp.maximum(top, own))
  weight = jnp.exp(logit - top[to])
  own = jnp.exp(own - top)
  total = _sum(weight, to, n) + own
  summed = _sum(weight[:, None] * heard, to, n) + own[:, None] * dummy
  return summed / total[:, None]


def _sum(values, to, n):
  return jax.ops.segment_sum(values, to, n, indices_are_sorted=True)


def _dummy(model, params, margin, side):
  relation = models.relations_of(model, params["relation"], margin)
  return models.TOWARDS[side](model, relation, params["row"][None])[0]
