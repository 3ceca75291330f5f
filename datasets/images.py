"""Images as files and bytes, by Pillow."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from kd_jax.datasets.errors import DataError

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"))


def png(image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> bytes:
  """Encodes an image.

  Encoded bytes are what lets a TFDS builder do without TensorFlow.

  Args:
    image: intensities 0 to 255, grey or RGB.

  Returns:
    A PNG file.
  """
  from PIL import Image

  out = io.BytesIO()
  # The fast level: small images gain a few per cent from the others.
  Image.fromarray(np.ascontiguousarray(image)).save(
    out, "PNG", compress_level=1
  )
  return out.getvalue()


def jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
  """Encodes an image with loss, as photographs are kept.

  Args:
    image: RGB, 0 to 255.

  Returns:
    A JPEG file of quality 90.
  """
  from PIL import Image

  out = io.BytesIO()
  Image.fromarray(image).save(out, "JPEG", quality=90)
  return out.getvalue()


def rgb_file(content: bytes, size: tuple[int, int], where: str) -> bytes:
  """Makes an image file one that is RGB and of a size.

  Args:
    content: an image file.
    size: its height and width.
    where: what to call it in messages.

  Returns:
    The same bytes if it is RGB, else a PNG of what it shows.

  Raises:
    DataError: if it cannot be decoded, or has another size.
  """
  image = _open(io.BytesIO(content), where)
  if image.size != size[::-1]:
    raise DataError(
      f"the image {where} is {image.height}x{image.width}, expected "
      f"{size[0]}x{size[1]}"
    )
  if image.mode == "RGB":
    return content
  return png(np.asarray(image.convert("RGB")))


def is_grey(path: Path) -> bool:
  """Whether an image file has intensities only.

  Args:
    path: the file.

  Returns:
    True for one channel, with or without transparency.

  Raises:
    DataError: if the file cannot be decoded.
  """
  return _open(path, path).mode in ("1", "L", "LA")


def read(
  path: Path, grey: bool, size: int | tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w c"]:
  """Decodes an image file.

  Args:
    path: the file.
    grey: one channel, else three (RGB).
    size: height and width to resize to (bilinear, antialiased), one number
      for both, or None.

  Returns:
    The image, c being 1 or 3.

  Raises:
    DataError: if the file cannot be decoded, or has more than 8 bits per
      channel; names it.
  """
  from PIL import Image

  image = _open(path, path)
  if image.mode[0] in "IF":  # Pillow would cut off what is above 255.
    raise DataError(f"{path} has more than 8 bits per channel, expected 8")
  image = image.convert("L" if grey else "RGB")
  if size is not None:
    h, w = (size, size) if isinstance(size, int) else size
    image = image.resize((w, h), Image.Resampling.BILINEAR)
  array = np.asarray(image)
  return array[..., None] if grey else array


def resize(
  image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]
) -> UInt8[np.ndarray, "i j c"]:
  """Resizes an image, bilinearly and antialiased, as `read` does.

  Args:
    image: grey or RGB.
    size: height and width.

  Returns:
    The resized image.
  """
  from PIL import Image

  shown = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
  small = shown.resize(size[::-1], Image.Resampling.BILINEAR)
  return np.asarray(small).reshape(*size, image.shape[2])


def write_grid(
  image: UInt8[np.ndarray, "n h w c"],
  label: Int[np.ndarray, "n"] | None,
  path: Path,
  each: int = 10,
) -> None:
  """Draws the first examples of each class, one row per class.

  Args:
    image: the images; of more than three channels three are drawn.
    label: the classes, of which 20 are drawn; None draws one row.
    path: the PNG to write.
    each: examples in a row.
  """
  from PIL import Image

  if label is None:
    label = np.zeros(len(image), np.int32)
  h, w, c = image.shape[1:]
  classes = np.unique(label)[:20]
  grid = np.full((len(classes) * (h + 2), each * (w + 2), c), 255, np.uint8)
  for i, one in enumerate(classes):
    for j, row in enumerate(np.flatnonzero(label == one)[:each]):
      y, x = i * (h + 2) + 1, j * (w + 2) + 1
      grid[y : y + h, x : x + w] = image[row]
  scale = max(1, 640 // grid.shape[1])  # Small images are hard to see.
  grid = grid.repeat(scale, 0).repeat(scale, 1)
  path.parent.mkdir(parents=True, exist_ok=True)
  shown = grid[..., :3] if c >= 3 else grid[..., 0]
  Image.fromarray(shown).save(path, "PNG")


def _open(file: Path | io.BytesIO, where: Path | str):
  from PIL import Image

  try:
    with Image.open(file) as image:
      image.load()
      return image.copy()
  # What Pillow raises for a truncated, broken, foreign or enormous file.
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    raise DataError(f"cannot decode the image {where}: {e}") from None
