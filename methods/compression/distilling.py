"""The arms that learn from a teacher: a small student, its loss and its step.

Loss: (1 - a) CE(y, z_s) + a tau^2 KL(softmax(z_t / tau) || softmax(z_s / tau)),
summed over classes and meaned over images; or CE and a term on features. The
teacher is in evaluation mode. A hint is the last feature map behind a linear
map (a 1x1 convolution); FitNets' two stages are in `fitnets`.
Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float

from kd_jax import backbones, experiment, losses
from kd_jax.datasets import pipeline as feeding
from kd_jax.errors import UsageError
from kd_jax.methods.compression import arms, fitnets, hosts, training
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.data import Tables
from kd_jax.methods.compression.model import Model
from kd_jax.training import step as stepping
from kd_jax.training.state import State

PyTree = Any


class Outputs(NamedTuple):
  """What a student's pass gives.

  Attributes:
    student: its features and logits.
    teacher: the teacher's; None without one.
    hinted: the student's features in the teacher's channels; None without.
  """

  student: backbones.Features
  teacher: backbones.Features | None
  hinted: Float[Array, "b h w t"] | None


@struct.dataclass
class StudentState(State):
  """A student's state; `params` holds "student", and "hint" where it has one.

  Attributes:
    teacher: the teacher's variables; constant, {} without one.
  """

  teacher: PyTree


def teacher_model(config: Config, found: Tables) -> Model:
  """The teacher."""
  return _model(config, "teacher", found)


def student_model(config: Config, found: Tables) -> Model:
  """The student."""
  return _model(config, "student", found)


def _model(config, role, found) -> Model:
  name = getattr(config.distil, f"{role}_model")
  how = {}
  if name == "lenet_300_100":
    how = {"widths": getattr(config.distil, role)}
  module = hosts.create(name, found.classes, **how)
  return Model(module, found.image, config.mean, config.std)


def teacher_phase(config: Config, found: Tables) -> experiment.Phase:
  """Trains the teacher on all training images.

  Args:
    config: the configuration.
    found: the data.

  Returns:
    The phase, shared by the arms.
  """
  model = teacher_model(config, found)
  model.shapes()

  def init(products, seed):
    del products
    return model.init(jax.random.fold_in(jax.random.key(seed), 2)), {}

  return training.training_phase(
    config,
    model,
    training.NOTHING,
    init,
    found,
    name="teacher",
    arm="",
    rate=config.learning_rate,
    steps=config.dense_steps,
  )


def make_terms(config: Config, arm: str):
  """The terms and weights of an arm's loss.

  Args:
    config: temperature, weights, smoothing.
    arm: a name that begins with "kd", without what it is put to.

  Returns:
    `terms(outputs, batch, *, axis_name)` and weights by name.
  """
  distil = config.distil

  def terms(outputs, batch, *, axis_name=None):
    student, teacher = outputs.student, outputs.teacher
    where = batch.get("where")
    label = jax.nn.one_hot(batch["label"], student.logits.shape[-1])
    if arm == "kd_smooth":
      label = optax.smooth_labels(label, distil.smoothing)
    found = {
      "cross_entropy": optax.softmax_cross_entropy(student.logits, label)
    }
    if arm in ("kd", "kd_untrained"):
      found["kl"] = losses.distillation_kl(
        student.logits, teacher.logits, temperature=distil.temperature
      )
    if arm == "kd_hint":
      found["hint"] = losses.feature_regression(
        outputs.hinted, teacher.feature_map
      )
    if arm == "kd_attention":
      found["attention"] = losses.attention_mean_square(
        student.feature_map, teacher.feature_map
      )
    if arm == "kd_similarity":
      found["similarity"] = losses.similarity_preserving(
        student.feature_map,
        teacher.feature_map,
        where=where,
        axis_name=axis_name,
      )
    if arm == "kd_relations":
      pair = (student.pooled, teacher.pooled)
      how = {"where": where, "axis_name": axis_name}
      found["distance"] = losses.relational_distance(*pair, **how)
      found["angle"] = losses.relational_angle(*pair, **how)
    return found

  a = distil.weight
  more = {
    "kd": {"cross_entropy": 1 - a, "kl": a},
    "kd_untrained": {"cross_entropy": 1 - a, "kl": a},
    "kd_hint": {"hint": distil.hint},
    "kd_attention": {"attention": distil.attention},
    "kd_similarity": {"similarity": distil.similarity},
    "kd_relations": {"distance": distil.distance, "angle": distil.angle},
  }
  return terms, {"cross_entropy": 1.0, **more.get(arm, {})}


def phases(config: Config, found: Tables, arm: str) -> list[experiment.Phase]:
  """What an arm trains, the student last.

  Args:
    config: the configuration.
    found: the data.
    arm: its name.

  Returns:
    Its phases.
  """
  if arms.kind(arm) == "kd_fitnet":
    teacher, student = (
      teacher_model(config, found),
      student_model(config, found),
    )
    return fitnets.phases(config, teacher, student, found, arm)
  return [student_phase(config, found, arm)]


def student_phase(config: Config, found: Tables, arm: str) -> experiment.Phase:
  """Trains the student on its images; every arm starts alike.

  Args:
    config: the configuration.
    found: the data.
    arm: which loss.

  Returns:
    The phase; its product is as a pipeline's.
  """
  loss = arms.kind(arm)
  teacher, student = teacher_model(config, found), student_model(config, found)
  taught = loss not in ("kd_labels", "kd_smooth")
  few = found.few(config.distil.images)
  size = min(config.batch_size, len(few["label"]))
  tx = training.optimizer(config, config.distil.rate, config.dense_steps)

  def forward(params, state, batch, key, *, axis_name=None):
    x = training.inputs(config, student, batch, key)
    of_student, moved = student.train_features(
      {"params": params["student"], **state.model_state},
      x,
      key,
      batch["where"],
      axis_name,
    )
    of_teacher = teacher.features(state.teacher, x) if taught else None
    hinted = None
    if "hint" in params:
      size = of_teacher.feature_map.shape[1:3]
      hinted = pooled(of_student.feature_map, size) @ params["hint"]
    return Outputs(of_student, of_teacher, hinted), moved

  def init(products, seed):
    key = jax.random.key(seed)
    made = student.init(jax.random.fold_in(key, 3))
    params = {"student": made.pop("params")}
    of = {}
    if loss == "kd_untrained":
      of = teacher.init(jax.random.fold_in(key, 4))
    elif taught:
      of = products["teacher"]["variables"]
    if loss == "kd_hint":
      shape = [
        _channels(m, v)
        for m, v in ((student, {**made, "params": params["student"]}),
                     (teacher, of))
      ]  # fmt: skip
      lecun = jax.nn.initializers.lecun_normal()
      params["hint"] = lecun(jax.random.fold_in(key, 5), tuple(shape))
    return StudentState.create(
      seed=seed,
      params=params,
      opt_state=tx.init(params),
      model_state=made,
      teacher=jax.tree.map(lambda x: jnp.array(x, copy=True), of),
    )

  terms, weights = make_terms(config, loss)
  step = stepping.make_train_step(forward, terms, weights, tx)
  return experiment.Phase(
    name="student",
    arm=arm,
    init=init,
    step=feeding.from_columns(step, size),
    steps=config.dense_steps,
    data=few,
    product=lambda s: {
      "variables": {"params": s.params["student"], **s.model_state},
      "states": {},
    },
    batch_size=size,
  )


def pooled(
  x: Float[Array, "b h w c"], size: tuple[int, int]
) -> Float[Array, "b i j c"]:
  """Means over equal windows, to a size.

  Args:
    x: a feature map.
    size: the height and width to come to.

  Returns:
    The map.

  Raises:
    UsageError: if the size does not divide the map's.
  """
  (b, h, w, c), (i, j) = x.shape, size
  if h % i or w % j:
    raise UsageError(
      f"kd_hint: a student's map of {h}x{w} has no equal windows for the "
      f"teacher's {i}x{j}; take another pair of networks"
    )
  return x.reshape(b, i, h // i, j, w // j, c).mean((2, 4))


def _channels(model, variables) -> int:
  """Channels of a network's last feature map."""
  x = jax.ShapeDtypeStruct((1, *model.image), jnp.float32)
  return jax.eval_shape(model.features, variables, x).feature_map.shape[-1]
