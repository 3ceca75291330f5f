"""Fine-tuning: a self-supervised step with penalties on the representation.

The whole state of the pre-training goes on (both networks, queue, centre); what
the arms differ in is the weight of the penalties, which the state carries, so
that one compiled program serves all of them. D is the pre-trained encoder's,
and constant.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
    columns: lambda_2, of the columns above theirs, summed as printed.
    columns_mean: of the same divided by 2N r (ours).
    lasso: of the absolute values of representations as they are, summed over
      the views.
  """

  gain: Any = 0.0
  columns: Any = 0.0
  columns_mean: Any = 0.0
  lasso: Any = 0.0


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
    "columns": Penalties(columns=c.columns),
    "balanced": Penalties(c.balanced_gain, columns_mean=c.balanced_columns),
    "strong": Penalties(c.strong),
    "strong_held": Penalties(c.strong, columns_mean=c.strong),
    "lasso": Penalties(lasso=c.lasso),
  }[arm]


def make_terms(
  config: TuneConfig,
  weights: Penalties,
  chosen: Bool[Array, "r"],
  eps: Float[Array, ""],
) -> tuple[Callable[..., dict[str, Array]], dict[str, Any]]:
  """The penalties as terms of a step, and their weights.

  Args:
    config: how they see representations.
    weights: numbers, or arrays; a term of weight 0 is logged, and moves
      nothing.
    chosen: D.
    eps: the threshold it was found with.

  Returns:
    A pair for `extra_terms` of ssl's step. A term's value for an image is the
    mean over its two global views; alpha, beta and sums are of all views of all
    devices.
  """

  def terms(
    outputs: Outputs, batch: Mapping[str, Array], *, axis_name=None
  ) -> dict[str, Array]:
    h = jnp.stack([view.h for view in outputs.views[:2]])
    v, b, r = h.shape
    h, where = h.reshape(v * b, r), batch.get("where")
    where = None if where is None else jnp.tile(where, v)
    how = {
      "normalize": config.normalize,
      "where": where,
      "axis_name": axis_name,
    }
    found = Penalties(
      gain=losses.q_score_loss(
        h, chosen, eps=eps, top_if_empty=config.top_if_empty, **how
      ),
      columns=losses.column_loss(h, **how),
      columns_mean=losses.column_loss(h, reduction="mean", **how),
      lasso=losses.lasso(h, where=where) * _count(where, v * b, axis_name),
    )
    return {k: x.reshape(v, b).mean(0) for k, x in found._asdict().items()}

  return terms, weights._asdict()


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
    weights: the arm's.
  """

  learner: state.SSLState
  chosen: Bool[Array, "r"]
  eps: Float[Array, ""]
  weights: Penalties

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
  arm: str,
  pretrained: Mapping[str, PyTree],
  found: Mapping[str, Array],
  seed: Any,
  shape: tuple[int, ...],
  classes: int,
) -> Tuned:
  """Fine-tuning at step 0.

  Args:
    config: the method's.
    arm: which.
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
  return Tuned(
    learner=fresh,
    chosen=jnp.asarray(found["chosen"]),
    eps=jnp.asarray(found["eps"]),
    weights=jax.tree.map(jnp.float32, penalties(config.tune, arm)),
  )


def make_train_step(config: Config) -> Callable[..., Any]:
  """Every arm's step.

  Args:
    config: the method's.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  encoder, settings = schedule(config)
  learner = LEARNERS[config.learner]

  def train_step(carried, batch, *, axis_name=None):
    extra = make_terms(
      config.tune, carried.weights, carried.chosen, carried.eps
    )
    step = steps.make_train_step(
      encoder, settings, learner, extra_terms=[extra]
    )
    new, metrics = step(carried.learner, batch, axis_name=axis_name)
    return carried.replace(learner=new), metrics

  return train_step
