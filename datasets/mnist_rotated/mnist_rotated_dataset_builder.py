"""MNIST's digits in any rotation, from a zip of two text files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official.archives import members, named
from kd_jax.datasets.official.builder import ImageBuilder

_ARCHIVE = "mnist_rotation_new.zip"
_FILE = "mnist_all_rotation_normalized_float_{}.amat"
_PARTS = {"train": "train_valid", "test": "test"}
_PIXELS = 28 * 28


class Builder(ImageBuilder):
  """62,000 rotated digits; see README.md."""

  SIZES = {"train": 12_000, "test": 50_000}  # noqa: RUF012
  SHAPE = (28, 28, 1)
  LABELS = {"label": 10}  # noqa: RUF012
  FOLDERS = {_ARCHIVE: "mnist_rotation_new"}  # noqa: RUF012
  HOMEPAGE = "http://www.iro.umontreal.ca/~lisa/icml2007data/"
  pkg_dir_path = epath.Path(__file__).parent

  def examples(self, split: str) -> Iterator[Any]:
    """The lines of the split's file: 784 intensities and a label."""
    path, wanted = self.path(_ARCHIVE), _FILE.format(_PARTS[split])
    with named(path):
      for name, file in members(path, lambda name: name == wanted):
        for row, line in enumerate(filter(bytes.strip, file)):
          image, label = _parse(line, f"{name} in {path}, line {row + 1}")
          yield row, {"image": image, "label": label}
        return
    raise DataError(f"{path} has no {wanted}")


def _parse(line: bytes, where: str) -> tuple[np.ndarray, int]:
  """An image in bytes, and its label."""
  try:
    values = np.array(line.split(), np.float64)
  except ValueError:
    values = np.array([])
  pixels, label = values[:-1], values[-1:]
  # No number is between 0 and 1 that is none.
  if values.size != _PIXELS + 1 or not ((pixels >= 0) & (pixels <= 1)).all():
    raise DataError(
      f"{where}: expected {_PIXELS} intensities from 0 to 1 and a label"
    )
  if label[0] not in range(10):
    raise DataError(f"{where}: the label is {label[0]:g}, expected 0 to 9")
  image = np.rint(255 * pixels).astype(np.uint8)
  return image.reshape(28, 28, 1), int(label[0])
