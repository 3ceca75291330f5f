"""What the builders of image data sets from official files share.

A builder of ours has the name that everybody uses; where TFDS has a builder of
that name too, TFDS knows ours as `kd_jax_NAME`, so that both can be registered
in one process and lie in one data folder.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kd_jax.datasets import downloads
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.images import png
from kd_jax.datasets.official.files import OfficialFiles
from kd_jax.datasets.progress import track

Example = Mapping[str, Any]
PREFIX = "kd_jax_"


class ImageBuilder(
  OfficialFiles, tfds.core.GeneratorBasedBuilder, skip_registration=True
):
  """A builder of labelled images of one shape.

  Attributes:
    SIZES: how many examples each split must have.
    SHAPE: height, width and channels.
    LABELS: number or names of the classes, by feature.
    FOLDERS: what an official archive's folder is called once it is unpacked, by
      the archive's name.
    ORDERED: whether the published order is kept, rather than shuffled by TFDS.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  SIZES: Mapping[str, int]
  SHAPE: tuple[int, int, int]
  LABELS: Mapping[str, int | list[str]]
  FOLDERS: Mapping[str, str] = {}
  ORDERED = False

  def examples(self, split: str) -> Iterator[tuple[str | int, Example]]:
    """Reads a split out of the official files (`self.path(name)`).

    Args:
      split: one of `SIZES`.

    Yields:
      A key, the same whether an archive is packed or not; and "image", an array
      or the bytes of an image file, and the labels.

    Raises:
      DataError: names the file and what is wrong with it.
    """
    raise NotImplementedError

  def extra_features(self) -> dict[str, Any]:
    """Features beside the image and the labels.

    Returns:
      TFDS features by name.
    """
    return {}

  def found(self, manual_dir: Path) -> dict[str, Path]:
    """The official files of a folder; one that was changed is told of.

    Args:
      manual_dir: where the user put them.

    Returns:
      Their paths by their published names.

    Raises:
      DataError: says which file is missing.
    """
    paths = {r.name: self._find(manual_dir, r.name) for r in self.remotes()}
    for remote in self.remotes():
      path = paths[remote.name]
      if path.is_file() and (wrong := downloads.mismatch(path, remote)):
        self._say(
          f"{path} is not the published file: it {wrong}; reading it anyway"
        )
    return paths

  def path(self, name: str) -> Path:
    """Where an official file lies.

    Args:
      name: its published name.

    Returns:
      Its path; an unpacked archive's is a folder.
    """
    return self._paths[name]

  def _find(self, manual_dir: Path, name: str) -> Path:
    """The file, its unpacked form, or the folder itself if it is that form."""
    for path in (manual_dir / name, manual_dir / name.removesuffix(".gz")):
      if path.is_file():
        return path
    folder = self.FOLDERS.get(name, "")
    for path in (manual_dir / folder, manual_dir.absolute()):
      if folder and path.is_dir() and path.name == folder:
        return path
    or_folder = f" (nor the folder {folder})" if folder else ""
    raise DataError(f"{manual_dir} has no {name}{or_folder}")

  def _info(self) -> tfds.core.DatasetInfo:
    features = tfds.features
    labels = {
      key: features.ClassLabel(num_classes=of)
      if isinstance(of, int)
      else features.ClassLabel(names=of)
      for key, of in self.LABELS.items()
    }
    image = features.Image(shape=self.SHAPE, encoding_format="png")
    return self.dataset_info_from_configs(
      features=features.FeaturesDict(
        {"image": image, **labels, **self.extra_features()}
      ),
      supervised_keys=("image", "label"),
      homepage=self.HOMEPAGE,
      disable_shuffling=self.ORDERED,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    self.obtained(dl_manager)
    return {split: self._generate_examples(split) for split in self.SIZES}

  def _generate_examples(self, split: str) -> Iterator[Any]:
    size = self.SIZES[split]
    label = f"building {self.name.removeprefix(PREFIX)} {split}"
    count = 0
    for key, example in track(self.examples(split), size, label, self._say):
      yield key, self._checked(example, split, count)
      count += 1
    if count != size:
      raise DataError(
        f"split {split!r} has {count:,} examples, expected {size:,}: "
        f"{self._files()} is not whole, or not the official file"
      )

  def _checked(self, example: Example, split: str, row: int) -> Example:
    example = dict(example)
    for key, of in self.LABELS.items():
      classes = of if isinstance(of, int) else len(of)
      example[key] = int(example[key])
      if not 0 <= example[key] < classes:
        raise DataError(
          f"{key} of example {row} of split {split!r} is {example[key]}, "
          f"expected 0 to {classes - 1}: {self._files()} is damaged"
        )
    if isinstance(image := example["image"], np.ndarray):
      if image.shape != self.SHAPE:
        raise DataError(
          f"image {row} of split {split!r} is {image.shape}, expected "
          f"{self.SHAPE}: {self._files()} is not the official file"
        )
      example["image"] = png(image[..., 0] if self.SHAPE[2] == 1 else image)
    return example

  def _files(self) -> str:
    return ", ".join(sorted({str(path) for path in self._paths.values()}))
