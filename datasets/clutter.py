"""Clutter over images of one thing each, with masks of thing and clutter.

What a classifier should look at is known: the thing is the core, what was laid
over the image is spurious.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8


class Cluttered(NamedTuple):
  """Images with their masks.

  Attributes:
    image: 0 to 255.
    core: where the thing is.
    spurious: where there is clutter, and not the thing.
  """

  image: UInt8[np.ndarray, "n h w"]
  core: Bool[np.ndarray, "n h w"]
  spurious: Bool[np.ndarray, "n h w"]


def clutter(
  images: UInt8[np.ndarray, "n h w"],
  seed: int,
  *,
  patches: int = 2,
  size: int = 9,
  noise: float = 0.1,
) -> Cluttered:
  """Lays patches of other images over each one, and noise over all.

  Args:
    images: things on black.
    seed: decides everything.
    patches: how many an image gets, from any of the others, from anywhere in
      them to anywhere; the brighter pixel is seen.
    size: their side, in pixels.
    noise: standard deviation, as a share of white; the result is clipped.

  Returns:
    The images; a pixel belongs to a mask where what it is of has more than half
    of white.

  Raises:
    ValueError: if there is one image only, or a patch is larger than an image.
  """
  n, h, w = images.shape
  if n < 2 or size > min(h, w):
    raise ValueError(
      f"patches of {size} cannot be taken from other images of {images.shape}"
    )
  rng = np.random.default_rng([seed, n])
  laid = np.zeros_like(images)
  for i in range(n):
    for _ in range(patches):
      other = (i + rng.integers(1, n)) % n
      (y, y2), (x, x2) = (rng.integers(0, s - size + 1, 2) for s in (h, w))
      patch = images[other, y : y + size, x : x + size]
      place = laid[i, y2 : y2 + size, x2 : x2 + size]
      np.maximum(place, patch, out=place)
  seen = np.maximum(images, laid).astype(np.float64)
  seen += 255 * noise * rng.standard_normal(images.shape)
  core = images > 127
  return Cluttered(
    image=np.rint(np.clip(seen, 0, 255)).astype(np.uint8),
    core=core,
    spurious=(laid > 127) & ~core,
  )
