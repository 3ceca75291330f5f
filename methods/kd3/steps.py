"""KD^3's pure steps: forward passes, terms, and what is made of them.

The total loss is L = L_fa + 0.001 L_mix (weighted feature alignment, and the
contrast of images with style-mixed ones); a baseline is another choice of
terms. Letters as in `model` and `selection`; x' is the mixed image, e an
embedding.

Source: Tang, Chen, Niu, Sugiyama and Gong, Distribution Shift Matters for
Knowledge Distillation with Webly Collected Images, ICCV 2023.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from kd_jax import augment, losses, metrics
from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import Config
from kd_jax.methods.kd3.state import (
  StudentState,
  student_optimizer,
)
from kd_jax.training import step as stepping
from kd_jax.training.state import row_keys

PyTree = Any


class Outputs(NamedTuple):
  """What a student's forward pass gives.

  Attributes:
    zT: the teacher's logits.
    zS: the student's, through the classifier that is deployed.
    fT: the teacher's last feature map, at the projected map's size.
    projected: P(fS); None where features are not learned.
    embeddings: (Es(gS), Es(gS')), (Et(gT), Et(gT')); None without contrast.
    transition: Q of the noisy labels; None without them.
  """

  zT: Float[Array, "b c"]
  zS: Float[Array, "b c"]
  fT: Float[Array, "b h w t"]
  projected: Float[Array, "b h w t"] | None
  embeddings: tuple[Any, Any] | None
  transition: Float[Array, "c c"] | None


def forward(
  config: Config,
  params: PyTree,
  state: StudentState,
  batch: Mapping[str, Array],
  key: Array,
  *,
  axis_name: str | None = None,
) -> tuple[Outputs, PyTree]:
  """Student and teacher on a batch and, if contrasted, on its mixed version.

  The student's two passes are made one after the other, each normalised by its
  own statistics; the teacher's are one, in evaluation mode.

  Args:
    config: an arm's configuration.
    params: the student's.
    state: its other variables, and the teacher.
    batch: "image" (uint8) and "row", perhaps "where".
    key: the step's key.
    axis_name: the devices over which the batch is spread.

  Returns:
    The outputs and the new running statistics.
  """
  loss, where = config.loss, batch.get("where")
  x = inputs.drawn(config, key, batch)
  mixed = _mixed(config, key, x, batch, axis_name)
  size = model.map_size(config, state.teacher, x)
  module = model.student_module(config, state.teacher, axis_name)

  def passes(student):
    clean = student(x, train=True, where=where)
    projected = None
    if loss.feature_weight:
      projected = student.project(
        clean.feature_map, size, train=True, where=where
      )
    other = None if mixed is None else student(mixed, train=True, where=where)
    return clean, projected, other

  variables = {"params": params["student"], **state.model_state}
  (clean, projected, other), model_state = module.apply(
    variables, method=passes, mutable=["batch_stats"]
  )
  teacher = _teacher(config, state.teacher, x, mixed)
  head = state.teacher["params"]["head"]
  zS = clean.logits
  if loss.classifier == "shared":
    zS = model.classify(head, model.pooled(projected))
  f = teacher.feature_map[: x.shape[0]]
  outputs = Outputs(
    zT=teacher.logits[: x.shape[0]],
    zS=zS,
    fT=f if projected is None else model.pool_to(f, projected.shape[1:3]),
    projected=projected,
    embeddings=None,
    transition=transition(params, state),
  )
  if mixed is not None:
    student = jnp.concatenate([clean.pooled, other.pooled])
    embedded = module.apply(variables, student, teacher.pooled, method="embed")
    pairs = [tuple(jnp.split(e, 2)) for e in embedded]
    outputs = outputs._replace(embeddings=tuple(pairs))
  return outputs, model_state


def _mixed(config, key, x, batch, axis_name):
  """x', which the contrast pairs with x; None without contrast."""
  loss, key = config.loss, jax.random.fold_in(key, inputs.MIXING)
  if loss.mix == "none":
    return None
  if loss.mix == "noise":
    noise = augment.per_row(
      lambda k, image: (
        image + loss.mix_noise * jax.random.normal(k, image.shape)
      )
    )
    return noise(row_keys(key, batch["row"]), x)
  return augment.mix_statistics(
    key,
    x,
    batch["row"],
    concentration=loss.mix_concentration,
    where=batch.get("where"),
    axis_name=axis_name,
  )


