"""Boxes cut out of an image and resized."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def random_box(
  key: Key[Array, ""],
  height: int,
  width: int,
  area: Sequence[float] = (0.08, 1.0),
  aspect: Sequence[float] = (3 / 4, 4 / 3),
  tries: int = 10,
) -> Float[Array, "4"]:
  """Draws a box: area uniform, aspect ratio log-uniform, place uniform.

  Up to `tries` boxes are drawn, in whole pixels; the first that fits counts. If
  none does it is the largest centred one whose aspect is in range, which is
  what torchvision's RandomResizedCrop does.

  Args:
    key: decides.
    height: the image's.
    width: the image's.
    area: smallest and largest share of the image.
    aspect: smallest and largest width over height.
    tries: boxes that are drawn.

  Returns:
    Top, left, height and width, in pixels (whole numbers).

  Raises:
    ValueError: if a range is empty, or below 0.
  """
  for name, (low, high) in (("area", area), ("aspect", aspect)):
    if not 0 < low <= high:
      raise ValueError(f"{name} is {low} to {high}; it is 0 < low <= high")
  area_key, aspect_key, top_key, left_key = jax.random.split(key, 4)
  share = jax.random.uniform(area_key, (tries,), minval=area[0], maxval=area[1])
  low, high = math.log(aspect[0]), math.log(aspect[1])
  ratio = jnp.exp(
    jax.random.uniform(aspect_key, (tries,), minval=low, maxval=high)
  )
  pixels = share * float(height * width)
  w = jnp.round(jnp.sqrt(pixels * ratio))
  h = jnp.round(jnp.sqrt(pixels / ratio))
  fits = (w >= 1.0) & (w <= float(width)) & (h >= 1.0) & (h <= float(height))
  first = jnp.argmax(fits)
  h, w = h[first], w[first]
  # floor(u (n + 1)) is uniform over 0 .. n.
  top = jnp.floor(jax.random.uniform(top_key) * (float(height) - h + 1.0))
  left = jnp.floor(jax.random.uniform(left_key) * (float(width) - w + 1.0))
  drawn = jnp.stack([top, left, h, w])
  other = jnp.array(_largest(height, width, aspect), drawn.dtype)
  return jnp.where(fits.any(), drawn, other)


def _largest(height: int, width: int, aspect: Sequence[float]):
  """The largest centred box with an aspect in range."""
  h, w = height, width
  if width / height < aspect[0]:
    h = round(width / aspect[0])
  elif width / height > aspect[1]:
    w = round(height * aspect[1])
  return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(
  image: Float[Array, "h w c"],
  box: Float[Array, "4"],
  size: tuple[int, int],
  antialias: bool = True,
) -> Float[Array, "h2 w2 c"]:
  """Cuts a box out of an image and resizes it, bilinearly.

  Two matrix products, one per axis, with weights that depend on the box only:
  static shapes, whatever the box. Places outside of the box do not enter.

  Args:
    image: the image.
    box: top, left, height and width, in pixels.
    size: height and width of the result.
    antialias: where the box is shrunk, average over as many pixels as become
      one (Pillow's and torchvision's default); else interpolate two.

  Returns:
    The resized box.
  """
  top, left, height, width = box.astype(jnp.float32)
  rows = _weights(image.shape[0], top, height, size[0], antialias)
  columns = _weights(image.shape[1], left, width, size[1], antialias)
  out = jnp.einsum(
    "yh,xw,hwc->yxc",
    rows,
    columns,
    image.astype(jnp.float32),
    precision="highest",
  )
  return out.astype(image.dtype)


def _weights(length: int, start, extent, size: int, antialias: bool):
  """How much each of `length` pixels counts for each of `size` new ones."""
  scale = extent / float(size)
  support = jnp.maximum(scale, 1.0) if antialias else jnp.float32(1.0)
  # Centres of pixels lie at halves.
  centre = start + (jnp.arange(size, dtype=jnp.float32) + 0.5) * scale
  place = jnp.arange(length, dtype=jnp.float32) + 0.5
  inside = (place > start) & (place < start + extent)
  if not antialias:
    centre = jnp.clip(centre, start + 0.5, start + extent - 0.5)
  distance = jnp.abs(place[None] - centre[:, None]) / support
  weight = jnp.where(inside[None], jnp.maximum(1.0 - distance, 0.0), 0.0)
  return weight / weight.sum(1, keepdims=True)


def random_resized_crop(
  key: Key[Array, ""],
  image: Float[Array, "h w c"],
  size: tuple[int, int] | None = None,
  area: Sequence[float] = (0.08, 1.0),
  aspect: Sequence[float] = (3 / 4, 4 / 3),
  antialias: bool = True,
) -> Float[Array, "h2 w2 c"]:
  """Cuts a random box (`random_box`) and resizes it (`resized_crop`).

  Args:
    key: decides on the box.
    image: the image.
    size: height and width of the result; the image's if None.
    area: smallest and largest share of the image.
    aspect: smallest and largest width over height.
    antialias: average where a box is shrunk.

  Returns:
    The resized box.

  Raises:
    ValueError: if a range is empty, or below 0.
  """
  box = random_box(key, image.shape[0], image.shape[1], area, aspect)
  return resized_crop(image, box, size or image.shape[:2], antialias)
