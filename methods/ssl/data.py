"""The images: real digits by default, or the user's own.

`data.images` takes what `datasets.sources.load` takes. Encoders see the
training images without their labels; probes are fitted on the same images with
them, settings are chosen on `val_images` that were set apart, and "test" is
read for what is reported.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kd_jax.datasets import hosted, sources
from kd_jax.errors import UsageError
from kd_jax.methods.ssl.config import Config

Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tables:
  """Columns of images (uint8, (n, h, w, c)) and, where there are, labels.

  Attributes:
    train: what encoders and probes learn from.
    val: for choosing settings.
    test: for reporting.
    bank: the training images whose labels neighbours and probes know; all of
      `train` as a rule.
    classes: how many labels there are; 0 without labels.
  """

  train: Columns
  val: Columns
  test: Columns
  bank: Columns
  classes: int

  @property
  def shape(self) -> tuple[int, ...]:
    """Of an image."""
    return self.train["image"].shape[1:]


def load(
  config: Config,
  data: Mapping[str, Any],
  say: Callable[[str], None],
) -> Tables:
  """Loads what a run looks at.

  Args:
    config: what to load; its seed draws the validation images.
    data: the user's own under "images", in place of the configured ones.
    say: takes lines of news.

  Returns:
    The tables.

  Raises:
    UsageError: for another role, or images that do not fit the configuration.
    DataError: for data that cannot be used; says what is wrong with it.
  """
  if unknown := sorted(set(data) - {"images"}):
    raise UsageError(f"ssl takes data for images, not {unknown[0]}")
  spec = data.get("images", config.data.images)
  size = config.data.image_size or None
  labelled = config.data.labelled
  how = {"image_size": size, "say": say, "labelled": labelled}
  if not labelled:
    return _unlabelled(config, sources.load(spec, "all", **how))
  train = sources.load(spec, "train", **how)
  classes = int(train["label"].max()) + 1
  test = sources.load(spec, "test", classes=classes, **how)
  if test["image"].shape[1:] != train["image"].shape[1:]:
    raise UsageError(
      f"test images are {test['image'].shape[1:]}, training images "
      f"{train['image'].shape[1:]}: give data.image_size"
    )
  order = np.random.default_rng([config.seed, 0]).permutation(
    len(train["label"])
  )
  cut = max(1, min(config.data.val_images, len(order) // 5))
  return _checked(
    config,
    Tables(
      train=_take(train, order[cut:]),
      val=_take(train, order[:cut]),
      test={k: test[k] for k in ("image", "label")},
      bank=_take(train, order[cut:][: config.probe.labels or None]),
      classes=classes,
    ),
  )


def _take(columns, rows):
  rows = np.sort(rows)
  return {k: columns[k][rows] for k in ("image", "label") if k in columns}


def _unlabelled(config, every):
  """Every tenth of a random order, at most 5,000, is for the monitors."""
  order = np.random.default_rng([config.seed, 0]).permutation(
    len(every["image"])
  )
  held = min(5000, len(order) // 10)
  if held < 2:
    raise UsageError(
      f"there are {len(order)} images, expected 20 or more: every tenth is "
      "held out"
    )
  apart = _take(every, order[:held])
  return _checked(
    config, Tables(_take(every, order[held:]), apart, apart, apart, classes=0)
  )


def _checked(config: Config, found: Tables) -> Tables:
  *sides, channels = found.shape
  data = config.data
  if data.view_size > min(sides):
    raise UsageError(
      f"data.view_size is {data.view_size}, the images are "
      f"{sides[0]}x{sides[1]}: views are not larger (data.image_size is, for "
      "images that are files)"
    )
  if len(data.mean) not in (1, channels):
    raise UsageError(
      f"data.mean has {len(data.mean)} numbers, the images {channels} channels"
    )
  if channels not in (1, 3):
    raise UsageError(f"the images have {channels} channels; views take 1 or 3")
  n = len(found.train["image"])
  if config.batch_size > n:
    raise UsageError(
      f"batch_size is {config.batch_size}; there are {n} training images"
    )
  if not config.probe.labels and found.classes:  # One copy on the devices.
    found = dataclasses.replace(found, bank=found.train)
  image = found.train["image"]
  how = data.streamed
  if how == "never" or (how == "auto" and hosted.fits(image.nbytes)):
    return found
  train = {**found.train, "image": hosted.Hosted(image)}
  bank = found.bank if config.probe.labels else train
  return dataclasses.replace(found, train=train, bank=bank)


def files(config: Config) -> dict[str, str]:
  """The user's own files and folders that a run reads.

  Args:
    config: the configuration.

  Returns:
    Their paths by field.
  """
  spec = config.data.images
  return {"data.images": spec} if spec and sources.is_path(spec) else {}
