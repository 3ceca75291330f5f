"""Batches: which triples a step learns from, and the negatives beside them.

All of it is drawn inside the compiled program, from (seed, step, row).

Letters: b triples of a batch on this device, m one answer and its negatives.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from kd_jax import accel
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.ote import known, state
from kd_jax.methods.ote.config import Config, StageConfig
from kd_jax.methods.ote.model import SIDES, Side
from kd_jax.training.state import step_key

PyTree = Any
# Sets the order of the heads' batches apart from the tails'.
_ORDERS = {"tail": 0, "head": 0x51ED2701}


class Sizes(NamedTuple):
  """What a graph fixes of the compiled program.

  Attributes:
    entities: how many there are.
    relations: how many there are.
    halvings: by side, see `known.depth`.
  """

  entities: int
  relations: int
  halvings: tuple[int, int]


class Batch(NamedTuple):
  """A batch that asks for one side.

  Attributes:
    kept: the entity of the other side.
    relation: the relation.
    candidates: the answer, then the negatives.
    counts: False where there is no negative to draw.
    weight: the triples' weights.
    triples: the training triples of the whole batch, all devices', by number.
  """

  kept: Int[Array, "b"]
  relation: Int[Array, "b"]
  candidates: Int[Array, "b m"]
  counts: Bool[Array, "b m"]
  weight: Float[Array, "b"]
  triples: Int[Array, "_"]


def draw_batch(
  config: Config,
  stage: StageConfig,
  sizes: Sizes,
  carried: state.GraphState,
  data: Mapping[str, PyTree],
  side: Side,
  axis_name: str | None = None,
) -> Batch:
  """This device's part of a batch.

  Args:
    config: the arm's configuration.
    stage: its stage.
    sizes: the graph's.
    carried: the state; the batch depends on its seed and step.
    data: see `inputs.training`.
    side: what is asked for.
    axis_name: the devices.

  Returns:
    The batch.
  """
  slots = _slots(stage.batch_size, axis_name)
  rows = pipeline.rows(
    carried.seed ^ jnp.uint32(_ORDERS[side]),
    carried.step,
    stage.batch_size,
    len(data["weight"]),
    slots,
  )
  asks = jax.tree.map(lambda x: x[rows], data["asks"][side])
  halvings = sizes.halvings[SIDES.index(side)]
  negatives, fine = known.draw(
    step_key(carried, SIDES.index(side)),
    slots,
    asks["question"],
    data["known"][side],
    entities=sizes.entities,
    count=stage.negatives,
    halvings=halvings if config.loss.filter_negatives else 0,
  )
  answers = asks["answer"][:, None]
  weight = data["weight"][rows]
  return Batch(
    kept=asks["kept"],
    relation=asks["relation"],
    candidates=jnp.concatenate([answers, negatives], 1),
    counts=fine,
    weight=weight if config.loss.subsampling else jnp.ones_like(weight),
    triples=accel.all_gather(rows, axis_name),
  )


def _slots(batch_size, axis_name):
  devices = accel.axis_size(axis_name)
  if batch_size % devices:
    raise UsageError(
      f"a batch of {batch_size} triples does not divide over {devices} devices"
    )
  local = batch_size // devices
  first = accel.axis_index(axis_name) * local
  return (first + jnp.arange(local)).astype(jnp.int32)
