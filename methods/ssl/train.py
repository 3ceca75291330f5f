"""The arms as phases: pre-training, and a linear probe where it is wanted."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax import experiment
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import evaluation, probe, recipes, state, steps
from kd_jax.methods.ssl.config import Config
from kd_jax.methods.ssl.learners import LEARNERS
from kd_jax.methods.ssl.validate import check, uneven

PyTree = Any
# Steps in which a random encoder's running statistics settle.
SETTLING = 50


def phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.Phase]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own images under "images".
    say: takes lines of news.

  Returns:
    For each arm "pretrain", and "probe" if `probe.steps` is not 0.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  check(config)
  for line in uneven(config):
    say(line)
  found = tables.load(config, data, say)
  made = []
  for arm in config.arms:
    made.append(pretrain_phase(config, arm, found))
    if config.probe.steps and found.classes:
      settings = recipes.settings(config, arm)
      made.append(probe.phase(config, settings, arm, found))
  return made


def pretrain_phase(
  config: Config, arm: str, found: tables.Tables
) -> experiment.Phase:
  """One arm's training.

  Args:
    config: the configuration.
    arm: which.
    found: the images.

  Returns:
    The phase; its product is what `kept` says.
  """
  settings = recipes.settings(config, arm)
  learner = LEARNERS[recipes.learner_of(arm)]
  step = steps.make_train_step(config, settings, learner)

  def evaluated(query, *, fit):
    judge = evaluation.make_judge(
      config, settings, learner, found.classes, fit=fit
    )
    return experiment.Evaluation(judge, {"bank": found.bank, "query": query})

  long = config.steps if learner.trains else min(config.steps, SETTLING)
  return experiment.Phase(
    name="pretrain",
    arm=arm,
    init=lambda products, seed: state.create_state(
      config, settings, learner, seed, found.shape, found.classes
    ),
    step=pipeline.from_columns(step, config.batch_size),
    steps=long,
    data=found.train,
    product=kept,
    evaluations={
      "val": evaluated(found.val, fit=False),
      "test": evaluated(found.test, fit=True),
    },
    batch_size=config.batch_size,
  )


def kept(trained: state.SSLState) -> dict[str, PyTree]:
  """What a run keeps of an arm: all that a training may go on from.

  Args:
    trained: the state after the last step.

  Returns:
    "params" and "batch_stats" of the online network; "slow" (parameters of the
    slow one, {} without) and "model_state" (running statistics of both, queue
    or centre), as in `state.SSLState`.
  """
  return {
    "params": trained.params,
    "batch_stats": trained.model_state["online"],
    "slow": trained.slow,
    "model_state": trained.model_state,
  }


def apply(
  config: Config, products: experiment.Products, arm: str | None = None
) -> tuple[Callable[..., jax.Array], PyTree]:
  """A trained encoder, to use.

  Args:
    config: the configuration.
    products: of a run.
    arm: which; the last of the run's that is neither a control nor a collapse
      if None.

  Returns:
    `apply(variables, images) -> h` for bytes (b, h, w, c), and the encoder's
    variables, without heads.

  Raises:
    UsageError: if the arm was not among the run's.
  """
  if arm is None:
    own = [a for a in config.arms if a in LEARNERS and not _control(a)]
    arm = (own or list(config.arms))[-1]
  if f"{arm}.pretrain" not in products:
    raise UsageError(
      f"there is no encoder to load: the run has the arms "
      f"{', '.join(config.arms)} and not {arm}"
    )
  variables = probe.encoder_of(products[f"{arm}.pretrain"])

  def encode(variables, images):
    return evaluation.encode(config, variables, jnp.asarray(images))

  return jax.jit(encode), variables


def _control(arm: str) -> bool:
  return LEARNERS[arm].labels or not LEARNERS[arm].trains
