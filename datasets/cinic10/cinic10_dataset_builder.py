"""CINIC-10, from its archive of PNG files."""

from collections.abc import Iterator
from typing import Any

from etils import epath

from kd_jax.datasets.images import rgb_file
from kd_jax.datasets.official.archives import members, named
from kd_jax.datasets.official.builder import ImageBuilder

_CLASSES = [
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
_ARCHIVE = "CINIC-10.tar.gz"


class Builder(ImageBuilder):
  """270,000 colour images in CIFAR-10's classes; see README.md."""

  SIZES = dict.fromkeys(("train", "valid", "test"), 90_000)
  SHAPE = (32, 32, 3)
  LABELS = {"label": _CLASSES}  # noqa: RUF012
  FOLDERS = {_ARCHIVE: "CINIC-10"}  # noqa: RUF012
  HOMEPAGE = "https://datashare.ed.ac.uk/handle/10283/3192"
  pkg_dir_path = epath.Path(__file__).parent

  def examples(self, split: str) -> Iterator[Any]:
    """The files split/class/NAME.png."""
    path = self.path(_ARCHIVE)

    def wanted(name):
      parts = name.split("/")
      return len(parts) == 3 and parts[0] == split and name.endswith(".png")

    with named(path):
      for name, file in members(path, wanted):
        label = name.split("/")[1]
        # Some are grey, which a feature of three channels cannot decode.
        content = rgb_file(file.read(), self.SHAPE[:2], f"{name} in {path}")
        number = _CLASSES.index(label) if label in _CLASSES else -1
        yield name, {"image": content, "label": number}
