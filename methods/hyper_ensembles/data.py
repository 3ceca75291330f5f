"""Images, and for each seed which of them are trained on, tuned on, judged by.

Tables hold rows, not copies of images: one set serves all seeds.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles.config import Config, DataConfig

# They have no test part of their own that is worth keeping: divided anew.
WHOLE = ("digits", "mnist_5k")
CORRUPTIONS = (
  "gaussian_noise",
  "shot_noise",
  "impulse_noise",
  "defocus_blur",
  "glass_blur",
  "motion_blur",
  "zoom_blur",
  "snow",
  "frost",
  "fog",
  "brightness",
  "contrast",
  "elastic_transform",
  "pixelate",
  "jpeg_compression",
)


@dataclasses.dataclass(frozen=True)
class Tables:
  """What a run learns from and is judged by.

  Attributes:
    learn: "image" uint8 (n, h, w, c), "label" (n,), and for each seed "train"
      (s, N), "train_label" (s, N), "val" (s, V), rows of the images.
    test: the same images, "label", "test" (s, T); "foreign" images or None;
      "corrupted" images (kinds, 5, T, h, w, c) or None.
    classes: how many labels there are.
    kinds: of the corrupted images that were given; none if they are made.
  """

  learn: Mapping[str, np.ndarray]
  test: Mapping[str, Any]
  classes: int
  kinds: tuple[str, ...] = ()

  @property
  def shape(self) -> tuple[int, ...]:
    """Of an image."""
    return self.learn["image"].shape[1:]


def load(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> Tables:
  """Loads and divides what a run learns from.

  Args:
    config: says what; its seed and `seeds` divide it.
    data: the user's own by role ("images", "foreign"), in place of what is
      configured: anything that `sources.load` takes.
    say: takes lines of news.

  Returns:
    The tables.

  Raises:
    UsageError: if there are fewer images than are asked for, or shapes differ.
    DataError: for data that cannot be used.
  """
  if unknown := sorted(set(data) - {"images", "foreign"}):
    raise UsageError(
      f"hyper_ensembles takes data for images and foreign, not {unknown[0]}"
    )
  own = data.get("images", config.data.name)
  images, labels, held = _read(own, say)
  classes = int(labels.max()) + 1
  channels = images.shape[-1]
  for name in ("mean", "std"):
    given = getattr(config.data, name)
    if len(given) not in (1, channels):
      raise UsageError(
        f"data.{name} has {len(given)} numbers, the images {channels} channels"
      )
  rows = [
    _divide(config.data, labels, held, classes, config.seed + i)
    for i in range(config.seeds)
  ]
  train, said, val, test = (
    np.stack(part).astype(np.int32) for part in zip(*rows, strict=True)
  )
  shared = {"image": images, "label": labels.astype(np.int32)}
  corrupted = None
  if config.data.corrupted:
    if not held:
      raise UsageError(
        f"data.corrupted is {config.data.corrupted}; these images have no test "
        "split for it to follow: leave it out"
      )
    corrupted = _corrupted(config.data, images, labels[test[0]], say)
  return Tables(
    learn={**shared, "train": train, "train_label": said, "val": val},
    test={
      **shared,
      "test": test,
      "foreign": _foreign(data, config.data, images, say),
      "corrupted": corrupted,
    },
    classes=classes,
    kinds=() if corrupted is None else CORRUPTIONS,
  )


def files(config: Config) -> dict[str, str]:
  """The user's own files and folders that a run reads.

  Args:
    config: the configuration.

  Returns:
    Their paths by field. Data sets that go by a name are not the user's.
  """
  given = {
    field: getattr(config.data, field)
    for field in ("name", "foreign", "corrupted")
  }
  return {
    f"data.{field}": spec
    for field, spec in given.items()
    if spec and sources.is_path(spec)
  }


def _read(own, say):
  """All images and labels, and how many at the end are for tests (or None)."""
  if isinstance(own, str) and own in WHOLE:
    found = sources.load(own, "all", say=say)
    return found["image"], found["label"], None
  train = sources.load(own, "train", say=say)
  classes = int(train["label"].max()) + 1
  test = sources.load(own, "test", classes=classes, say=say)
  if train["image"].shape[1:] != test["image"].shape[1:]:
    raise UsageError(
      f"training images are {train['image'].shape[1:]}, test images "
      f"{test['image'].shape[1:]}: they must be of one shape"
    )
  both = {k: np.concatenate([train[k], test[k]]) for k in ("image", "label")}
  return both["image"], both["label"], len(test["label"])


def _divide(config: DataConfig, labels, held, classes, seed):
  """Rows of one seed: training ones, their labels, validation, test."""
  rng = np.random.default_rng([seed, 11])
  n = len(labels) - (held or 0)
  order = rng.permutation(n)
  size = config.train or n - config.val - (0 if held else n // 5)
  left = n - size - config.val
  if size < 1 or left < (0 if held else 1):
    raise UsageError(
      f"data.train {config.train} and data.val {config.val} leave nothing of "
      f"{n} images" + ("" if held else " to test on")
    )
  train, val, rest = np.split(order, [size, size + config.val])
  test = np.arange(n, len(labels)) if held else rest
  return train, noisy(rng, labels[train], config.wrong, classes), val, test


def noisy(
  rng: np.random.Generator, labels: np.ndarray, share: float, classes: int
) -> np.ndarray:
  """Draws a share of labels anew, uniformly: some come out as they were.

  Args:
    rng: the generator.
    labels: the labels.
    share: of them.
    classes: how many.

  Returns:
    The labels.
  """
  changed = labels.copy()
  rows = rng.permutation(len(labels))[: round(share * len(labels))]
  changed[rows] = rng.integers(0, classes, len(rows))
  return changed


def _foreign(data, config, images, say):
  spec = data.get("foreign", config.foreign)
  if isinstance(spec, str) and not spec:
    return None
  found = sources.load(spec, "test", say=say)["image"]
  if found.shape[1:] != images.shape[1:]:
    raise UsageError(
      f"foreign images are {found.shape[1:]}, the others {images.shape[1:]}: "
      "they must be of one shape"
    )
  return found


def _corrupted(config, images, labels, say):
  """(kinds, 5, T, h, w, c) images of a data set, in the order of the test."""
  found = [
    [
      sources.load(config.corrupted, f"{kind}_{severity}", say=say)
      for severity in range(1, 6)
    ]
    for kind in CORRUPTIONS
  ]
  for one in itertools.chain(*found):
    if not np.array_equal(one["label"], labels):
      raise UsageError(
        f"{config.corrupted} has {len(one['label'])} images with other labels "
        f"than the {len(labels)} test images; it must be these, corrupted, in "
        "their order"
      )
  stacked = np.stack([[one["image"] for one in row] for row in found])
  if stacked.shape[3:] != images.shape[1:]:
    raise UsageError(
      f"images of {config.corrupted} are {stacked.shape[3:]}, the others "
      f"{images.shape[1:]}: they must be of one shape"
    )
  return stacked
