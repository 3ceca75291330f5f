"""DAFL: no images at all, a generator makes what the teacher is sure of.

Generator and student learn on the same batch of made images: the generator that
the teacher be sure (one-hot), its features active and its classes balanced; the
student that it answer as the teacher does. No gradient of the one reaches the
other. Letters as in `model`; v noise, x = G(v) images, pbar the batch's mean of
softmax(zT).

Source: Chen et al., Data-Free Learning of Student Networks, ICCV 2019, as the
nearest rival's authors published it.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from kd_jax import accel, backbones, losses, metrics
from kd_jax.backbones.norm import statistics
from kd_jax.methods.kd3 import model, state
from kd_jax.methods.kd3.config import Config
from kd_jax.training import step as stepping
from kd_jax.training.state import row_keys

PyTree = Any
# Folded into the seed's key, and into a step's.
GENERATOR, NOISE = 3, 4


class Generator(nn.Module):
  """Noise to normalised images.

  Attributes:
    shape: of an image, (h, w, c).
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  shape: tuple[int, int, int]
  axis_name: str | None = None

  @nn.compact
  def __call__(self, v: Float[Array, "b e"]) -> Float[Array, "b h w c"]:
    """Makes images, normalised by the batch's own statistics.

    Args:
      v: noise.

    Returns:
      The images; each channel has mean 0 and variance 1 over the batch.
    """
    h, w, c = self.shape
    rows, columns = -(-h // 4), -(-w // 4)
    norm = functools.partial(backbones.BatchNorm, False, self.axis_name)
    x = nn.Dense(128 * rows * columns, name="dense")(v)
    x = norm(name="norm_0")(x.reshape(-1, rows, columns, 128))
    for i, width in enumerate((128, 64), 1):
      x = x.repeat(2, 1).repeat(2, 2)
      conv = backbones.Conv(width, (3, 3), padding=1, name=f"conv_{i}")
      x = nn.leaky_relu(norm(name=f"norm_{i}")(conv(x)), 0.2)
    x = backbones.Conv(c, (3, 3), padding=1, name="conv_3")(x)
    x = jnp.tanh(x[:, :h, :w])
    axis_name = None if self.is_initializing() else self.axis_name
    mean, var, _ = statistics(x, None, axis_name)
    wide = (1, 1, 1, c)
    return (x - mean.reshape(wide)) * jax.lax.rsqrt(var + 1e-5).reshape(wide)


class Outputs(NamedTuple):
  """What a pass gives.

  Attributes:
    zT: the teacher's logits of the made images.
    gT: its pooled features.
    zS: the student's logits.
  """

  zT: Float[Array, "b c"]
  gT: Float[Array, "b t"]
  zS: Float[Array, "b c"]


def forward(
  config: Config,
  params: PyTree,
  carried: state.StudentState,
  batch: Mapping[str, Array],
  key: Array,
  *,
  axis_name: str | None = None,
) -> tuple[Outputs, PyTree]:
  """Makes a batch of images, and has both networks look at it.

  Args:
    config: an arm's configuration.
    params: "student" and "generator".
    carried: the other variables, and the teacher.
    batch: "row"; of an image nothing is read.
    key: the step's key.
    axis_name: the devices over which the batch is spread.

  Returns:
    The outputs and the new running statistics.
  """
  keys = row_keys(jax.random.fold_in(key, NOISE), batch["row"])
  latent = params["generator"]["dense"]["kernel"].shape[0]
  v = jax.vmap(lambda k: jax.random.normal(k, (latent,)))(keys)
  others = carried.model_state
  made = {"params": params["generator"], **others["generator"]}
  x, generator = Generator(carried.image, axis_name).apply(
    made, v, mutable=["batch_stats"]
  )
  teacher = model.teacher_features(config, carried.teacher, x)
  module = model.student_module(config, carried.teacher, axis_name)
  student = {"params": params["student"], "batch_stats": others["batch_stats"]}
  found, updated = module.apply(
    student, jax.lax.stop_gradient(x), train=True, mutable=["batch_stats"]
  )
  outputs = Outputs(teacher.logits, teacher.pooled, found.logits)
  return outputs, {**updated, "generator": generator}


def terms(
  config: Config,
  outputs: Outputs,
  batch: Mapping[str, Array],
  *,
  axis_name: str | None = None,
) -> dict[str, Array]:
  """The generator's three terms and the student's one.

  Args:
    config: an arm's configuration.
    outputs: of `forward`.
    batch: not read.
    axis_name: the devices over which the batch is spread.

  Returns:
    One value per image: "one_hot" (cross-entropy of zT with its own argmax),
    "activation" (-mean |gT|), "kl"; and one number of the batch: "balance"
    (sum_c pbar_c log10 pbar_c, the entropy of pbar in negative).
  """
  del batch
  zT = outputs.zT.astype(jnp.float32)
  own = jax.lax.stop_gradient(zT.argmax(-1))
  pbar = accel.mean(jax.nn.softmax(zT).mean(0), axis_name)
  return {
    "one_hot": optax.softmax_cross_entropy_with_integer_labels(zT, own),
    "activation": -jnp.abs(outputs.gT).mean(-1),
    "balance": (pbar * jnp.log10(jnp.maximum(pbar, 1e-12))).sum(),
    "kl": losses.distillation_kl(
      outputs.zS, zT, temperature=config.loss.kl_temperature
    ),
  }


def optimizer(config: Config) -> optax.GradientTransformation:
  """The student's SGD, and Adam for the generator.

  Args:
    config: an arm's configuration.

  Returns:
    The transformation of {"student": ..., "generator": ...}.
  """
  sgd = state.optimizer(config.optim, config.epochs * config.epoch_steps)
  return optax.multi_transform(
    {"sgd": sgd, "adam": optax.adam(config.generator.learning_rate)},
    {"student": "sgd", "generator": "adam"},
  )


def create_state(
  config: Config,
  seed: Any,
  shape: tuple[int, ...],
  teacher: PyTree,
  web: Mapping[str, Array],
) -> state.StudentState:
  """Student and generator at step 0.

  Args:
    config: an arm's configuration.
    seed: the run's seed; may be traced.
    shape: of one image, (h, w, c).
    teacher: the teacher's variables.
    web: see `state.create_state`; no image of it is looked at.

  Returns:
    The state.
  """
  tx = optimizer(config)
  made = state.create_state(
    config, seed, shape, teacher, web, tx=optax.identity()
  )
  key = jax.random.fold_in(jax.random.key(seed), GENERATOR)
  generator = Generator(tuple(shape)).init(
    key, jnp.zeros((2, config.generator.latent))
  )
  params = {**made.params, "generator": generator["params"]}
  statistics = {"batch_stats": generator["batch_stats"]}
  return made.replace(
    params=params,
    opt_state=tx.init(params),
    model_state={**made.model_state, "generator": statistics},
    image=tuple(shape),
  )


def make_train_step(config: Config) -> Callable[..., Any]:
  """Builds the step of both.

  Args:
    config: an arm's configuration.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  own = config.generator
  weights = {
    "one_hot": 1.0,
    "activation": own.activation_weight,
    "balance": own.balance_weight,
    "kl": config.loss.kl_weight,
  }
  return stepping.make_train_step(
    functools.partial(forward, config),
    functools.partial(terms, config),
    weights,
    optimizer(config),
    measures=lambda out, batch: {
      "agreement": metrics.accuracy(out.zS, out.zT.argmax(-1), None)
    },
  )
