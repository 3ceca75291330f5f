"""Handwritten digits of 8x8 pixels, out of scikit-learn's own files."""

import gzip
import importlib.resources
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.holdout import every_fifth
from kd_jax.datasets.images import png

_PIXELS = 64
_DEEPEST = 16  # Each pixel counts the dark ones of a 4x4 block.


def official_file() -> bytes:
  """The file as scikit-learn ships it: 64 counts and the class in each line.

  Returns:
    The bytes of `digits.csv.gz`.
  """
  folder = importlib.resources.files("sklearn.datasets")
  return folder.joinpath("data", "digits.csv.gz").read_bytes()


class Builder(tfds.core.GeneratorBasedBuilder):
  """1,797 images in ten classes; every fifth of a class is for testing."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  pkg_dir_path = epath.Path(__file__).parent

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
          "label": tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    """Every fifth example of a class is "test", the others are "train"."""
    del dl_manager  # Nothing is downloaded.
    text = io.BytesIO(gzip.decompress(official_file()))
    table = np.loadtxt(text, delimiter=",", ndmin=2)
    if table.shape[1] != _PIXELS + 1:
      raise DataError(
        f"scikit-learn's digits.csv.gz has {table.shape[1]} columns, "
        f"expected {_PIXELS + 1}"
      )
    test = every_fifth(table[:, -1].astype(np.int32))
    return {
      "train": self._generate_examples(table, np.flatnonzero(~test)),
      "test": self._generate_examples(table, np.flatnonzero(test)),
    }

  def _generate_examples(self, table: Any, rows: Any) -> Iterator[Any]:
    for row in rows.tolist():
      grey = np.rint(table[row, :-1] * (255 / _DEEPEST)).astype(np.uint8)
      yield (
        row,
        {"image": png(grey.reshape(8, 8)), "label": int(table[row, -1])},
      )
