"""KD^3 as phases: a teacher, the web it is asked about, a student per arm."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import backbones, experiment
from kd_jax.datasets import hosted, pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.kd3 import (
  dafl,
  evaluation,
  inputs,
  model,
  selection,
  state,
  steps,
  web,
)
from kd_jax.methods.kd3 import data as tables
from kd_jax.methods.kd3.arms import CHANGES, of_arm
from kd_jax.methods.kd3.config import Config
from kd_jax.methods.kd3.teacher import make_teacher_step
from kd_jax.methods.kd3.validate import check

PyTree = Any


def phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own data by role ("original", "web").
    say: takes lines of news.

  Returns:
    The teacher, the web, and a student for each arm. Apart from "kd_original"
    the students get columns of the web only.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  check(config)
  for arm, rate in config.own_rates:
    if arm not in CHANGES or not 0 < rate < math.inf:
      raise UsageError(
        f"own_rates has ({arm!r}, {rate}): it holds arms and their learning "
        "rates above 0"
      )
  for arm in config.arms:
    check(of_arm(config, arm))
  if not config.data.original and "original" not in data:
    _check_alone(config, data)
  found = tables.load(config.data, config.seed, data, say)
  found = _hosted(config, found)
  given = bool(config.teacher.file)
  first = given_teacher if given else teacher_phase
  shared = [first(config, found), web_phase(config, found)]
  return shared + [student_phase(config, arm, found) for arm in config.arms]


def _hosted(config: Config, found: tables.Tables) -> tables.Tables:
  """Leaves the web on the host if it is too large for a device."""
  image, how = found.web["image"], config.data.streamed
  if how == "never" or (how == "auto" and hosted.fits(image.nbytes)):
    return found
  if found.quota:
    raise UsageError(
      "data.streamed is always: the embedded web is not streamed"
    )
  web = {**found.web, "image": hosted.Hosted(image)}
  return dataclasses.replace(found, web=web)


def _check_alone(config: Config, data: Mapping[str, Any]) -> None:
  """Without original images there is a teacher, and no arm needs them."""
  if not config.teacher.file:
    raise UsageError(
      "there are no original images to train a teacher on: give --teacher FILE "
      "(a .safetensors file) or --data.original"
    )
  if config.data.web == "shifted_digits" and "web" not in data:
    raise UsageError("there are no web images: give --data.web FOLDER")
  if "kd_original" in config.arms:
    raise UsageError("the arm kd_original needs --data.original")


def given_teacher(config: Config, found: tables.Tables) -> experiment.WholeRun:
  """A teacher that one already has.

  Args:
    config: the method's configuration.
    found: the data, whose images it must take.

  Returns:
    The phase; its product is the teacher's "params" and "batch_stats".

  Raises:
    UsageError: if the file cannot be used, or is for other classes or channels.
  """
  path = config.teacher.file
  _, variables = backbones.load_resnet(os.path.expanduser(path))
  kernels = variables["params"]
  classes = kernels["head"]["kernel"].shape[-1]
  channels = kernels["conv_init"]["kernel"].shape[2]
  if found.classes and found.classes != classes:
    raise UsageError(
      f"{path} tells {classes} classes apart, the original images have "
      f"{found.classes}"
    )
  if channels != found.web["image"].shape[-1]:
    raise UsageError(
      f"{path} takes images of {channels} channels, those of the web have "
      f"{found.web['image'].shape[-1]}"
    )
  return experiment.WholeRun(
    name="teacher",
    run=lambda products, data, seed: (data, {"classes": jnp.int32(classes)}),
    data=variables,
  )


def teacher_phase(config: Config, found: tables.Tables) -> experiment.Phase:
  """The teacher on the original task.

  Args:
    config: the method's configuration.
    found: the data.

  Returns:
    The phase; its product is the teacher's "params" and "batch_stats".
  """
  shape, classes = found.train["image"].shape[1:], found.classes
  size = config.teacher_batch_size or config.batch_size
  return experiment.Phase(
    name="teacher",
    init=lambda products, seed: state.create_teacher_state(
      config, seed, shape, classes
    ),
    step=pipeline.from_columns(make_teacher_step(config), size),
    steps=config.teacher_steps,
    data=found.train,
    product=lambda s: {"params": s.params, **s.model_state},
    evaluations=_evaluations(config, found, model.teacher_predict),
    batch_size=size,
  )


def _evaluations(config, found, predict):
  def over(columns, *, shifts):
    step = evaluation.make_eval_step(config, predict, shifts=shifts)
    run = pipeline.over_columns(step, config.score_batch_size)
    return experiment.Evaluation(run, columns)

  plain = _plain(found.val)
  return {
    "val": over(plain, shifts=False),
    "test": over(found.test, shifts=True),
  }


def _plain(columns: tables.Columns) -> tables.Columns:
  """Without what is known because we made it."""
  return {k: columns[k] for k in ("image", "label") if k in columns}


def web_phase(config: Config, found: tables.Tables) -> experiment.WholeRun:
  """What is on the web, and how good the teacher is on the original task.

  Args:
    config: the method's configuration.
    found: the data.

  Returns:
    The phase; see `web.find_web`.
  """
  return experiment.WholeRun(
    name="web",
    run=functools.partial(web.find_web, config, found.quota, found.relevant),
    data={
      "web": found.web,
      "val": _plain(found.val),
    },
  )


def student_phase(
  config: Config, arm: str, found: tables.Tables
) -> experiment.Phase:
  """One arm's student.

  Args:
    config: the method's configuration.
    arm: which arm.
    found: the data. "kd_original" learns on the teacher's own images, every
      other arm on the web's alone.

  Returns:
    The phase; its product is what `model.student_predict` takes, the last
    selection ("web", "order", "front") and the selections' history.
  """
  own = of_arm(config, arm)
  original = arm == "kd_original"
  columns = {"image": found.train["image"]} if original else found.web
  shape = found.web["image"].shape[1:]

  def init(products, seed):
    pool = {**products["web"]}
    if original:
      n = columns["image"].shape[0]
      pool |= {"index": jnp.arange(n, dtype=jnp.int32), "count": jnp.int32(n)}
    return make_state(own, seed, shape, products["teacher"], pool)

  make_state, make_step = state.create_state, steps.make_train_step
  if arm == "dafl":  # It sees no image, and its batches have rows alone.
    make_state, make_step = dafl.create_state, dafl.make_train_step
    columns = {"nothing": np.zeros(len(found.web["image"]), np.uint8)}
  steps_of = config.epochs * config.epoch_steps
  evaluations = _evaluations(own, found, model.student_predict)
  epoch = None
  if own.select.rule != "none":
    every = config.epoch_steps if own.select.repeat else steps_of
    epoch = experiment.Epoch(selection.make_select(own), every, columns)
    if "relevant" in columns:
      run = evaluation.selection_shares
      evaluations["selection"] = experiment.Evaluation(run, None)
  return experiment.Phase(
    name="student",
    arm=arm,
    init=init,
    step=pipeline.from_columns(
      make_step(own), config.batch_size, draw=selection.draw
    ),
    steps=steps_of,
    data=columns,
    product=_product,
    evaluations=evaluations,
    epoch=epoch,
    batch_size=config.batch_size,
  )


def _product(s: state.StudentState) -> dict[str, PyTree]:
  chosen = {k: getattr(s, k) for k in ("web", "order", "front", "history")}
  return {**s.variables(), **chosen}


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The finished student, to use.

  Args:
    config: the configuration.
    products: of a run with the arm "kd3".

  Returns:
    `apply(variables, images) -> logits` for bytes (b, h, w, c), and the
    variables: the backbone, P, and of the teacher its classifier alone.

  Raises:
    UsageError: if the arm was not among the run's.
  """
  if "kd3.student" not in products:
    raise UsageError(
      f"there is no student to load: the run has the arms "
      f"{', '.join(config.arms)} and not kd3"
    )
  product = products["kd3.student"]
  parts = ("backbone", "projector")
  variables = {
    "params": {k: product["params"][k] for k in parts},
    # A backbone of the user's own may have none.
    "batch_stats": {
      k: v for k, v in product["batch_stats"].items() if k in parts
    },
    "teacher": {"params": {"head": product["teacher"]["params"]["head"]}},
  }
  if config.teacher.file:  # Its form is not in the configuration.
    variables["teacher"] = product["teacher"]

  def logits(variables, images):
    x = inputs.prepare(config.data, jnp.asarray(images))
    return model.student_predict(config, variables, x).logits

  return jax.jit(logits), variables
