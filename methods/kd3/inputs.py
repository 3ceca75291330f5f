"""From a batch of bytes to what the networks see."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from kd_jax import augment
from kd_jax.methods.kd3.config import Config, DataConfig
from kd_jax.training.state import row_keys

# Folded into a step's key.
AUGMENTING, MIXING = 1, 2


def prepare(
  data: DataConfig, images: UInt8[Array | np.ndarray, "b h w c"]
) -> jax.Array:
  """Bytes to normalised pixels.

  Args:
    data: its mean and std; a single number serves every channel.
    images: images.

  Returns:
    float32 images.
  """
  channels = images.shape[-1]
  mean, std = (
    s * channels if len(s) == 1 else s for s in (data.mean, data.std)
  )
  return augment.normalize(augment.to_float(jnp.asarray(images)), mean, std)


def perturb(
  key: Key[Array, ""], place: Int[Array, "b"], x: jax.Array, data: DataConfig
) -> jax.Array:
  """Augments images for training and scoring alike.

  Args:
    key: the step's.
    place: what keeps the rows' draws apart.
    x: images.
    data: says how.

  Returns:
    The images, shifted or cropped and, if wanted, mirrored.
  """
  keys = row_keys(key, place)
  if data.crop:
    x = augment.per_row(augment.random_resized_crop)(keys, x)
  elif data.max_shift:
    x = augment.per_row(augment.random_shift)(keys, x, data.max_shift)
  if data.flip:
    keys = row_keys(jax.random.fold_in(key, 1), place)
    x = augment.per_row(augment.random_flip)(keys, x)
  return x


def drawn(
  config: Config, key: Key[Array, ""], batch: Mapping[str, Array]
) -> Float[Array, "b h w c"]:
  """The images of a training batch, normalised and augmented.

  Args:
    config: says how.
    key: the step's.
    batch: "image" and "row".

  Returns:
    The images.
  """
  x = prepare(config.data, batch["image"])
  key = jax.random.fold_in(key, AUGMENTING)
  return perturb(key, batch["row"], x, config.data)