def _teacher(config, teacher, x, mixed):
  every = x if mixed is None else jnp.concatenate([x, mixed])
  found = model.teacher_features(config, teacher, every)
  return jax.lax.stop_gradient(found)


def transition(params, state):
  """Q: the teacher's accuracy on the diagonal, the rest learned (DFND)."""
  if "transition" not in params:
    return None
  rest = jax.nn.softmax(params["transition"].astype(jnp.float32))
  c = rest.shape[0]
  # An exactly faultless teacher would leave nothing to learn.
  a = jnp.clip(state.accuracy, 0.5, 0.999)
  column, place = jnp.arange(c)[None, :], jnp.arange(c)[:, None]
  spread = jnp.take_along_axis(
    rest, jnp.minimum(column - (column > place), c - 2), axis=1
  )
  return jnp.where(column == place, a, (1 - a) * spread)


def terms(
  config: Config,
  outputs: Outputs,
  batch: Mapping[str, Array],
  *,
  axis_name: str | None = None,
) -> dict[str, Float[Array, "b"]]:
  """The terms that the configuration gives a weight.

  Args:
    config: an arm's configuration.
    outputs: of `forward`.
    batch: perhaps with "where".
    axis_name: the devices over which the batch is spread.

  Returns:
    By name, one value per image: "features" (L_fa), "contrast_student" and
    "contrast_teacher" (the halves of L_mix; the second trains nothing but Et),
    "contrast_cross", "kl", "noisy".
  """
  loss, where = config.loss, batch.get("where")
  found = {}
  if loss.feature_weight:
    found["features"] = losses.feature_regression(
      outputs.projected,
      outputs.fT,
      weights=losses.disagreement_weights(
        outputs.zS,
        outputs.zT,
        kind=loss.weighting,
        where=where,
        axis_name=axis_name,
      ),
      where=where,
    )
  if loss.kl_weight:
    found["kl"] = losses.distillation_kl(
      outputs.zS, outputs.zT, temperature=loss.kl_temperature, where=where
    )
  if loss.noisy_weight:
    found["noisy"] = losses.noisy_nll(
      outputs.zS, outputs.transition, outputs.zT.argmax(-1), where=where
    )
  if outputs.embeddings is not None:
    contrast = functools.partial(
      losses.nt_xent,
      temperature=loss.temperature,
      where=where,
      axis_name=axis_name,
    )
    student, teacher = outputs.embeddings
    found["contrast_student"] = contrast(*student)
    found["contrast_teacher"] = contrast(*teacher)
    if loss.cross:
      found["contrast_cross"] = contrast(student[0], teacher[1])
  return found


def weights(config: Config) -> dict[str, float]:
  """The weight of every term that `terms` gives.

  Args:
    config: an arm's configuration.

  Returns:
    Weights by name.
  """
  loss = config.loss
  found = {
    "features": loss.feature_weight,
    "kl": loss.kl_weight,
    "noisy": loss.noisy_weight,
  }
  found = {name: weight for name, weight in found.items() if weight}
  if loss.mix != "none":
    names = ["contrast_student", "contrast_teacher"]
    names += ["contrast_cross"] if loss.cross else []
    found |= dict.fromkeys(names, loss.mix_weight)
  return found


def measures(
  outputs: Outputs, batch: Mapping[str, Array]
) -> dict[str, metrics.Mean]:
  """What is logged beside the terms: how often student and teacher agree."""
  labels = outputs.zT.argmax(-1)
  where = batch.get("where")
  return {"agreement": metrics.accuracy(outputs.zS, labels, where)}


def make_train_step(
  config: Config,
  *,
  tx: optax.GradientTransformation | None = None,
  extra_terms=(),
) -> Callable[..., Any]:
  """Builds a student's step.

  Args:
    config: an arm's configuration.
    tx: the optimizer; `student_optimizer` if None.
    extra_terms: pairs of (function of `(outputs, batch, *, axis_name)`, weights
      by name), added to the loss.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  return stepping.make_train_step(
    functools.partial(forward, config),
    functools.partial(terms, config),
    weights(config),
    student_optimizer(config) if tx is None else tx,
    extra_terms=extra_terms,
    measures=measures,
    microbatches=config.microbatches,
  )
