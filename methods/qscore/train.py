"""The phases of a run, and the finished discovery, to use."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax

from kd_jax import experiment
from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import (
  checked,
  encoders,
  files,
  measuring,
  representations,
  validate,
)
from kd_jax.methods.qscore.config import Config
from kd_jax.methods.ssl import evaluation

PyTree = Any
OWN = "own"


def phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own by role: representations under "features" (a path or a
      dict of arrays), images to train an encoder on under "images".
    say: takes lines of news.

  Returns:
    What is trained and measured, arm by arm.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  validate.check_band(config)
  _check_roles(config, data)
  made: list[Any] = []
  if OWN in config.arms:
    made += own_phases(config, data, say)
  if others := tuple(arm for arm in config.arms if arm != OWN):
    images = {k: v for k, v in data.items() if k == "images"}
    made += encoders.phases(config, others, images, say)
  return made


def _check_roles(config, data):
  """Whether all data that is given is looked at by some arm."""
  if unknown := sorted(set(data) - {"features", "images"}):
    raise UsageError(
      f"qscore has no role {unknown[0]!r} for data; there are features, images"
    )
  given = "features" in data or config.features != "planted"
  if given and OWN not in config.arms:
    raise UsageError(
      f"features are given, which no arm of {', '.join(config.arms)} looks at: "
      "take --arms own"
    )
  others = {
    "run is": config.run,
    "images are": "images" in data,
    "heat.masks is": config.heat.masks,
  }
  unread = [name for name, there in others.items() if there]
  if unread and set(config.arms) == {OWN}:
    raise UsageError(
      f"{unread[0]} given, which the arm own does not look at: take --arms base"
    )


def own_phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.WholeRun]:
  """What is measured of representations that are there.

  Args:
    config: the configuration.
    data: may hold "features".
    say: takes lines of news.

  Returns:
    The phases.

  Raises:
    DataError: for arrays that cannot be used.
  """
  table = files.load(config, data)
  r = table.arrays["train_features"].shape[1]
  validate.check_threshold(config, r)
  arrays = {k: v for k, v in table.arrays.items() if k != "test_image"}
  say(
    f"{table.name}: {len(arrays['train_labels']):,} and "
    f"{len(arrays['test_labels']):,} representations of "
    f"{r:,} coordinates, {table.classes} "
    f"classes{', maps and masks' if table.masked else ''}"
  )
  below = (arrays["train_features"] < 0).mean()
  if below > 0:
    say(
      f"{below:.0%} of the coordinates are below 0; the paper's, after a ReLU, "
      "are not"
    )
  flat = {k: v for k, v in arrays.items() if k not in checked.MASKS}
  made = measuring.phases(config, OWN, table.classes, flat)
  if table.masked:
    run = measuring.make_interpret(config, OWN)
    made.append(experiment.WholeRun("interpret", run, arrays, OWN))
  return made


def own_files(config: Config) -> dict[str, str]:
  """The user's own files among a configuration's values.

  Args:
    config: the configuration.

  Returns:
    Paths by the name of the field; none for planted codes and data sets by
    name.
  """
  found, name = {}, os.fspath(config.features)
  if OWN in config.arms and name != "planted":
    found["features"] = name
  images = config.encoder.data.images
  if set(config.arms) - {OWN} and sources.is_path(images):
    found["encoder.data.images"] = images
  return found


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The score of the run's last arm, to use.

  Args:
    config: the configuration.
    products: of a run.

  Returns:
    `apply(variables, x) -> (scores, what they are made of)`, x representations
    (n, r) with the arm "own", else images as bytes (n, h, w, c); and the
    variables: "chosen" (D), "eps", "percent" (A) and the encoder's.
  """
  arm = config.arms[-1]
  product = products[f"{arm}.discover"]
  found = {k: product[k] for k in ("chosen", "eps", "percent")}
  if arm == OWN:
    return jax.jit(measuring.score), found

  encoder = encoders.resolve(config).encoder

  def score(variables, images):
    _, h = evaluation.observe(encoder, variables["encoder"], images)
    return measuring.score(variables, h)

  return jax.jit(score), {
    **found,
    "encoder": representations.trained(products, arm),
  }
