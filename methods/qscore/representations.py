"""What a trained encoder gives of its images, and what that is worth.

Representations and activations of an arm's network, batch by batch, and the
phases that measure them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax import experiment
from kd_jax.datasets import catalog, decode, pipeline, sources
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import heatmaps, measuring
from kd_jax.methods.qscore.config import Config
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import evaluation

PyTree = Any
BASE = "base"
KINDS = ("core", "spurious")


def trained(products: Mapping[str, PyTree], arm: str) -> dict[str, PyTree]:
  """An arm's network, out of its product.

  Args:
    products: of a run.
    arm: whose.

  Returns:
    "params" and "batch_stats".
  """
  product = products[f"{arm}.{'pretrain' if arm == BASE else 'tune'}"]
  return {k: product[k] for k in ("params", "batch_stats")}


def known_of(
  config: Config, found: tables.Tables, data: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """What is known of the images beside what encoders see of them.

  Args:
    config: the configuration.
    found: the images.
    data: the user's own, which have no masks.

  Returns:
    Labels and, of data sets that have them, masks in [0, 1]; "masked_image" if
    these are of other images than the encoder's.

  Raises:
    UsageError: if `heat.masks` has no masks, or images of other channels.
    DataError: if it cannot be read.
  """
  known = {
    "train_labels": found.train["label"],
    "test_labels": found.test["label"],
  }
  if name := config.heat.masks:
    return {**known, **masked(name, found.shape[-1])}
  name = data.get("images", config.encoder.data.images)
  if not isinstance(name, str) or sources.is_path(name):
    return known
  columns = decode.columns(catalog.builder(name), "test")
  for kind in KINDS:
    if kind in columns and len(columns[kind]) == len(found.test["label"]):
      known[f"test_{kind}"] = _mask(columns[kind])
  return known


def masked(name: str, channels: int) -> dict[str, np.ndarray]:
  """Test images with masks, which are not those of the encoder.

  Args:
    name: of the data set.
    channels: of the encoder's images.

  Returns:
    "masked_image", and the masks of each in [0, 1].

  Raises:
    UsageError: if it has no masks, or images of other channels.
    DataError: if it cannot be read.
  """
  if not set(KINDS) <= set(catalog.builder(name).info.features):
    raise UsageError(
      f"heat.masks is {name!r}, which has no masks core and spurious; "
      "cluttered_mnist and salient_imagenet have"
    )
  image = sources.load(name, "test")["image"]
  if image.shape[-1] != channels:
    raise UsageError(
      f"heat.masks is {name!r}, whose images have {image.shape[-1]} channels; "
      f"the encoder's have {channels}"
    )
  columns = decode.columns(catalog.builder(name), "test")
  return {
    "masked_image": image,
    **{f"test_{k}": _mask(columns[k]) for k in KINDS},
  }


def _mask(column):
  return np.asarray(column)[..., 0].astype(np.float32) / 255


def measured(
  config: Config,
  arm: str,
  found: tables.Tables,
  known: Mapping[str, np.ndarray],
) -> list[experiment.WholeRun]:
  """Representations of an arm's encoder, and what they are worth.

  Args:
    config: the configuration.
    arm: whose.
    found: the images.
    known: labels and masks.

  Returns:
    "features", what `measuring.phases` gives, and "interpret" where there are
    masks.
  """
  whole = evaluation.features(config.encoder)

  def encode(products, data, seed):
    del seed
    variables = trained(products, arm)
    product = {
      f"{split}_features": whole(variables, {"image": data[split]})
      for split in ("train", "test")
    }
    return product, {}

  images = {"train": found.train["image"], "test": found.test["image"]}
  runs = [experiment.WholeRun("features", encode, images, arm)]
  labels = {k: v for k, v in known.items() if k.endswith("labels")}
  runs += measuring.phases(
    config,
    arm,
    found.classes,
    labels,
    lambda products: products[f"{arm}.features"],
  )
  if {"test_core", "test_spurious"} <= set(known):
    data = dict(known)
    if "masked_image" not in known:
      data["test"] = found.test["image"]
    run = make_interpret(config, arm)
    runs.append(experiment.WholeRun("interpret", run, data, arm))
  return runs


def make_interpret(config: Config, arm: str):
  """Heatmaps of an encoder, batch by batch, and where they lie."""
  own, encoder = config.heat, config.encoder

  def run(products, data, seed):
    del seed
    found, size = measuring.found_by(products, arm), data["test_core"].shape[1:]

    def look(variables, batch, *, axis_name=None):
      del axis_name
      maps, h = evaluation.observe(encoder, variables, batch["image"])
      taken = heatmaps.standing_out(maps, found, h)
      return heatmaps.heatmaps(maps, taken, size, own.combine)

    whole = pipeline.map_columns(look, encoder.score_batch_size)
    images = data["masked_image" if "masked_image" in data else "test"]
    heat = whole(trained(products, arm), {"image": images})
    return measuring.where_heat_lies(config, arm, heat, products, data)

  return run
