"""A step: a batch that predicts tails, then one that predicts heads.

Each is an optimizer step of its own; they stand in one body, so that neither
needs a branch. `batches` draws examples and negatives, inside.

Letters: b triples of a batch on this device, m one answer and its negatives, n
entities, d width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from kd_jax import accel, losses
from kd_jax.methods.ote import algebra, context, scoring, state, tables
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.batches import Batch, Sizes, draw_batch
from kd_jax.methods.ote.config import Config, StageConfig
from kd_jax.methods.ote.model import SIDES, Side
from kd_jax.metrics import Mean, mean

PyTree = Any


class Outputs(NamedTuple):
  """What the model says about a batch.

  Attributes:
    positive: the answers' scores.
    negative: the negatives' scores.
    counts: False where there is no negative to draw.
    l3: the cubes of all parameters, summed; 0 where they do not count.
    least_pivot: see `algebra.least_pivot`; 1 for models without blocks.
  """

  positive: Float[Array, "b"]
  negative: Float[Array, "b m"]
  counts: Bool[Array, "b m"]
  l3: Float[Array, ""]
  least_pivot: Float[Array, ""]


def forward(
  config: Config,
  stage: StageConfig,
  params: PyTree,
  batch: Batch,
  edges: PyTree,
  side: Side,
  axis_name: str | None = None,
) -> Outputs:
  """Scores a batch's answers and negatives.

  Args:
    config: the arm's configuration.
    stage: its stage.
    params: the parameters; this device's rows of the entities' table where it
      is divided.
    batch: the batch.
    edges: see `neighbours.edges`; {} without context.
    side: what is asked for.
    axis_name: the devices.

  Returns:
    The scores.
  """
  model, first = config.model, config.first.margin
  shared = axis_name if config.shard_entities else None
  relations = models.relations_of(model, params["relation"], first)
  # Context needs every neighbour: where the table is divided it is gathered.
  whole = params["entity"]
  if model.context != "none":
    whole = accel.all_gather(whole, shared)
    shared = None
  without = batch.triples if model.remove_targets else None
  around = context.contexts(
    model, {**params, "entity": whole}, relations, first, edges, without
  )
  asked = scoring.question(
    model,
    relations.rows(batch.relation),
    tables.fetch(whole, batch.kept, shared),
    side,
    around and getattr(around, _other(side))[batch.kept],
  )
  if around is None and shared is None:
    distances = models.compare_rows(model, asked.asked, whole, batch.candidates)
    found = models.offset(model, stage.margin) - distances
  else:
    found = scoring.scores(
      model,
      stage.margin,
      asked,
      side,
      tables.fetch(whole, batch.candidates, shared),
      around and getattr(around, side)[batch.candidates],
    )
  return Outputs(
    positive=found[:, 0],
    negative=found[:, 1:],
    counts=batch.counts,
    l3=_l3(config, params, axis_name),
    least_pivot=_pivot(model, params, relations),
  )


def _other(side: Side) -> Side:
  return "head" if side == "tail" else "tail"


def _l3(config, params, axis_name):
  if not config.loss.l3:
    return jnp.float32(0)
  total = losses.l3_penalty(params["entity"]).sum()
  total = accel.sum(total, axis_name if config.shard_entities else None)
  for rows in models.penalised(params):
    total += losses.l3_penalty(rows).sum()
  return total


def _pivot(model, params, relations):
  if model.name != "ote":
    return jnp.float32(1)
  found = algebra.least_pivot(params["relation"]["blocks"], relations.blocks)
  return jax.lax.stop_gradient(found)


def terms(
  config: Config, stage: StageConfig, outputs: Outputs
) -> dict[str, Array]:
  """The loss of each triple, and the penalty.

  Source: the paper's code

  Args:
    config: the arm's configuration.
    stage: its stage.
    outputs: the scores.

  Returns:
    "links" by triple and, where it weighs anything, "l3".
  """
  links = losses.self_adversarial(
    outputs.positive,
    outputs.negative,
    temperature=stage.temperature,
    balance=config.loss.balance,
    negative_where=outputs.counts,
  )
  return {"links": links, **({"l3": outputs.l3} if config.loss.l3 else {})}


def make_train_step(
  config: Config,
  stage: StageConfig,
  sizes: Sizes,
  *,
  tx: optax.GradientTransformation | None = None,
) -> Callable[..., tuple[state.GraphState, dict[str, Mean]]]:
  """Builds the step of an arm.

  Args:
    config: the arm's configuration.
    stage: its stage.
    sizes: the graph's.
    tx: the optimizer; `state.optimizer` if None.

  Returns:
    `(state, data, *, axis_name=None) -> (state, metrics)`: two optimizer steps.
  """
  tx = state.optimizer(stage) if tx is None else tx

  def half(carried, data, side, axis_name):
    batch = draw_batch(config, stage, sizes, carried, data, side, axis_name)

    def loss_fn(params):
      outputs = forward(
        config, stage, params, batch, data["edges"], side, axis_name
      )
      found = terms(config, stage, outputs)
      weights = {"links": batch.weight, "l3": config.loss.l3}
      loss, parts = losses.combine(
        found,
        {k: weights[k] for k in found},
        axis_name=axis_name,
        normalize="weight",
      )
      return loss, (parts, outputs)

    (loss, (parts, outputs)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      carried.params
    )
    grads = mean_gradients(config, grads, axis_name)
    updates, opt_state = tx.update(grads, carried.opt_state, carried.params)
    carried = carried.replace(
      params=optax.apply_updates(carried.params, updates), opt_state=opt_state
    )
    shares = {
      f"{side}_positive": mean(outputs.positive),
      f"{side}_negative": mean(outputs.negative),
    }
    metrics = accel.sum({**parts, **shares}, axis_name)
    metrics["loss"] = mean(accel.mean(loss, axis_name))
    metrics["least_pivot"] = mean(outputs.least_pivot)
    metrics["grad_norm"] = mean(_norm(config, grads, axis_name))
    return carried, metrics

  def train_step(carried, data, *, axis_name=None):
    found = {}
    for side in SIDES:
      carried, one = half(carried, data, side, axis_name)
      for name, value in one.items():
        old = found.get(name)
        found[name] = (
          value if old is None else jax.tree.map(jnp.add, old, value)
        )
    return carried.replace(step=carried.step + 1), found

  return train_step


def mean_gradients(
  config: Config, grads: PyTree, axis_name: str | None
) -> PyTree:
  """The gradient of the mean of the devices' losses.

  What a device finds for its own rows of a divided table is the sum over all
  devices' losses already: the exchange of rows runs backwards.

  Args:
    config: the arm's configuration.
    grads: each device's.
    axis_name: the devices.

  Returns:
    The gradients, of divided tables this device's rows.
  """
  if axis_name is None or not config.shard_entities:
    return accel.mean(grads, axis_name)
  devices = accel.axis_size(axis_name)
  return jax.tree.map(
    lambda g, rows: g / devices if rows else accel.mean(g, axis_name),
    grads,
    state.divided(grads),
  )


def _norm(config, grads, axis_name):
  """The gradients' Euclidean length, over all rows of divided tables."""
  shared = axis_name if config.shard_entities else None
  squares = [
    accel.sum(jnp.square(g).sum(), shared if rows else None)
    for g, rows in zip(
      jax.tree.leaves(grads), jax.tree.leaves(state.divided(grads)), strict=True
    )
  ]
  return jnp.sqrt(jnp.stack(squares).sum())
