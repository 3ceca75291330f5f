"""Corrupted images on the device: noise, blur and shift, of five severities."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from kd_jax import draws
from kd_jax.methods.hyper_ensembles import fast

Images = Float[Array, "n h w c"]
SEVERITIES = (1, 2, 3, 4, 5)


def noise(key: Key[Array, ""], x: Images, severity: Array | int) -> Images:
  """Adds Gaussian noise of standard deviation 0.1 a severity.

  Args:
    key: draws it.
    x: images in [0, 1].
    severity: 1 to 5.

  Returns:
    Images in [0, 1].
  """
  drawn = 0.1 * severity * fast.gaussian(key, x.shape)
  return jnp.clip(x + drawn, 0.0, 1.0)


def blur(key: Key[Array, ""], x: Images, severity: Array | int) -> Images:
  """Blurs by a Gaussian, 0.25 pixels wide a severity.

  Args:
    key: not used.
    x: images.
    severity: 1 to 5.

  Returns:
    The images; their edges are mirrored outside.
  """
  del key
  reach = min(4, x.shape[1], x.shape[2])
  offset = jnp.arange(-reach, reach + 1)
  kernel = jnp.exp(-0.5 * (offset / (0.25 * severity)) ** 2)
  kernel = kernel / kernel.sum()
  for axis in (1, 2):
    size = x.shape[axis]
    pad = [(0, 0)] * 4
    pad[axis] = (reach, reach)
    wide = jnp.pad(x, pad, mode="symmetric")
    parts = [
      kernel[i] * jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
      for i in range(2 * reach + 1)
    ]
    x = sum(parts[1:], parts[0])
  return x


def shift(key: Key[Array, ""], x: Images, severity: Array | int) -> Images:
  """Moves each image in a direction of its own, 2.5 % of its width a severity.

  Args:
    key: draws the directions.
    x: images.
    severity: 1 to 5.

  Returns:
    The images, bilinear, zeros where nothing was.
  """
  n, h, w = x.shape[:3]
  place = jnp.arange(n, dtype=jnp.uint32)
  angle = 2 * jnp.pi * draws.uniforms(jax.random.key_data(key), place)
  far = 0.025 * severity * w
  y0, x0 = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")

  def one(image, a):
    at = [y0 + far * jnp.sin(a), x0 + far * jnp.cos(a)]

    def channel(plane):
      return jax.scipy.ndimage.map_coordinates(plane, at, order=1)

    return jax.vmap(channel, in_axes=2, out_axes=2)(image)

  return jax.vmap(one)(x, angle)


KINDS: dict[str, Callable[..., Images]] = {
  "noise": noise,
  "blur": blur,
  "shift": shift,
}


def glued(x: Images) -> Images:
  """Foreign images: the left half of one, another's right half upside down.

  Args:
    x: images.

  Returns:
    As many; none of them shows a class.
  """
  other = jnp.roll(x, len(x) // 2, 0)[:, ::-1]
  half = x.shape[2] // 2
  return jnp.concatenate([x[:, :, :half], other[:, :, half:]], 2)
