"""Tiny-ImageNet, from its zip of JPEG files."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.images import rgb_file
from kd_jax.datasets.official.archives import members, named
from kd_jax.datasets.official.builder import ImageBuilder

_ARCHIVE = "tiny-imagenet-200.zip"


class Builder(ImageBuilder):
  """110,000 colour images in 200 classes, with a box in each."""

  SIZES = {"train": 100_000, "validation": 10_000}  # noqa: RUF012
  SHAPE = (64, 64, 3)
  LABELS = {"label": 200}  # noqa: RUF012
  FOLDERS = {_ARCHIVE: "tiny-imagenet-200"}  # noqa: RUF012
  HOMEPAGE = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
  pkg_dir_path = epath.Path(__file__).parent

  def extra_features(self) -> dict[str, Any]:
    """The object's corners: left, top, right, bottom, in pixels."""
    return {"box": tfds.features.Tensor(shape=(4,), dtype=np.int32)}

  def examples(self, split: str) -> Iterator[Any]:
    """The split's images, with what the text files say of them."""
    path = self.path(_ARCHIVE)
    part = {"train": "train", "validation": "val"}[split]
    with named(path):
      said = _read_texts(path, part)

      def wanted(name):
        return name.startswith(f"{part}/") and name.endswith(".JPEG")

      for name, file in members(path, wanted):
        file_name = name.rsplit("/", 1)[1]
        if file_name not in said:
          raise DataError(f"no text file in {path} speaks of {name}")
        label, box = said[file_name]
        # Some are grey, which a feature of three channels cannot decode.
        content = rgb_file(file.read(), self.SHAPE[:2], f"{name} in {path}")
        yield name, {"image": content, "label": label, "box": box}


def _read_texts(path: Any, part: str) -> dict[str, tuple[int, np.ndarray]]:
  """Class and box of each file; classes in the order of their sorted wnids."""

  def wanted(name):
    return name == "wnids.txt" or (
      name.startswith(f"{part}/") and name.endswith(".txt")
    )

  texts = {
    name: file.read().decode("utf-8", "replace").splitlines()
    for name, file in members(path, wanted)
  }
  if "wnids.txt" not in texts:
    raise DataError(f"{path} has no wnids.txt")
  numbers = {
    w: i for i, w in enumerate(sorted(filter(None, texts["wnids.txt"])))
  }
  del texts["wnids.txt"]
  said = {}
  for name, lines in texts.items():
    # A class's own file names the class; the one of val has a column for it.
    own = [] if part == "val" else [name.split("/")[1]]
    for at, line in enumerate(filter(None, lines), 1):
      fields = line.split("\t")
      try:
        file_name, wnid, *box = fields[:1] + own + fields[1:]
        said[file_name] = numbers[wnid], np.array(box, np.int32).reshape(4)
      except (ValueError, KeyError):
        raise DataError(
          f"{name} in {path}, line {at}: expected a file, "
          f"{'' if own else 'a class of wnids.txt, '}and 4 numbers between tabs"
        ) from None
  return said
