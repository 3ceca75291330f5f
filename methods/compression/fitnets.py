"""FitNets: the lower layers learn a hint first, then the whole network.

Stage 1, up to the guided layer and a regressor r, nothing above it:
  L = 1/2 sum (u(x) - r(v(x)))^2, u the hint, v the guided features.
Stage 2, all of it: L = CE + lambda tau^2 KL, lambda falling on a line from 4 to
1; what stage 1 trained learns at a tenth of the rate.

The hint is what goes into the teacher's middle layer, the guided features what
goes into the student's; the regressor is a convolution whose kernel is as large
as the maps differ (a matrix for vectors).

Source: Romero et al. 2015 (FitNets), arXiv 1412.6550, sections 2.2 and 2.3
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from kd_jax import experiment, losses
from kd_jax.datasets import pipeline as feeding
from kd_jax.methods.compression import hints, training, trees
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.data import Tables
from kd_jax.methods.compression.model import Model
from kd_jax.training import step as stepping
from kd_jax.training.state import State

PyTree = Any
SCALE = 0.1


@struct.dataclass
class GuidedState(State):
  """`params` holds "student", and "regressor" in the first stage.

  Attributes:
    teacher: the teacher's variables; constant.
  """

  teacher: PyTree


def _part(tree: PyTree, paths: tuple[str, ...]) -> PyTree:
  """Which leaves are of the layers of these kernels."""
  layers = {p.rsplit("/", 1)[0] for p in paths}
  return trees.unflatten(
    {p: p.rsplit("/", 1)[0] in layers for p in trees.flatten(tree)}
  )


def hint_phase(
  config: Config, teacher: Model, student: Model, few: Any, arm: str
) -> experiment.Phase:
  """The first stage.

  Args:
    config: the configuration.
    teacher: the teacher.
    student: the student.
    few: the student's images.
    arm: the arm's name.

  Returns:
    The phase; its product is "student" and its "state".
  """
  up, low = hints.middle(teacher), hints.middle(student)
  order = student.order(student.shapes())
  above = order[order.index(low) :]

  def optimizer(params):
    still = {"student": _part(params["student"], above), "regressor": False}
    inner = training.optimizer(config, config.distil.rate, config.dense_steps)
    return optax.chain(inner, optax.masked(optax.set_to_zero(), still))

  def begin(seed):
    key = jax.random.key(seed)
    made = student.init(jax.random.fold_in(key, 3))
    return key, made, {"student": made.pop("params")}

  def init(products, seed):
    key, moving, params = begin(seed)
    of = products["teacher"]["variables"]
    x = jnp.zeros((1, *student.image))
    shapes = [
      jax.eval_shape(lambda v, m=m, p=p: m.tapped(v, x, p), v).shape[1:]
      for m, p, v in (
        (student, low, {**moving, "params": params["student"]}),
        (teacher, up, of),
      )
    ]
    shape = hints.regressor_shape(*shapes)
    lecun = jax.nn.initializers.lecun_normal()
    params["regressor"] = lecun(jax.random.fold_in(key, 5), shape)
    return GuidedState.create(
      seed=seed,
      params=params,
      opt_state=optimizer(params).init(params),
      model_state=moving,
      teacher=jax.tree.map(lambda x: jnp.array(x, copy=True), of),
    )

  def forward(params, state, batch, key, *, axis_name=None):
    x = training.inputs(config, student, batch, key)
    v, moved = student.train_tapped(
      {"params": params["student"], **state.model_state},
      x,
      low,
      key,
      batch["where"],
      axis_name,
    )
    u = teacher.tapped(state.teacher, x, up)
    return hints.Hinted(hints.regress(params["regressor"], v), u), moved

  shapes = jax.eval_shape(lambda: begin(0)[2])
  like = {**shapes, "regressor": None}
  step = stepping.make_train_step(
    forward, hints.hint_terms, {"hint": 1.0}, optimizer(like)
  )

  def product(state):
    return {"student": state.params["student"], "state": state.model_state}

  return _phase(config, few, arm, "hint", init, step, product)


def _phase(config, few, arm, name, init, step, product):
  size = min(config.batch_size, len(few["label"]))
  return experiment.Phase(
    name=name,
    arm=arm,
    init=init,
    step=feeding.from_columns(step, size),
    steps=config.dense_steps,
    data=few,
    product=product,
    batch_size=size,
  )


def outputs_phase(
  config: Config, teacher: Model, student: Model, few: Any, arm: str
) -> experiment.Phase:
  """The second stage.

  Args:
    config: the configuration.
    teacher: the teacher.
    student: the student.
    few: the student's images.
    arm: the arm's name.

  Returns:
    The phase; its product is as a pipeline's.
  """
  like = student.shapes()["params"]
  inner = training.optimizer(config, config.distil.rate, config.dense_steps)
  tx = optax.chain(
    inner, optax.masked(optax.scale(SCALE), _part(like, hints.below(student)))
  )

  def init(products, seed):
    before, of = products[f"{arm}.hint"], products["teacher"]["variables"]
    copied = [jax.tree.map(lambda x: jnp.array(x, copy=True), t)
              for t in (before["student"], before["state"], of)]  # fmt: skip
    return GuidedState.create(
      seed=seed,
      params=copied[0],
      opt_state=tx.init(copied[0]),
      model_state=copied[1],
      teacher=copied[2],
    )

  def forward(params, state, batch, key, *, axis_name=None):
    x = training.inputs(config, student, batch, key)
    logits, moved = student.train(
      {"params": params, **state.model_state},
      x,
      key,
      batch["where"],
      axis_name,
    )
    return (logits, teacher.logits(state.teacher, x)), moved

  def terms(outputs, batch, *, axis_name=None):
    logits, taught = outputs
    found = training.terms(logits, batch, axis_name=axis_name)
    found["kl"] = losses.distillation_kl(
      logits, taught, temperature=config.distil.temperature
    )
    return found

  weights = {"cross_entropy": 1.0, "kl": hints.falling(config.dense_steps)}
  step = stepping.make_train_step(forward, terms, weights, tx)

  def product(state):
    variables = {"params": state.params, **state.model_state}
    return {"variables": variables, "states": {}}

  return _phase(config, few, arm, "student", init, step, product)


def phases(
  config: Config, teacher: Model, student: Model, found: Tables, arm: str
) -> list[experiment.Phase]:
  """Both stages.

  Args:
    config: the configuration.
    teacher: the teacher.
    student: the student.
    found: the data.
    arm: the arm's name.

  Returns:
    The phases.
  """
  make = (config, teacher, student, found.few(config.distil.images), arm)
  return [hint_phase(*make), outputs_phase(*make)]
