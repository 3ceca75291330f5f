"""What a run learns from: columns of images, cut by the seed."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.methods.compression.config import Config

Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tables:
  """Columns "image" (uint8) and "label".

  Attributes:
    train: what is learned from.
    val: what settings are chosen by.
    test: what is reported.
    classes: how many labels there are.
  """

  train: Columns
  val: Columns
  test: Columns
  classes: int

  @property
  def image(self) -> tuple[int, ...]:
    """The shape of one image."""
    return self.train["image"].shape[1:]

  def few(self, count: int) -> Columns:
    """The first so many training images, all if 0."""
    most = count or len(self.train["label"])
    return {k: v[:most] for k, v in self.train.items()}


def load(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> Tables:
  """Loads the data.

  Args:
    config: names it, and says how much is used.
    data: the user's own in the role "images", in the place of `config.data`.
    say: takes lines of news.

  Returns:
    The tables; which training images are for validation is drawn by the seed.

  Raises:
    UsageError: for another role, more images than there are, or test images of
      another shape.
    DataError: for data that cannot be used.
  """
  if unknown := sorted(set(data) - {"images"}):
    raise UsageError(f"compression takes data for images, not {unknown[0]}")
  source = data.get("images", config.data)
  train = sources.load(source, "train", say=say)
  classes = int(train["label"].max()) + 1
  test = sources.load(source, "test", classes=classes, say=say)
  sizes = [t["image"].shape[1:] for t in (train, test)]
  if sizes[0] != sizes[1]:
    raise UsageError(
      "images to learn from are {}, those to test on {}".format(
        *("x".join(map(str, size)) for size in sizes)
      )
    )
  channels = train["image"].shape[-1]
  if len(config.mean) not in (1, channels):
    raise UsageError(
      f"mean has {len(config.mean)} numbers, the images {channels} channels"
    )
  n = len(train["label"])
  wanted = config.train_images or n - config.val_images
  if wanted < 1 or wanted + config.val_images > n:
    raise UsageError(
      f"train_images {wanted} and val_images {config.val_images} are more "
      f"than the {n} images there are"
    )
  order = np.random.default_rng([config.seed, 0]).permutation(n)
  val, rest = np.split(order[: config.val_images + wanted], [config.val_images])
  return Tables(_take(train, rest), _take(train, val), _take(test), classes)


def _take(columns, rows=slice(None)) -> Columns:
  return {k: columns[k][rows] for k in ("image", "label")}
