"""ImageNet in 64x64 pixels, from its zips of .npz files."""

from etils import epath

from kd_jax.datasets.official.families import ImageNetBuilder


class Builder(ImageNetBuilder):
  """1,331,167 colour images in 1,000 classes; see README.md."""

  SHAPE = (64, 64, 3)
  FOLDERS = {  # noqa: RUF012
    "Imagenet64_train_part1_npz.zip": "Imagenet64_train_part1_npz",
    "Imagenet64_train_part2_npz.zip": "Imagenet64_train_part2_npz",
    "Imagenet64_val_npz.zip": "Imagenet64_val_npz",
  }
  pkg_dir_path = epath.Path(__file__).parent
