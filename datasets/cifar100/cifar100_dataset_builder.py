"""CIFAR-100, from its binary version."""

from etils import epath

from kd_jax.datasets.official.families import CifarBuilder


class Builder(CifarBuilder):
  """60,000 colour images in a hundred classes, of twenty kinds."""

  name = "kd_jax_cifar100"
  LABELS = {"label": 100, "coarse_label": 20}  # noqa: RUF012
  BATCHES = {"train": ["train.bin"], "test": ["test.bin"]}  # noqa: RUF012
  BYTES = ("coarse_label", "label")
  FOLDERS = {"cifar-100-binary.tar.gz": "cifar-100-binary"}  # noqa: RUF012
  HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
  pkg_dir_path = epath.Path(__file__).parent
