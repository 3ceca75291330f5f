"""Training under a scheme: the optimizer, the step, its state, the phase."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kd_jax import accel, augment, experiment, metrics
from kd_jax.datasets import pipeline as feeding
from kd_jax.methods.compression import protocol
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.data import Tables
from kd_jax.methods.compression.model import Model
from kd_jax.methods.compression.protocol import Transform
from kd_jax.training import step as stepping
from kd_jax.training.state import State, row_keys

PyTree = Any
NOTHING = protocol.chain()


def optimizer(
  config: Config, rate: float, steps: int
) -> optax.GradientTransformation:
  """Adam or SGD on a cosine, with L2 on kernels.

  Args:
    config: which, and how strong the decay is.
    rate: the first learning rate.
    steps: how long.

  Returns:
    The optimizer.
  """
  schedule = optax.cosine_decay_schedule(rate, max(1, steps))
  if config.drops:
    cuts = {round(d * steps): 0.1 for d in config.drops}
    schedule = optax.piecewise_constant_schedule(rate, cuts)
  inner = optax.adam(schedule)
  if config.optimizer == "sgd":
    inner = optax.sgd(schedule, momentum=0.9, nesterov=True)

  def kernels(params):
    return jax.tree.map(lambda w: w.ndim >= 2, params)

  decay = optax.add_decayed_weights(config.weight_decay, kernels)
  return optax.chain(decay, inner)


def inputs(
  config: Config, model: Model, batch: Mapping[str, Any], key: jax.Array
) -> jax.Array:
  """The images of a training batch, moved if wanted, and normalised.

  Args:
    config: says whether.
    model: normalises.
    batch: "image" and "row".
    key: the step's; each row of the global batch draws its own.

  Returns:
    The images.
  """
  images = batch["image"]
  if config.crop or config.flip:
    images = augment.to_float(images)
  if config.crop:
    keys = row_keys(jax.random.fold_in(key, 1), batch["row"])
    cut = augment.per_row(augment.random_crop)
    images = cut(keys, images, config.crop)
  if config.flip:
    keys = row_keys(jax.random.fold_in(key, 2), batch["row"])
    images = augment.per_row(augment.random_flip)(keys, images)
  return model.prepare(images)


def forward(
  config: Config,
  model: Model,
  scheme: Transform,
  params: PyTree,
  state: State,
  batch: Mapping[str, Any],
  key: jax.Array,
  *,
  axis_name: str | None = None,
) -> tuple[jax.Array, PyTree]:
  """The network as the scheme shows it.

  Args:
    config: how training images are moved.
    model: the network.
    scheme: projects the parameters.
    params: what is trained, in the scheme's tree.
    state: its optimizer's state holds the scheme's.
    batch: "image", and "where" the rows that count.
    key: for dropout.
    axis_name: the devices' axis.

  Returns:
    Logits and the moved statistics.
  """
  own = state.opt_state
  view = scheme.project(params, own.scheme, own.count)
  return model.train(
    {"params": view, **state.model_state},
    inputs(config, model, batch, key),
    key,
    batch.get("where"),
    axis_name,
  )


def terms(outputs: jax.Array, batch: Mapping[str, Any], *, axis_name=None):
  """Cross-entropy of each image."""
  del axis_name
  loss = optax.softmax_cross_entropy_with_integer_labels
  return {"cross_entropy": loss(outputs, batch["label"])}


def make_train_step(
  config: Config,
  model: Model,
  scheme: Transform,
  rate: float,
  steps: int,
  **more: Any,
):
  """Builds a step under a scheme.

  Args:
    config: the optimizer is read from it.
    model: the network.
    scheme: what shows the network its parameters.
    rate: the first learning rate.
    steps: the length of the training.
    **more: as `training.step.make_train_step` ("extra_terms").

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  return stepping.make_train_step(
    functools.partial(forward, config, model, scheme),
    terms,
    {"cross_entropy": 1.0},
    protocol.wrap(optimizer(config, rate, steps), scheme, None),
    measures=lambda outputs, batch: {
      "accuracy": metrics.accuracy(outputs, batch["label"], batch.get("where"))
    },
    **more,
  )


def create_state(
  config: Config,
  scheme: Transform,
  scheme_state: PyTree,
  variables: PyTree,
  seed: Any,
  rate: float,
  steps: int,
) -> State:
  """A state at step 0.

  Args:
    config: the optimizer is read from it.
    scheme: the scheme.
    scheme_state: its state.
    variables: "params" in the scheme's tree, and the collections that move.
    seed: the run's seed.
    rate: as in `make_train_step`.
    steps: as there.

  Returns:
    The state.
  """
  params = jax.tree.map(lambda x: jnp.array(x, copy=True), variables["params"])
  tx = protocol.wrap(optimizer(config, rate, steps), scheme, scheme_state)
  moving = {k: v for k, v in variables.items() if k != "params"}
  return State.create(
    seed=seed,
    params=params,
    opt_state=tx.init(params),
    model_state=jax.tree.map(lambda x: jnp.array(x, copy=True), moving),
  )


def product(state: State) -> dict[str, PyTree]:
  """What a training phase leaves: variables in the scheme's tree, its state."""
  return {
    "variables": {"params": state.params, **state.model_state},
    "states": state.opt_state.scheme,
  }


def evaluation(
  config: Config, model: Model, scheme: Transform, columns: Mapping[str, Any]
) -> experiment.Evaluation:
  """Accuracy of the training view on some columns.

  Args:
    config: the batch size is read from it.
    model: the network.
    scheme: projects a product's parameters.
    columns: "image" and "label".

  Returns:
    The evaluation.
  """

  def measure(found, batch, *, axis_name=None):
    variables = dict(found["variables"])
    variables["params"] = scheme.project(
      variables["params"], found["states"], 2**30
    )
    logits = model.logits(variables, model.prepare(batch["image"]))
    right = metrics.accuracy(logits, batch["label"], batch["where"])
    return accel.sum({"accuracy": right}, axis_name)

  size = max(config.batch_size, 4 * config.batch_size)
  return experiment.Evaluation(feeding.over_columns(measure, size), columns)


def training_phase(
  config: Config,
  model: Model,
  scheme: Transform,
  init: Any,
  found: Tables,
  *,
  name: str,
  arm: str,
  rate: float,
  steps: int,
  **more: Any,
) -> experiment.Phase:
  """A phase that trains under a scheme.

  Args:
    config: the configuration.
    model: the network.
    scheme: the scheme.
    init: `(products, seed) -> (variables, the scheme's state)`.
    found: the data.
    name: the phase's.
    arm: the arm's.
    rate: the first learning rate.
    steps: how many.
    **more: as `make_train_step`.

  Returns:
    The phase.
  """
  step = make_train_step(config, model, scheme, rate, steps, **more)

  def start(products, seed):
    variables, states = init(products, seed)
    return create_state(config, scheme, states, variables, seed, rate, steps)

  return experiment.Phase(
    name=name,
    arm=arm,
    init=start,
    step=feeding.from_columns(step, config.batch_size),
    steps=steps,
    data=found.train,
    product=product,
    evaluations={"val": evaluation(config, model, scheme, found.val)},
    batch_size=config.batch_size,
  )
