"""The phases of a run, and the finished discovery, to use."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import files, measuring, validate
from kd_jax.methods.qscore.config import Config

PyTree = Any
OWN = "own"


def phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own representations by the role "features".
    say: takes lines of news.

  Returns:
    What is measured, arm by arm.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  validate.check_band(config)
  for arm in config.arms:
    if arm != OWN:
      raise UsageError(f"there is no arm {arm!r}; there is {OWN}")
  table = files.load(config, data)
  arrays = table.arrays
  say(
    f"{table.name}: {len(arrays['train_labels']):,} and "
    f"{len(arrays['test_labels']):,} representations of "
    f"{arrays['train_features'].shape[1]:,} coordinates, {table.classes} "
    f"classes{', maps and masks' if table.masked else ''}"
  )
  return measuring.phases(config, OWN, table)


def own_files(config: Config) -> dict[str, str]:
  """The user's own file among a configuration's values.

  Args:
    config: the configuration.

  Returns:
    Its path by the name of the field; nothing for planted codes.
  """
  name = os.fspath(config.features)
  return {} if name == "planted" else {"features": name}


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The score, to use on further representations of the same encoder.

  Args:
    config: the configuration.
    products: of a run.

  Returns:
    `apply(variables, h) -> (scores, what they are made of)`, and the variables:
    "chosen" (D), "eps" and "percent" (A).
  """
  product = products[f"{config.arms[-1]}.discover"]
  return jax.jit(measuring.score), {
    k: product[k] for k in ("chosen", "eps", "percent")
  }
