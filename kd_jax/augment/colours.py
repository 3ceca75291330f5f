"""Colours of one image, in [0, 1]: jitter, grey, blur, solarise.

The pieces state what Pillow and torchvision do, on floats rather than bytes;
`random_` ones draw with a key. Images are RGB unless it is said otherwise.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

# ITU-R 601-2, Pillow's weights for "L".
_LUMA = (0.299, 0.587, 0.114)

Scalar = float | Float[Array, ""]
RGB = Float[Array, "h w 3"]


def grey(image: RGB) -> RGB:
  """Replaces the colours by their luma, three times.

  Args:
    image: RGB.

  Returns:
    The grey image, still of three channels.
  """
  return jnp.broadcast_to(_luma(image), image.shape)


def brightness(image: RGB, factor: Scalar) -> RGB:
  """Multiplies and clips.

  Args:
    image: RGB in [0, 1].
    factor: 0 is black, 1 the image.

  Returns:
    The image, in [0, 1].
  """
  return _blend(image, jnp.zeros_like(image), factor)


def contrast(image: RGB, factor: Scalar) -> RGB:
  """Blends with the mean luma.

  Args:
    image: RGB in [0, 1].
    factor: 0 is even grey, 1 the image.

  Returns:
    The image, in [0, 1].
  """
  mean = _luma(image).mean(dtype=jnp.float32).astype(image.dtype)
  return _blend(image, jnp.full_like(image, mean), factor)


def saturation(image: RGB, factor: Scalar) -> RGB:
  """Blends with the grey image.

  Args:
    image: RGB in [0, 1].
    factor: 0 is grey, 1 the image.

  Returns:
    The image, in [0, 1].
  """
  return _blend(image, grey(image), factor)


def hue(image: RGB, turn: Scalar) -> RGB:
  """Turns the hue of each pixel, keeping its value and saturation.

  Args:
    image: RGB in [0, 1].
    turn: in turns of the colour circle.

  Returns:
    The image, in [0, 1].
  """
  dtype = image.dtype
  image = image.astype(jnp.float32)
  high, low = image.max(-1), image.min(-1)
  chroma = high - low
  safe = jnp.where(chroma > 0, chroma, 1.0)
  r, g, b = image[..., 0], image[..., 1], image[..., 2]
  # Not high == r: a compiler may work out r twice, a last place apart.
  sixths = jnp.where(
    (r >= g) & (r >= b),
    (g - b) / safe,
    jnp.where(g >= b, (b - r) / safe + 2.0, (r - g) / safe + 4.0),
  )
  sixths = sixths + 6.0 * jnp.float32(turn)
  # A channel is high - chroma * ramp(hue - its own place on the circle).
  away = jnp.mod(
    jnp.array([5.0, 3.0, 1.0])[None, None] + sixths[..., None], 6.0
  )
  ramp = jnp.clip(jnp.minimum(away, 4.0 - away), 0.0, 1.0)
  return (high[..., None] - chroma[..., None] * ramp).astype(dtype)


def solarise(
  image: Float[Array, "h w c"], threshold: float = 0.5
) -> Float[Array, "h w c"]:
  """Inverts the values from a threshold on.

  Args:
    image: of any channels, in [0, 1].
    threshold: in [0, 1].

  Returns:
    The image, in [0, 1].
  """
  return jnp.where(image >= threshold, 1.0 - image, image)


def blur(
  image: Float[Array, "h w c"], sigma: Scalar, size: int
) -> Float[Array, "h w c"]:
  """Convolves with a Gaussian of a fixed size; edges are mirrored.

  Args:
    image: of any channels.
    sigma: standard deviation, in pixels.
    size: pixels of the kernel, odd (BYOL's is a tenth of the image's side).

  Returns:
    The blurred image.

  Raises:
    ValueError: if the size is even, or too large for the image to be mirrored.
  """
  half = size // 2
  if size % 2 == 0 or half >= min(image.shape[:2]):
    raise ValueError(f"the blur is {size} wide, the image {image.shape}")
  away = jnp.arange(-half, half + 1, dtype=jnp.float32)
  kernel = jnp.exp(-0.5 * (away / jnp.float32(sigma)) ** 2)
  kernel = (kernel / kernel.sum()).astype(image.dtype)
  h, w = image.shape[:2]
  wide = jnp.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
  tall = sum(kernel[i] * wide[i : i + h] for i in range(size))
  return sum(kernel[i] * tall[:, i : i + w] for i in range(size))


def random_colours(
  key: Key[Array, ""],
  image: RGB,
  strengths: Sequence[float] = (0.4, 0.4, 0.4, 0.1),
) -> RGB:
  """Colour jitter: brightness, contrast, saturation and hue, in random order.

  Args:
    key: decides.
    image: RGB in [0, 1].
    strengths: s for each of the four; factors are uniform in
      [max(0, 1 - s), 1 + s], turns of the hue in [-s, s].

  Returns:
    The image, in [0, 1].

  Raises:
    ValueError: if there are not four strengths of 0 or more.
  """
  if len(strengths) != 4 or min(strengths) < 0:
    raise ValueError(f"strengths are {strengths}; four numbers of 0 or more")
  order_key, key = jax.random.split(key)
  low = [max(0.0, 1.0 - s) for s in strengths[:3]] + [-strengths[3]]
  high = [1.0 + s for s in strengths[:3]] + [strengths[3]]
  draws = jax.random.uniform(key, (4,))
  factors = jnp.array(low) + draws * (jnp.array(high) - jnp.array(low))
  steps = (brightness, contrast, saturation, hue)
  order = jax.random.permutation(order_key, 4)
  for place in range(4):
    image = jax.lax.switch(
      order[place],
      [lambda x, f=f, i=i: f(x, factors[i]) for i, f in enumerate(steps)],
      image,
    )
  return image


def random_grey(
  key: Key[Array, ""], image: RGB, probability: float = 0.2
) -> RGB:
  """`grey`, now and then.

  Args:
    key: decides.
    image: RGB.
    probability: of a grey image.

  Returns:
    The image, or the grey one.
  """
  return sometimes(key, image, probability, lambda _, x: grey(x))


def random_blur(
  key: Key[Array, ""],
  image: Float[Array, "h w c"],
  size: int,
  sigmas: Sequence[float] = (0.1, 2.0),
  probability: float = 1.0,
) -> Float[Array, "h w c"]:
  """`blur` of a random strength, now and then.

  Args:
    key: decides.
    image: of any channels.
    size: pixels of the kernel, odd.
    sigmas: smallest and largest standard deviation, in pixels.
    probability: of a blurred image.

  Returns:
    The image, or the blurred one.
  """

  def change(key, image):
    sigma = jax.random.uniform(key, minval=sigmas[0], maxval=sigmas[1])
    return blur(image, sigma, size)

  return sometimes(key, image, probability, change)


def random_solarise(
  key: Key[Array, ""],
  image: Float[Array, "h w c"],
  threshold: float = 0.5,
  probability: float = 0.2,
) -> Float[Array, "h w c"]:
  """`solarise`, now and then.

  Args:
    key: decides.
    image: of any channels, in [0, 1].
    threshold: in [0, 1].
    probability: of a solarised image.

  Returns:
    The image, or the solarised one.
  """
  return sometimes(key, image, probability, lambda _, x: solarise(x, threshold))


def sometimes(
  key: Key[Array, ""],
  image: Float[Array, "h w c"],
  probability: float,
  change: Callable[..., jax.Array],
) -> Float[Array, "h w c"]:
  """Changes an image with some probability.

  Args:
    key: decides, and is folded for the change.
    image: the image.
    probability: of the change.
    change: `(key, image) -> image` of the same shape.

  Returns:
    The changed image, or the image itself.
  """
  decide, key = jax.random.split(key)
  chosen = jax.random.bernoulli(decide, np.float32(probability))
  return jnp.where(chosen, change(key, image), image)


def _luma(image: RGB) -> Float[Array, "h w 1"]:
  weights = jnp.array(_LUMA, image.dtype)
  return (image * weights[None, None]).sum(-1, keepdims=True)


def _blend(image: RGB, other: RGB, factor: Scalar) -> RGB:
  factor = jnp.asarray(factor, image.dtype)
  mixed = factor * image + (jnp.ones_like(factor) - factor) * other
  return jnp.clip(mixed, 0.0, 1.0)
