"""The original task and the web: real digits by default, or the user's own.

The embedded default is MNIST-5k at 14x14. The original task is to tell the
digits 0 to 4 apart. The web is what a search for them would bring: 500 other
images of these digits, and many times as many of something else, which are the
digits 5 to 9 and images glued from halves of them. All web images are shifted
in style: turned, blurred, dimmed and noisy. A query for a class brings about as
many hits as one for another, so of the something else no more than `quota`
images of each class stay, as the teacher takes them (`web.find_web`). Which
images are relevant is known here because we made the web; it decides what is on
it and what is reported, and no step sees it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.methods.kd3.config import Config, DataConfig

Columns = Mapping[str, np.ndarray]
CLASSES = 5
SHIFTS = 6
MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class Tables:
  """Columns of images (uint8, (n, h, w, c)) and what is known of them.

  Attributes:
    train: "image" and "label", what the teacher learns from; without original
      images, "image" of the web.
    val: the same, for choosing settings.
    test: the same; without original images, "image" of the web that nobody
      learns from; and "shifted", the images in a web style, if we made them.
    web: "image"; and "relevant" (bool) if we made them.
    classes: how many labels there are.
    quota: irrelevant images to keep per class; 0 keeps the web as it is.
    relevant: how many of the web's images are relevant, if we made them.
  """

  train: Columns
  val: Columns
  test: Columns
  web: Columns
  classes: int
  quota: int = 0
  relevant: int = 0


def load(
  config: DataConfig,
  seed: int,
  data: Mapping[str, Any],
  say: Callable[[str], None],
) -> Tables:
  """Loads what a run learns from.

  Args:
    config: what to load.
    seed: draws splits, and the embedded web.
    data: the user's own by role ("original", "web"), both or none, in place of
      the configured ones: anything that `sources.load` takes.
    say: takes lines of news.

  Returns:
    The tables.

  Raises:
    UsageError: for one role without the other, images of different sizes, or
      a `max_shift` as large as they are.
    DataError: for data that cannot be used; says what is wrong with it.
  """
  if unknown := sorted(set(data) - {"original", "web"}):
    raise UsageError(f"kd3 takes data for original and web, not {unknown[0]}")
  original = data.get("original", config.original)
  alone = isinstance(original, str) and not original
  if set(data) == {"original"} or (set(data) == {"web"} and not alone):
    raise UsageError("kd3 takes your own data for both original and web")
  if isinstance(original, str) and original == "digits_0_4":
    digits = sources.load("mnist_5k", "all", say=say)
    found = digits_and_web(digits["image"], digits["label"], config, seed)
  elif alone:
    found = _web_alone(data.get("web", config.web), config, seed, say)
  else:
    found = _own(original, data.get("web", config.web), config, seed, say)
  size = found.train["image"].shape[1:3]
  if config.max_shift >= min(size):
    raise UsageError(
      f"data.max_shift is {config.max_shift}; the images are "
      f"{size[0]}x{size[1]}, and nothing would be left of them"
    )
  return found


def files(config: Config) -> dict[str, str]:
  """The user's own files and folders that a run reads.

  Args:
    config: the method's configuration.

  Returns:
    Their paths by field. Data sets that go by a name are not the user's.
  """
  given = {"original": config.data.original, "web": config.data.web}
  embedded = ("digits_0_4", "shifted_digits")
  found = {
    f"data.{role}": spec
    for role, spec in given.items()
    if spec and spec not in embedded and sources.is_path(spec)
  }
  if config.teacher.file:
    found["teacher.file"] = config.teacher.file
  return found


def _own(original, web, config, seed, say) -> Tables:
  train = sources.load(original, "train", say=say)
  classes = int(train["label"].max()) + 1
  test = sources.load(original, "test", classes=classes, say=say)
  size = train["image"].shape[1:3]
  pool = sources.load(web, "all", labelled=False, image_size=size, say=say)
  for name, found in (("web", pool), ("test", test)):
    if found["image"].shape[1:] != train["image"].shape[1:]:
      raise UsageError(
        f"{name} images are {found['image'].shape[1:]}, the original training "
        f"images {train['image'].shape[1:]}: height, width and channels must "
        "be the same"
      )
  _check_channels(config, train["image"])
  order = np.random.default_rng([seed, 0]).permutation(len(train["label"]))
  cut = max(1, min(config.val_images, len(order) // 5))
  return Tables(
    train=_take(train, order[cut:]),
    val=_take(train, order[:cut]),
    test={k: test[k] for k in ("image", "label")},
    web={"image": pool["image"]},
    classes=classes,
  )


def _web_alone(web, config, seed, say) -> Tables:
  """No original images: what is measured is agreement, on held-out web images.

  Every tenth image of a random order is for that, at most 5,000.
  """
  size = config.image_size or None
  pool = sources.load(web, "all", labelled=False, image_size=size, say=say)
  image = pool["image"]
  _check_channels(config, image)
  order = np.random.default_rng([seed, 0]).permutation(len(image))
  held = min(5000, len(order) // 10)
  if held < 2:
    raise UsageError(
      f"the web has {len(order)} images, expected 20 or more: every tenth is "
      "held out"
    )
  test = {"image": image[np.sort(order[:held])]}
  rest = {"image": image[np.sort(order[held:])]}
  return Tables(train=rest, val=test, test=test, web=rest, classes=0)


def _check_channels(config, image) -> None:
  if len(config.mean) not in (1, image.shape[-1]):
    raise UsageError(
      f"data.mean has {len(config.mean)} numbers, the images "
      f"{image.shape[-1]} channels"
    )


def _take(columns: Columns, rows: np.ndarray) -> Columns:
  return {k: columns[k][rows] for k in ("image", "label")}


# The embedded default.


def digits_and_web(
  images: UInt8[np.ndarray, "n 28 28 1"],
  labels: np.ndarray,
  config: DataConfig,
  seed: int,
) -> Tables:
  """Makes the embedded task and its web; a pure function of the seed.

  Args:
    images: digits.
    labels: which.
    config: how many of what.
    seed: draws the split, the shifts and the order.

  Returns:
    The tables. The web's images stand in random order, the relevant ones first.

  Raises:
    UsageError: if more original images are asked for than there are, or so
      many copies that they fill the memory.
  """
  rng = np.random.default_rng([seed, 1])
  small = images.reshape(len(images), 14, 2, 14, 2).mean((2, 4)) / 255.0
  known = rng.permutation(np.flatnonzero(labels < CLASSES))
  sizes = (config.train_images, config.val_images, config.test_images)
  sizes = (*sizes, config.relevant)
  if sum(sizes) > len(known):
    raise UsageError(
      f"data.train_images, val_images, test_images and relevant add up to "
      f"{sum(sizes)}; the original task has {len(known)} images"
    )
  others = images[labels >= CLASSES]
  made = (1 + config.copies) * config.train_images
  made += (SHIFTS + config.halves) * len(others)
  if made > MOST:
    raise UsageError(
      f"data.copies {config.copies} and data.halves {config.halves} would make "
      f"{made} images, expected at most {MOST}"
    )
  train, val, test, web, _ = np.split(known, np.cumsum(sizes))
  copies = [shift(rng, small[train]) for _ in range(config.copies)]
  irrelevant = _irrelevant(rng, small[labels >= CLASSES], config.halves)
  pool = np.concatenate([shift(rng, small[web]), irrelevant])
  return Tables(
    train={
      "image": _bytes(np.concatenate([small[train], *copies])),
      "label": np.tile(labels[train], 1 + config.copies).astype(np.int32),
    },
    val=_labelled(rng, small[val], labels[val]),
    test=_labelled(rng, small[test], labels[test]),
    web={"image": _bytes(pool), "relevant": np.arange(len(pool)) < len(web)},
    classes=CLASSES,
    quota=config.quota,
    relevant=len(web),
  )


def _labelled(rng, images, labels) -> Columns:
  return {
    "image": _bytes(images),
    "label": labels.astype(np.int32),
    "shifted": _bytes(shift(rng, images)),
  }


def _irrelevant(rng, images, halves):
  """Shifted copies of images, and of images glued from two halves."""
  made = [images] * SHIFTS
  for _ in range(halves):
    left, right = images, images[rng.permutation(len(images))]
    made.append(np.concatenate([left[:, :, :7], right[:, :, 7:]], 2))
  made = np.concatenate(made)
  return shift(rng, made[rng.permutation(len(made))])


def _bytes(images) -> UInt8[np.ndarray, "n h w 1"]:
  return np.round(images * 255).astype(np.uint8)[..., None]


def shift(
  rng: np.random.Generator, images: Float[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n h w"]:
  """Changes the style of images, not what they show.

  Each is turned by U(-25, 25) degrees, blurred by a Gaussian of U(0, 0.5)
  pixels, dimmed by U(0.6, 1), and gets noise of N(0, 0.04).

  Args:
    rng: draws all of this.
    images: grey images in [0, 1].

  Returns:
    The images in new styles, in [0, 1].
  """
  n = len(images)
  turned = _turn(images, np.deg2rad(rng.uniform(-25, 25, n)))
  blurred = _blur(turned, rng.uniform(0, 0.5, n))
  dimmed = blurred * rng.uniform(0.6, 1, n)[:, None, None]
  return np.clip(dimmed + rng.normal(0, 0.04, images.shape), 0, 1)


def _turn(images, angle):
  """Rotates about the middle, bilinear, zeros outside."""
  n, h, w = images.shape
  y, x = np.mgrid[:h, :w].astype(np.float64)
  y, x = y - (h - 1) / 2, x - (w - 1) / 2
  cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
  at_y = np.clip(cos * y - sin * x + (h - 1) / 2, -1, h)
  at_x = np.clip(sin * y + cos * x + (w - 1) / 2, -1, w)
  padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
  low_y, low_x = np.floor(at_y).astype(int), np.floor(at_x).astype(int)
  part_y, part_x = at_y - low_y, at_x - low_x
  rows = np.arange(n)[:, None, None]
  turned = np.zeros_like(at_y)
  for dy, weight_y in ((0, 1 - part_y), (1, part_y)):
    for dx, weight_x in ((0, 1 - part_x), (1, part_x)):
      pixel = padded[rows, low_y + dy + 1, low_x + dx + 1]
      turned += weight_y * weight_x * pixel
  return turned


def _blur(images, sigma):
  """A Gaussian of its own width per image, five pixels long each way."""
  offsets = np.arange(-2, 3)
  width = np.maximum(sigma, 1e-3)[:, None]
  kernel = np.exp(-0.5 * (offsets / width) ** 2)
  kernel = kernel / kernel.sum(1, keepdims=True)
  for axis in (1, 2):
    pad = [(0, 0)] * 3
    pad[axis] = (2, 2)
    padded = np.pad(images, pad, mode="symmetric")
    size = images.shape[axis]
    images = sum(
      kernel[:, i, None, None] * np.take(padded, range(i, i + size), axis)
      for i in range(5)
    )
  return images
