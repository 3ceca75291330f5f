"""Street View house numbers, cropped to their digits, from its .mat files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official.builder import ImageBuilder


class Builder(ImageBuilder):
  """630,420 digits in colour; see README.md."""

  name = "kd_jax_svhn_cropped"
  SIZES = {"train": 73_257, "test": 26_032, "extra": 531_131}  # noqa: RUF012
  SHAPE = (32, 32, 3)
  LABELS = {"label": 10}  # noqa: RUF012
  HOMEPAGE = "http://ufldl.stanford.edu/housenumbers/"
  pkg_dir_path = epath.Path(__file__).parent

  def examples(self, split: str) -> Iterator[Any]:
    """The images of the split's file; the digit 0 is published as 10."""
    images, labels = _load(self.path(f"{split}_32x32.mat"))
    for row in range(len(labels)):
      yield row, {"image": images[..., row], "label": int(labels[row]) % 10}


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
  """The arrays X (h, w, c, n) and y (n,) of a MATLAB 5 file."""
  from scipy import io

  try:
    found = io.loadmat(path, variable_names=("X", "y"))
  except Exception as error:  # SciPy raises many kinds for a damaged file.
    why = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"cannot read {path}: {why}") from None
  if missing := {"X", "y"} - set(found):
    raise DataError(f"{path} has no variable {' nor '.join(sorted(missing))}")
  images, labels = found["X"], found["y"].ravel()
  if (
    images.ndim != 4
    or images.dtype != np.uint8
    or labels.dtype.kind not in "iu"
  ):
    raise DataError(
      f"{path} has X {images.dtype} {images.shape} and y {labels.dtype}, "
      "expected uint8 (32, 32, 3, n) and integers"
    )
  if images.shape[3] != len(labels):
    raise DataError(
      f"{path} has {images.shape[3]:,} images but {len(labels):,} labels"
    )
  if len(labels) and not 1 <= labels.min() <= labels.max() <= 10:
    raise DataError(
      f"labels of {path} go from {labels.min()} to {labels.max()}, expected 1 "
      "to 10"
    )
  return images, labels
