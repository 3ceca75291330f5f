"""The linear probe as published: SGD on frozen features of augmented images.

Crops of .08 to 1 and flips, no weight decay, the rate times .1 after 60 and 80
of 100 epochs; its rate is the method's own (`Settings.probe_rate`), because the
scale of features differs a hundredfold.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from kd_jax import augment, experiment, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.ssl import evaluation, model, views
from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.data import Tables
from kd_jax.training import state as states
from kd_jax.training import step as stepping
from kd_jax.training.state import row_keys

PyTree = Any


@struct.dataclass
class ProbeState(states.State):
  """A linear classifier in training.

  Attributes:
    encoder: the frozen encoder's variables.
  """

  encoder: PyTree


def phase(
  config: Config, settings: Settings, arm: str, found: Tables
) -> experiment.Phase:
  """A probe of an arm's encoder.

  Args:
    config: the configuration.
    settings: the arm's.
    arm: which.
    found: the images.

  Returns:
    The phase; its product has "kernel", "bias" and "encoder".
  """
  tx = optimizer(config, settings)

  def init(products, seed):
    encoder = encoder_of(products[f"{arm}.pretrain"])
    shape = (model.length(config.net), found.classes)
    params = {"kernel": jnp.zeros(shape), "bias": jnp.zeros(found.classes)}
    return ProbeState.create(
      seed=seed,
      params=params,
      opt_state=tx.init(params),
      model_state={},
      encoder=encoder,
    )

  judge = evaluation.accuracy_of(config)
  return experiment.Phase(
    name="probe",
    arm=arm,
    init=init,
    step=pipeline.from_columns(make_step(config, tx), config.probe.batch_size),
    steps=config.probe.steps,
    data=found.bank,
    product=lambda s: {**s.params, "encoder": s.encoder},
    evaluations={
      "val": experiment.Evaluation(judge, found.val),
      "test": experiment.Evaluation(judge, found.test),
    },
    batch_size=config.probe.batch_size,
  )


def encoder_of(variables: PyTree) -> PyTree:
  """The part of an arm's variables that stays."""
  return {
    "params": {"backbone": variables["params"]["backbone"]},
    "batch_stats": {
      k: v for k, v in variables["batch_stats"].items() if k == "backbone"
    },
  }


def optimizer(
  config: Config, settings: Settings
) -> optax.GradientTransformation:
  """SGD with momentum whose rate falls twice."""
  steps = config.probe.steps
  rate = settings.probe_rate * config.probe.batch_size / 256
  drops = {round(0.6 * steps): 0.1, round(0.8 * steps): 0.1}
  return optax.sgd(optax.piecewise_constant_schedule(rate, drops), momentum=0.9)


def make_step(
  config: Config, tx: optax.GradientTransformation
) -> Callable[..., Any]:
  """Builds the probe's step.

  Args:
    config: the configuration.
    tx: the optimizer.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """

  def forward(params, state, batch, key, *, axis_name=None):
    del axis_name
    x = augment.to_float(batch["image"])
    change = functools.partial(_seen, config)
    x = augment.per_row(change)(row_keys(key, batch["row"]), x)
    backbone = state.encoder["params"]["backbone"]
    classes = backbone["head"]["kernel"].shape[-1]
    module = model.encoder(config.net, classes, dtype=config.dtype)
    frozen = {
      "params": backbone,
      "batch_stats": state.encoder["batch_stats"].get("backbone", {}),
    }
    found = module.apply(frozen, views.normal(config.data, x), train=False)
    h = jax.lax.stop_gradient(found.pooled)
    logits = jnp.matmul(h, params["kernel"], precision="highest")
    return logits + params["bias"][None], state.model_state

  def terms(logits, batch, *, axis_name=None):
    del axis_name
    entropy = optax.softmax_cross_entropy_with_integer_labels
    return {"cross_entropy": entropy(logits, batch["label"])}

  def measures(logits, batch):
    where = batch.get("where")
    return {"accuracy": metrics.accuracy(logits, batch["label"], where)}

  return stepping.make_train_step(
    forward, terms, {"cross_entropy": 1.0}, tx, measures=measures
  )


def _seen(config, key, image):
  crop, mirror = jax.random.split(key)
  side = config.data.view_size
  size = (side, side) if side else None
  # Digits are not what they are in a twelfth of their area, nor mirrored.
  area = (0.08, 1.0) if config.data.flip else (0.5, 1.0)
  x = augment.random_resized_crop(crop, image, size, area)
  return augment.random_flip(mirror, x) if config.data.flip else x
