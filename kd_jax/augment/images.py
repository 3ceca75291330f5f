"""Augmentation of one image with one key, lifted to a batch by `per_row`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8


def per_row(fn: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
  """Lifts a function of (key, image) to one of (keys, images).

  Args:
    fn: `(key, image, *args, **settings) -> image`.

  Returns:
    `(keys, images, *args, **settings) -> images`: a key and an image per row,
    the same settings for all.
  """

  def rows(keys, images, *args: Any, **settings: Any):
    return jax.vmap(lambda k, x: fn(k, x, *args, **settings))(keys, images)

  return rows


def random_crop(
  key: Key[Array, ""],
  image: Float[Array, "h w c"],
  padding: int,
  mode: Literal["constant", "reflect"] = "constant",
) -> Float[Array, "h w c"]:
  """Pads and crops back to the same size at a random place.

  Args:
    key: decides on the place.
    image: the image.
    padding: pixels on either side; places are uniform over (2 padding + 1)^2.
    mode: what to pad with: zeros, or the image mirrored at its edge pixels.

  Returns:
    The crop.

  Raises:
    ValueError: for another mode; if a mirrored image is too small, or the
      padding negative.
  """
  if mode not in ("constant", "reflect"):
    raise ValueError(f"mode is {mode!r}; it is constant or reflect")
  if padding < 0 or (mode == "reflect" and padding >= min(image.shape[:2])):
    raise ValueError(f"padding is {padding}, the image {image.shape}")
  sides = ((padding, padding), (padding, padding), (0, 0))
  padded = jnp.pad(image, sides, mode=mode)
  y, x = jax.random.randint(key, (2,), 0, 2 * padding + 1)
  return jax.lax.dynamic_slice(padded, (y, x, jnp.int32(0)), image.shape)


def random_shift(
  key: Key[Array, ""], image: Float[Array, "h w c"], max_shift: int
) -> Float[Array, "h w c"]:
  """Shifts by whole pixels, up to `max_shift` each way, and fills with zeros.

  Args:
    key: decides on the shift.
    image: the image.
    max_shift: the largest shift, in pixels.

  Returns:
    The shifted image.

  Raises:
    ValueError: if `max_shift` is negative.
  """
  return random_crop(key, image, max_shift)


def random_flip(
  key: Key[Array, ""], image: Float[Array, "h w c"]
) -> Float[Array, "h w c"]:
  """Mirrors left and right with probability one half.

  Args:
    key: decides.
    image: the image.

  Returns:
    The image or its mirror image.
  """
  return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def to_float(image: UInt8[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
  """Bytes to float32 in [0, 1].

  Args:
    image: one image or many.

  Returns:
    The same divided by 255.
  """
  return image.astype(jnp.float32) / 255.0


def normalize(
  image: Float[Array, "*b h w c"],
  mean: Sequence[float] | Float[Array, "c"],
  std: Sequence[float] | Float[Array, "c"],
) -> Float[Array, "*b h w c"]:
  """Subtracts a mean and divides by a standard deviation, channel by channel.

  Args:
    image: one image or many.
    mean: a number per channel.
    std: a number per channel.

  Returns:
    The normalised image, in its own dtype.

  Raises:
    ValueError: if `mean` or `std` has not one number per channel.
  """
  mean, std = jnp.asarray(mean, image.dtype), jnp.asarray(std, image.dtype)
  for name, value in (("mean", mean), ("std", std)):
    if value.shape != image.shape[-1:]:
      raise ValueError(f"{name} is {value.shape}, the image {image.shape}")
  wide = (1,) * (image.ndim - 1) + (-1,)
  return (image - mean.reshape(wide)) / std.reshape(wide)
