"""CIFAR-10, from its binary version."""

from etils import epath

from kd_jax.datasets.official.families import CifarBuilder


class Builder(CifarBuilder):
  """60,000 colour images in ten classes; see README.md."""

  name = "kd_jax_cifar10"
  LABELS = {  # noqa: RUF012
    "label": [
      "airplane",
      "automobile",
      "bird",
      "cat",
      "deer",
      "dog",
      "frog",
      "horse",
      "ship",
      "truck",
    ]
  }
  BATCHES = {  # noqa: RUF012
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
  }
  BYTES = ("label",)
  FOLDERS = {"cifar-10-binary.tar.gz": "cifar-10-batches-bin"}  # noqa: RUF012
  HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
  pkg_dir_path = epath.Path(__file__).parent
