"""Builders of data sets that are published in the same form."""

import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official import arrays, idx, records
from kd_jax.datasets.official.archives import members, named
from kd_jax.datasets.official.builder import ImageBuilder

CORRUPTIONS = (
  "brightness",
  "contrast",
  "defocus_blur",
  "elastic_transform",
  "fog",
  "frost",
  "gaussian_blur",
  "gaussian_noise",
  "glass_blur",
  "impulse_noise",
  "jpeg_compression",
  "motion_blur",
  "pixelate",
  "saturate",
  "shot_noise",
  "snow",
  "spatter",
  "speckle_noise",
  "zoom_blur",
)
SEVERITIES = 5


class IdxBuilder(ImageBuilder, skip_registration=True):
  """Four IDX files: images and labels of train and t10k."""

  SIZES = {"train": 60_000, "test": 10_000}  # noqa: RUF012
  SHAPE = (28, 28, 1)

  def examples(self, split: str) -> Iterator[Any]:
    """Pairs images with labels."""
    part = {"train": "train", "test": "t10k"}[split]
    images = self.path(f"{part}-images-idx3-ubyte.gz")
    labels = self.path(f"{part}-labels-idx1-ubyte.gz")
    image, label = idx.read(images, 3), idx.read(labels, 1)
    if len(image) != len(label):
      raise DataError(
        f"{images} has {len(image):,} images, but {labels} {len(label):,} "
        "labels"
      )
    for row in range(len(image)):
      yield row, {"image": image[row][..., None], "label": label[row]}


class CifarBuilder(ImageBuilder, skip_registration=True):
  """A .tar.gz of binary batches.

  Attributes:
    BATCHES: names of the batches by split.
    BYTES: what the bytes in front of an image are.
  """

  SIZES = {"train": 50_000, "test": 10_000}  # noqa: RUF012
  SHAPE = (32, 32, 3)
  BATCHES: dict[str, list[str]]
  BYTES: tuple[str, ...]

  def examples(self, split: str) -> Iterator[Any]:
    """Goes through the split's batches."""
    archive = self.path(next(iter(self.FOLDERS)))
    batches = records.read(archive, self.BATCHES[split], len(self.BYTES))
    for name, labels, images in batches:
      for row in range(len(images)):
        said = dict(zip(self.BYTES, labels[row], strict=True))
        yield f"{name}/{row}", {"image": images[row], **said}


class ImageNetBuilder(ImageBuilder, skip_registration=True):
  """Zips of .npz batches of ImageNet in few pixels."""

  SIZES = {"train": 1_281_167, "validation": 50_000}  # noqa: RUF012
  LABELS = {"label": 1000}  # noqa: RUF012
  HOMEPAGE = "https://image-net.org/download-images.php"

  def examples(self, split: str) -> Iterator[Any]:
    """Goes through the batches of the split's zips."""
    part = {"train": "train", "validation": "val"}[split]
    pattern = re.compile(
      {"train": r"train_data_batch_\d+"}.get(part, "val_data")
    )
    seen = set()
    for path in {self.path(name): 0 for name in self.FOLDERS if part in name}:
      with named(path):
        for name, file in members(path, lambda n: bool(pattern.match(n))):
          if name not in seen:
            yield from self._batch(name, file, f"{name} in {path}")
          seen.add(name)

  def _batch(self, name: str, file: Any, where: str) -> Iterator[Any]:
    try:
      archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
      raise DataError(f"{where} is not an .npz file: {error}") from None
    with archive:
      with arrays.column(archive, "labels", where) as stream:
        labels = arrays.whole(stream, f"labels of {where}")
      done = 0
      with arrays.column(archive, "data", where) as stream:
        for piece in arrays.rows(stream, f"data of {where}"):
          yield from self._rows(name, done, piece, labels, where)
          done += len(piece)
      if done != len(labels):
        raise DataError(f"{where} has {done:,} images, {len(labels):,} labels")

  def _rows(self, name, done, piece, labels, where) -> Iterator[Any]:
    h, w, c = self.SHAPE
    if piece.shape[1:] != (c * h * w,) or piece.dtype != np.uint8:
      raise DataError(
        f"data of {where} are {piece.dtype} rows of {piece.shape[1:]}, "
        f"expected uint8 rows of {c * h * w}"
      )
    images = piece.reshape(-1, c, h, w).transpose(0, 2, 3, 1)
    for row, image in enumerate(images[: len(labels) - done], done):
      # Published as 1 to 1,000.
      yield f"{name}/{row}", {"image": image, "label": int(labels[row]) - 1}


class CorruptedBuilder(ImageBuilder, skip_registration=True):
  """A .tar of .npy files, one per corruption, and their common labels.

  A split is a corruption at a severity ("fog_3"); its images are those of
  CIFAR's test part in the published order.
  """

  SHAPE = (32, 32, 3)
  ORDERED = True
  SIZES = {  # noqa: RUF012
    f"{corruption}_{severity}": 10_000
    for corruption in CORRUPTIONS
    for severity in range(1, SEVERITIES + 1)
  }

  def examples(self, split: str) -> Iterator[Any]:
    """The rows of the split's severity in its corruption's file."""
    corruption, severity = split.rsplit("_", 1)
    size = self.SIZES[split]
    start = size * (int(severity) - 1)
    labels = np.concatenate(list(self._rows("labels.npy")))
    if len(labels) != size * SEVERITIES:
      raise DataError(
        f"labels.npy in {self._files()} has {len(labels):,} rows, expected "
        f"{size * SEVERITIES:,}"
      )
    row = 0
    for piece in self._rows(f"{corruption}.npy"):
      for image in piece:
        if start <= row < start + size:
          yield row - start, {"image": image, "label": labels[row]}
        row += 1

  def _rows(self, name: str) -> Iterator[np.ndarray]:
    path = self.path(next(iter(self.FOLDERS)))
    with named(path):
      for _, file in members(path, lambda n: n == name):
        yield from arrays.rows(file, f"{name} in {path}")
        return
    raise DataError(f"{path} has no {name}")
