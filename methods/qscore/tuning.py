"""Fine-tuning: a self-supervised step with penalties on the representation.

The whole state of the pre-training goes on (both networks, queue, centre); what
the arms differ in is the weight of the penalties. D is the pre-trained
encoder's, and constant.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from kd_jax import accel, losses
from kd_jax.methods.qscore.config import Config, TuneConfig
from kd_jax.methods.ssl import recipes, state, steps
from kd_jax.methods.ssl.config import Settings
from kd_jax.methods.ssl.learners import LEARNERS, Outputs

PyTree = Any
# Fine-tuning draws other batches and views than pre-training did.
STREAM = 0x51


class Penalties(NamedTuple):
  """Weights of what is added to a self-supervised loss.

  Attributes:
    gain: lambda_1, of the scores below their mean.
    columns: lambda_2, of the columns above theirs.
    reduction: of the columns.
    lasso: of the representation's absolute values, summed over the views.
  """

  gain: float = 0.0
  columns: float = 0.0
  reduction: Literal["sum", "mean"] = "sum"
  lasso: float = 0.0


def penalties(config: TuneConfig, arm: str) -> Penalties:
  """An arm's.

  Args:
    config: the numbers.
    arm: one of those that fine-tune.

  Returns:
    The weights.
  """
  c = config
  return {
    "continued": Penalties(),
    "qscore": Penalties(c.gain, c.columns),
    "gain": Penalties(c.gain),
    "columns": Penalties(0.0, c.columns),
    "balanced": Penalties(c.balanced_gain, c.balanced_columns, "mean"),
    "strong": Penalties(c.strong),
    "strong_held": Penalties(c.strong, c.strong, "mean"),
    "lasso": Penalties(lasso=c.lasso),
  }[arm]


def make_terms(
  config: TuneConfig,
  own: Penalties,
  chosen: Bool[Array, "r"],
  eps: Float[Array, ""],
) -> tuple[Callable[..., dict[str, Array]], dict[str, float]]:
  """The penalties as terms of a step, and their weights.

  Args:
    config: how they see representations.
    own: the weights; a term of weight 0 is left out.
    chosen: D.
    eps: the threshold it was found with.

  Returns:
    A pair for `extra_terms` of ssl's step. A term's value for an image is the
    mean over its two global views; alpha, beta and sums are of all views of all
    devices.
  """
  every = {"gain": own.gain, "columns": own.columns, "lasso": own.lasso}
  weights = {name: w for name, w in every.items() if w}

  def terms(
    outputs: Outputs, batch: Mapping[str, Array], *, axis_name=None
  ) -> dict[str, Array]:
    h = jnp.stack([view.h for view in outputs.views[:2]])
    v, b, r = h.shape
    h, where = h.reshape(v * b, r), batch.get("where")
    spread = {
      "where": None if where is None else jnp.tile(where, v),
      "axis_name": axis_name,
    }
    n = {"normalize": config.normalize}
    found = {
      "gain": lambda: losses.q_score_loss(
        h, chosen, eps=eps, top_if_empty=config.top_if_empty, **n, **spread
      ),
      "columns": lambda: losses.column_loss(
        h, reduction=own.reduction, **n, **spread
      ),
      "lasso": lambda: (
        losses.lasso(h, where=spread["where"])
        * _count(spread["where"], v * b, axis_name)
      ),
    }
    return {k: found[k]().reshape(v, b).mean(0) for k in weights}

  return terms, weights


def _count(where, size, axis_name):
  """How many views count, on all devices."""
  own = jnp.float32(size) if where is None else where.sum(dtype=jnp.float32)
  return accel.sum(own, axis_name)


@struct.dataclass
class Tuned:
  """What fine-tuning carries.

  Attributes:
    learner: the self-supervised method's state.
    chosen: D.
    eps: its threshold.
  """

  learner: state.SSLState
  chosen: Bool[Array, "r"]
  eps: Float[Array, ""]

  @property
  def step(self) -> Array:
    """Steps of fine-tuning so far."""
    return self.learner.step

  @property
  def seed(self) -> Array:
    """What batches and views are drawn by."""
    return self.learner.seed


def schedule(config: Config) -> tuple[Any, Settings]:
  """Ssl's configuration and settings for fine-tuning.

  Args:
    config: the method's.

  Returns:
    Both, with the steps and the optimizer of fine-tuning.
  """
  tune = config.tune
  encoder = dataclasses.replace(config.encoder, steps=tune.steps)
  settings = dataclasses.replace(
    recipes.settings(encoder, config.learner),
    optimizer=tune.optimizer,
    learning_rate=tune.learning_rate,
    warmup=tune.warmup,
    final_rate=0.0,
    # Pre-training is over: nothing waits or warms up again.
    freeze=0.0,
    teacher_warmup=0.0,
    queue_start=0.0,
  )
  return encoder, settings


def create(
  config: Config,
  pretrained: Mapping[str, PyTree],
  found: Mapping[str, Array],
  seed: Any,
  shape: tuple[int, ...],
  classes: int,
) -> Tuned:
  """Fine-tuning at step 0.

  Args:
    config: the method's.
    pretrained: what pre-training left: "params", "slow" and "model_state".
    found: the pre-trained encoder's "chosen" and "eps".
    seed: the run's.
    shape: of an image.
    classes: how many.

  Returns:
    The state; the optimizer starts anew.
  """
  encoder, settings = schedule(config)
  learner = LEARNERS[config.learner]
  tx = state.optimizer(encoder, settings, learner)
  fresh = state.create_state(
    encoder, settings, learner, seed, shape, classes, tx=tx
  )
  copied = {
    name: jax.tree.map(lambda x: jnp.array(x, copy=True), pretrained[name])
    for name in ("params", "slow", "model_state")
  }
  fresh = fresh.replace(
    seed=fresh.seed ^ jnp.uint32(STREAM),
    opt_state=tx.init(copied["params"]),
    **copied,
  )
  return Tuned(fresh, jnp.asarray(found["chosen"]), jnp.asarray(found["eps"]))


def make_train_step(config: Config, arm: str) -> Callable[..., Any]:
  """An arm's step.

  Args:
    config: the method's.
    arm: which.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  encoder, settings = schedule(config)
  learner, own = LEARNERS[config.learner], penalties(config.tune, arm)

  def train_step(carried, batch, *, axis_name=None):
    extra = make_terms(config.tune, own, carried.chosen, carried.eps)
    step = steps.make_train_step(
      encoder, settings, learner, extra_terms=[extra] if extra[1] else ()
    )
    new, metrics = step(carried.learner, batch, axis_name=axis_name)
    return carried.replace(learner=new), metrics

  return train_step
