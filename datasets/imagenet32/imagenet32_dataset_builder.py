"""ImageNet in 32x32 pixels, from its zips of .npz files."""

from etils import epath

from kd_jax.datasets.official.families import ImageNetBuilder


class Builder(ImageNetBuilder):
  """1,331,167 colour images in 1,000 classes; see README.md."""

  SHAPE = (32, 32, 3)
  FOLDERS = {  # noqa: RUF012
    "Imagenet32_train_npz.zip": "Imagenet32_train_npz",
    "Imagenet32_val_npz.zip": "Imagenet32_val_npz",
  }
  pkg_dir_path = epath.Path(__file__).parent
