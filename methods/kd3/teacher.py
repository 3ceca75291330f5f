"""The teacher's step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import optax

from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import Config
from kd_jax.methods.kd3.state import optimizer
from kd_jax.training import step as stepping


def make_teacher_step(
  config: Config, *, tx: optax.GradientTransformation | None = None
) -> Callable[..., Any]:
  """Builds the teacher's step: cross-entropy on the original task.

  Args:
    config: the method's configuration.
    tx: the optimizer; the configured one if None.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  # The web's images are cropped, not the teacher's own.
  plain = dataclasses.replace(config.data, crop=False)
  config = dataclasses.replace(config, data=plain)

  def forward(params, state, batch, key, *, axis_name=None):
    x = inputs.drawn(config, key, batch)
    classes = params["head"]["kernel"].shape[-1]
    network = model.network(config.teacher, classes, axis_name, config.dtype)
    return network.apply(
      {"params": params, **state.model_state},
      x,
      train=True,
      where=batch.get("where"),
      mutable=["batch_stats"],
    )

  def terms(outputs, batch, *, axis_name=None):
    del axis_name
    loss = optax.softmax_cross_entropy_with_integer_labels
    return {"cross_entropy": loss(outputs.logits, batch["label"])}

  tx = tx or optimizer(config.teacher_optim, config.teacher_steps)
  return stepping.make_train_step(
    forward,
    terms,
    {"cross_entropy": 1.0},
    tx,
    microbatches=config.microbatches,
  )
