"""A model ready to answer: scores of all entities, in chunks of bounded memory.

Letters: b questions, n entities (this device's, where their table is divided),
d width.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax import accel
from kd_jax.methods.ote import context, scoring, tables
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.config import Config
from kd_jax.methods.ote.model import SIDES, Relations, Side

PyTree = Any


class Scorer(NamedTuple):
  """A model ready to answer.

  Attributes:
    config: the arm's configuration.
    margin: gamma.
    entity: the table, or this device's rows of it.
    relations: what all relations do.
    around: both contexts, whole; None without.
    entities: how many there are; rows beyond them are padding.
    shared: the devices that share the table, or None.
  """

  config: Config
  margin: float
  entity: Float[Array, "n d"]
  relations: Relations
  around: context.Contexts | None
  entities: int
  shared: str | None = None


def scorer(
  config: Config,
  margin: float,
  params: PyTree,
  edges: PyTree,
  entities: int,
  shared: str | None = None,
) -> Scorer:
  """Prepares what all questions have in common.

  Args:
    config: the arm's configuration.
    margin: gamma of the arm's stage.
    params: the parameters.
    edges: see `inputs.edges`.
    entities: how many there are.
    shared: the devices that share the entities' table, or None.

  Returns:
    The scorer.
  """
  model, first = config.model, config.first.margin
  relations = models.relations_of(model, params["relation"], first)
  around = None
  if model.context != "none":
    whole = {**params, "entity": accel.all_gather(params["entity"], shared)}
    around = context.contexts(model, whole, relations, first, edges)
  table = params["entity"]
  return Scorer(config, margin, table, relations, around, entities, shared)


def score_all(
  s: Scorer, side: Side, kept: Int[Array, "b"], relation: Int[Array, "b"]
) -> Float[Array, "b n"]:
  """Scores of all entities as answers.

  Args:
    s: the scorer.
    side: what is asked for.
    kept: the entities of the other side.
    relation: the relations.

  Returns:
    The scores, of padding rows too.
  """
  model, n, shared = s.config.model, len(s.entity), s.shared
  x = tables.fetch_common(s.entity, kept, shared)
  other = None if s.around is None else s.around[1 - SIDES.index(side)][kept]
  asked = scoring.question(model, s.relations.rows(relation), x, side, other)
  candidates = [s.entity]
  if s.around is not None:
    first = tables.first_row(s.entity, shared)
    own = s.around[SIDES.index(side)]
    candidates.append(jax.lax.dynamic_slice_in_dim(own, first, n))

  def one(chunk):
    return scoring.scores(model, s.margin, asked, side, *chunk)

  size = chunk_size(s.config, len(kept), n)
  if size == n:
    return one(candidates)
  chunks = [_chunks(c, size) for c in candidates]
  found = jnp.moveaxis(jax.lax.map(one, chunks), 0, 1)
  return found.reshape(len(kept), -1)[:, :n]


def chunk_size(config: Config, questions: int, entities: int) -> int:
  """Candidates that are scored in one piece.

  Args:
    config: `eval_bytes` bounds what their differences take.
    questions: how many are asked at a time.
    entities: how many candidates there are.

  Returns:
    A number from 1 to `entities`.
  """
  per_row = 4 * questions * config.model.width
  return max(1, min(entities, config.eval_bytes // per_row))


def _chunks(rows, size):
  count = -(-len(rows) // size)
  padded = jnp.pad(rows, ((0, count * size - len(rows)), (0, 0)))
  return padded.reshape(count, size, -1)
