"""KD^3 as phases: a teacher, the web it is asked about, a student per arm."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.kd3 import data as tables
from kd_jax.methods.kd3 import evaluation, model, selection, state, steps
from kd_jax.methods.kd3.config import Config, of_arm

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
    UsageError: for data that do not fit together.
  """
  found = tables.load(config.data, config.seed, data, say)
  shared = [teacher_phase(config, found), web_phase(config, found)]
  return shared + [student_phase(config, arm, found) for arm in config.arms]


def fused() -> bool:
  """Whether steps may be fused: convolutions in a loop are slow on a CPU."""
  return jax.default_backend() != "cpu"


def teacher_phase(config: Config, found: tables.Tables) -> experiment.Phase:
  """The teacher on the original task.

  Args:
    config: the method's configuration.
    found: the data.

  Returns:
    The phase; its product is the teacher's "params" and "batch_stats".
  """
  shape, classes = found.train["image"].shape[1:], found.classes
  return experiment.Phase(
    name="teacher",
    init=lambda products, seed: state.create_teacher_state(
      config, seed, shape, classes
    ),
    step=pipeline.from_columns(
      steps.make_teacher_step(config), config.batch_size
    ),
    steps=config.teacher_steps,
    data=found.train,
    product=lambda s: {"params": s.params, **s.model_state},
    evaluations=_evaluations(config, found, model.teacher_predict),
    fused=fused(),
    batch_size=config.batch_size,
  )


def _evaluations(config, found, predict):
  run = pipeline.over_columns(
    evaluation.make_eval_step(config, predict), config.score_batch_size
  )
  return {
    name: experiment.Evaluation(run, columns)
    for name, columns in (("val", found.val), ("test", found.test))
  }


def web_phase(config: Config, found: tables.Tables) -> experiment.WholeRun:
  """What is on the web, and how good the teacher is on the original task.

  Args:
    config: the method's configuration.
    found: the data.

  Returns:
    The phase; see `find_web`.
  """
  return experiment.WholeRun(
    name="web",
    run=functools.partial(find_web, config, found.quota),
    data={
      "web": found.web,
      "val": {k: found.val[k] for k in ("image", "label")},
    },
  )


def find_web(
  config: Config, quota: int, products: experiment.Products, data: PyTree, seed
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """Balances the web as a query per class would.

  Of the irrelevant images, m stay per class that the teacher takes them for,
  with m the quota or, if that is less, how many the rarest class has.

  Args:
    config: the method's configuration.
    quota: irrelevant images per class at most; 0 keeps everything.
    products: the teacher.
    data: "web" (its "relevant" images first) and "val".
    seed: not used: the images stand in random order.

  Returns:
    "index" (rows of the web's columns that are on it, padded to a size that
    does not depend on the teacher), "count" (how many are not padding) and
    "teacher_accuracy" (on the validation images); and what is logged.
  """
  del seed
  teacher, web = products["teacher"], data["web"]
  classes = teacher["params"]["head"]["kernel"].shape[-1]

  def predict(variables, batch, *, axis_name=None):
    del axis_name
    x = model.prepare(config.data, batch["image"])
    return model.teacher_predict(config, variables, x).logits.argmax(-1)

  classify = pipeline.map_columns(predict, config.score_batch_size)
  right = classify(teacher, data["val"]) == data["val"]["label"]
  n = web["image"].shape[0]
  index, count = jnp.arange(n, dtype=jnp.int32), jnp.int32(n)
  logged = {}
  if quota:
    keep, smallest = _balance(
      classify(teacher, web), web["relevant"], quota, classes
    )
    size = min(n, int(_most(data, quota, classes)))
    index = jnp.argsort(~keep, stable=True)[:size].astype(jnp.int32)
    count = keep.sum().astype(jnp.int32)
    logged["per_class"] = smallest
    logged["share_relevant"] = (web["relevant"] & keep).sum() / count
  product = {
    "index": index,
    "count": count,
    "teacher_accuracy": right.mean(dtype=jnp.float32),
  }
  return product, {"images": count, **logged}
