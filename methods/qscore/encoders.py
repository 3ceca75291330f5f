"""Phases of a run that trains its own encoder: ssl's, and those that follow.

An encoder is trained once; every arm but "base" goes on from it, and each one's
representations are measured alike.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kd_jax import api, experiment
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import tuning, validate
from kd_jax.methods.qscore.config import Config
from kd_jax.methods.qscore.representations import BASE, known_of, measured
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import model
from kd_jax.methods.ssl import train as pretraining
from kd_jax.methods.ssl import validate as ssl_validate
from kd_jax.methods.ssl.learners import LEARNERS


def resolve(config: Config) -> Config:
  """The configuration with that of the encoder it is about.

  Args:
    config: the configuration.

  Returns:
    It, ssl's part that of the finished run if there is one, else with the
    run's seed and learner.

  Raises:
    UsageError: for an unknown learner, or a run that lacks it.
  """
  if config.learner not in LEARNERS:
    raise UsageError(
      f"learner is {config.learner!r}; it is one of {', '.join(LEARNERS)}"
    )
  if config.run:
    own = api.open_run(config.run, "ssl").config
    if config.learner not in own.arms:
      raise UsageError(
        f"{config.run} has the arms {', '.join(own.arms)} and not "
        f"{config.learner}: give --learner"
      )
  else:
    own = dataclasses.replace(config.encoder, seed=config.seed)
  own = dataclasses.replace(own, arms=(config.learner,))
  return dataclasses.replace(config, encoder=own)


def phases(
  config: Config,
  arms: tuple[str, ...],
  data: Mapping[str, Any],
  say: Callable[[str], None],
) -> list[experiment.Phase | experiment.WholeRun]:
  """Pre-training, fine-tuning and measuring.

  Args:
    config: the configuration.
    arms: those of the run that train.
    data: the user's own images by the role "images".
    say: takes lines of news.

  Returns:
    The phases; "base" comes first, asked for or not.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  config = resolve(config)
  ssl_validate.check(config.encoder)
  validate.check_threshold(config, model.length(config.encoder.net))
  found = tables.load(config.encoder, data, say)
  if not found.classes:
    raise UsageError(
      "qscore's probes need labels; encoder.data.labelled is off"
    )
  known = known_of(config, found, data)
  if config.run:
    say(f"the encoder, its images and steps are those of {config.run}")
  if not set(arms) <= {BASE}:
    check_tunable(config)
  made: list[Any] = []
  for arm in dict.fromkeys((BASE, *arms)):
    made.append(
      base_phase(config, found, data)
      if arm == BASE
      else tune_phase(config, arm, found)
    )
    made += measured(config, arm, found, known)
  return made


def check_tunable(config: Config) -> None:
  """Refuses to fine-tune what cannot be.

  Args:
    config: the configuration, resolved.

  Raises:
    UsageError: says why.
  """
  if not LEARNERS[config.learner].trains:
    raise UsageError(f"{config.learner} is not trained, and cannot be tuned")


def base_phase(
  config: Config, found: tables.Tables, data: Mapping[str, Any]
) -> experiment.Phase | experiment.WholeRun:
  """The encoder before fine-tuning: trained here, or of a finished run.

  Args:
    config: the configuration, resolved.
    found: the images.
    data: the user's own, which a finished run had, too.

  Returns:
    The phase "base.pretrain"; its product is all that fine-tuning goes on from
    (`ssl.train.kept`).
  """
  if config.run:
    finished = api.open_run(config.run, "ssl", data or None).products
    return experiment.WholeRun(
      "pretrain",
      lambda products, data, seed: (data, {}),
      finished[f"{config.learner}.pretrain"],
      BASE,
    )
  phase = pretraining.pretrain_phase(config.encoder, config.learner, found)
  return dataclasses.replace(phase, arm=BASE, evaluations={})


def tune_phase(
  config: Config, arm: str, found: tables.Tables
) -> experiment.Phase:
  """An arm's fine-tuning.

  Args:
    config: the configuration, resolved.
    arm: which.
    found: the images.

  Returns:
    The phase.
  """

  def init(products, seed):
    return tuning.create(
      config,
      arm,
      products[f"{BASE}.pretrain"],
      products[f"{BASE}.discover"],
      seed,
      found.shape,
      found.classes,
    )

  step = tuning.make_train_step(config)
  return experiment.Phase(
    name="tune",
    arm=arm,
    init=init,
    step=pipeline.from_columns(step, config.encoder.batch_size),
    steps=config.tune.steps,
    data=found.train,
    product=lambda s: {
      "params": s.learner.params,
      "batch_stats": s.learner.model_state["online"],
    },
    batch_size=config.encoder.batch_size,
  )
