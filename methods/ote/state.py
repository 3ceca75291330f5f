"""What an arm carries from step to step, its optimizer, and its start."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float

from kd_jax.methods.ote import model as models
from kd_jax.methods.ote import tables
from kd_jax.methods.ote.config import Config, StageConfig
from kd_jax.training import state as states

PyTree = Any
# Folded into the seed's key for initial parameters.
_FIRST, _SECOND = 1, 2


@struct.dataclass
class GraphState(states.State):
  """What an arm carries beside its parameters.

  `step` counts pairs of optimizer steps.

  Attributes:
    best: the parameters that did best on validation triples; empty where the
      last ones count.
    best_value: their mean reciprocal rank; -1 before any was measured.
  """

  best: PyTree
  best_value: Float[Array, ""]


def optimizer(stage: StageConfig) -> optax.GradientTransformation:
  """Adam over whole tables, its rate falling in stairs.

  Dense: rows without a gradient still move by their momentum, as in the
  authors' code. A sparse Adam is another optimizer.

  Args:
    stage: its numbers.

  Returns:
    The transformation.
  """
  rate: Any = stage.learning_rate
  if stage.decay_every:
    rate = optax.exponential_decay(
      stage.learning_rate, stage.decay_every, stage.decay, staircase=True
    )
  return optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8)


def create_state(
  config: Config,
  stage: StageConfig,
  seed: Any,
  entities: int,
  relations: int,
  base: Mapping[str, PyTree] | None = None,
) -> GraphState:
  """An arm at step 0.

  Args:
    config: the arm's configuration.
    stage: the stage it goes through.
    seed: the run's seed; may be traced.
    entities: how many there are.
    relations: how many there are.
    base: parameters to go on from: the entities' table and the relations' raw
      parameters are taken over, dummies start fresh, and so does Adam.

  Returns:
    The state.
  """
  key = jax.random.fold_in(
    jax.random.key(seed), _FIRST if base is None else _SECOND
  )
  rows = tables.padded(entities, config.shard_entities)
  params = models.init_params(
    config.model, key, entities, relations, config.first.margin, rows
  )
  if base is not None:
    params |= {k: jax.tree.map(jnp.asarray, base[k]) for k in _INHERITED}
  best = jax.tree.map(jnp.copy, params) if config.keep == "best" else {}
  return GraphState.create(
    seed=seed,
    params=params,
    opt_state=optimizer(stage).init(params),
    model_state={},
    best=best,
    best_value=jnp.float32(-1),
  )


_INHERITED = ("entity", "relation")


def divided(tree: PyTree) -> PyTree:
  """Which leaves of a state or product are tables of entities.

  Args:
    tree: anything that holds parameters.

  Returns:
    A tree of bools: True for a table and its moments, whose rows the devices
    share.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, x: _name(path[-1]) == "entity" and np.ndim(x) == 2, tree
  )


def _name(part: Any) -> str:
  return str(getattr(part, "key", getattr(part, "name", part)))


def keep_better(state: GraphState, value: Float[Array, ""]) -> GraphState:
  """Keeps the parameters if they do better than those that are kept.

  Args:
    state: the state.
    value: the mean reciprocal rank of its parameters.

  Returns:
    The state with the better ones of both in `best`.
  """
  better = value > state.best_value
  best = jax.tree.map(
    lambda new, old: jnp.where(better, new, old), state.params, state.best
  )
  return state.replace(
    best=best, best_value=jnp.maximum(value, state.best_value)
  )


def chosen(state: GraphState) -> PyTree:
  """The parameters that count."""
  return state.best or state.params
