"""Images as files and bytes, by Pillow."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kd_jax.datasets.errors import DataError

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"))


def png(image: UInt8[np.ndarray, "h w"]) -> bytes:
  """Encodes a grey image.

  Encoded bytes are what lets a TFDS builder do without TensorFlow.

  Args:
    image: intensities 0 to 255.

  Returns:
    A PNG file.
  """
  from PIL import Image

  out = io.BytesIO()
  Image.fromarray(image).save(out, "PNG")
  return out.getvalue()


def is_grey(path: Path) -> bool:
  """Whether an image file has intensities only.

  Args:
    path: the file.

  Returns:
    True for one channel, with or without transparency.

  Raises:
    DataError: if the file cannot be decoded.
  """
  return _open(path).mode in ("1", "L", "LA")


def read(
  path: Path, grey: bool, size: int | None = None
) -> UInt8[np.ndarray, "h w c"]:
  """Decodes an image file.

  Args:
    path: the file.
    grey: one channel, else three (RGB).
    size: height and width to resize to (bilinear, antialiased), or None.

  Returns:
    The image, c being 1 or 3.

  Raises:
    DataError: if the file cannot be decoded; names it.
  """
  from PIL import Image

  image = _open(path).convert("L" if grey else "RGB")
  if size is not None:
    image = image.resize((size, size), Image.Resampling.BILINEAR)
  array = np.asarray(image)
  return array[..., None] if grey else array


def _open(path: Path):
  from PIL import Image

  try:
    with Image.open(path) as image:
      image.load()
      return image.copy()
  # What Pillow raises for a truncated, broken, foreign or enormous file.
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    raise DataError(f"cannot decode the image {path}: {e}") from None
