"""Salient ImageNet, from its authors' masks and the images of ImageNet."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.images import png
from kd_jax.datasets.progress import Say, to_stderr, track
from kd_jax.datasets.salient_imagenet import official

SIDE, SHORTER = 224, 256
_HOMEPAGE = "https://github.com/singlasahil14/salient_imagenet"
_LAYOUT = (
  "a folder with masks/ (WNID/feature_N/NAME.JPEG and wordnet_dict.py), "
  f"{official.ANSWERS} and train/ (ImageNet's WNID/NAME.JPEG)"
)


class Builder(tfds.core.GeneratorBasedBuilder):
  """Images with soft masks of core and of spurious features."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  MANUAL_DOWNLOAD_INSTRUCTIONS = f"{_LAYOUT}; see {_HOMEPAGE}"
  pkg_dir_path = epath.Path(__file__).parent

  _say: Say = staticmethod(to_stderr)
  _folder: Path | None = None

  def obtain(self, manual_dir: Path | None, say: Say = to_stderr) -> None:
    """Looks at the user's files, which may not be fetched.

    Args:
      manual_dir: where they lie.
      say: takes lines of progress.

    Raises:
      DataError: says what is missing.
    """
    if manual_dir is None:
      raise DataError(
        "salient_imagenet may not be fetched (academic, non-commercial, not to "
        f"be redistributed): give --manual-dir {_LAYOUT}; see {_HOMEPAGE}"
      )
    self._say = say
    for name in (f"masks/{official.NAMES}", official.ANSWERS, "train"):
      if not (manual_dir / name).exists():
        raise DataError(f"{manual_dir} has no {name}; expected {_LAYOUT}")
    self._folder = manual_dir

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Image
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          "image": image(shape=(SIDE, SIDE, 3), encoding_format="png"),
          "core": image(shape=(SIDE, SIDE, 1), encoding_format="png"),
          "spurious": image(shape=(SIDE, SIDE, 1), encoding_format="png"),
          "label": tfds.features.ClassLabel(num_classes=1000),
        }
      ),
      supervised_keys=("image", "label"),
      homepage=_HOMEPAGE,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    if self._folder is None:  # Prepared by TFDS, not by our command.
      self.obtain(Path(dl_manager.manual_dir))
    return {"test": self._generate_examples()}

  def _generate_examples(self) -> Iterator[Any]:
    images = self._masks()
    label = "building salient_imagenet"
    for key, files in track(images.items(), len(images), label, self._say):
      wnid, stem, number = key
      source = self._folder / "train" / wnid / f"{stem}.JPEG"
      if not source.is_file():
        raise DataError(f"there is no image {source}, of which there are masks")
      example = {"image": png(cropped(source, grey=False)), "label": number}
      for kind in ("core", "spurious"):
        example[kind] = png(merged(files[kind]))
      yield f"{wnid}/{stem}", example

  def _masks(self) -> dict[tuple[str, str, int], dict[str, list[Path]]]:
    """The mask files of each image by kind, classes in the order of indices."""
    masks = self._folder / "masks"
    said = official.kinds(self._folder / official.ANSWERS)
    found: dict[Any, Any] = defaultdict(lambda: {"core": [], "spurious": []})
    for number, wnid in sorted(
      official.classes(masks / official.NAMES).items()
    ):
      if not (masks / wnid).is_dir():
        continue
      for feature, folder in official.features(masks / wnid).items():
        if (kind := said.get((wnid, feature))) is None:
          raise DataError(f"{official.ANSWERS} says nothing of {folder}")
        for file in sorted(folder.glob("*.JPEG")):
          found[wnid, file.stem, number][kind].append(file)
    if not found:
      raise DataError(f"{masks} has no masks (WNID/feature_N/NAME.JPEG)")
    return dict(found)


def cropped(path: Path, grey: bool) -> np.ndarray:
  """An image as networks of ImageNet are tested: 256 short, 224 from within.

  Args:
    path: its file.
    grey: one channel, else three.

  Returns:
    (224, 224) or (224, 224, 3), uint8.

  Raises:
    DataError: if the file cannot be decoded; names it.
  """
  from PIL import Image

  try:
    with Image.open(path) as file:
      image = file.convert("L" if grey else "RGB")
  except OSError as error:
    raise DataError(f"cannot read {path}: {error}") from None
  # The longer side as torchvision truncates it.
  size = [SHORTER * s // min(image.size) for s in image.size]
  image = image.resize(size, Image.Resampling.BILINEAR)
  left, top = (round((s - SIDE) / 2) for s in size)
  return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


def merged(files: list[Path]) -> np.ndarray:
  """The pixel-wise maximum of masks; black if there is none.

  Args:
    files: their files.

  Returns:
    (224, 224), uint8.
  """
  found = np.zeros((SIDE, SIDE), np.uint8)
  for path in files:
    found = np.maximum(found, cropped(path, grey=True))
  return found
