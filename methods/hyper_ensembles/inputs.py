"""What a member sees: pixels, and where its random numbers come from."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

from kd_jax import accel, augment, draws
from kd_jax.methods.hyper_ensembles.plans import Plan
from kd_jax.training.state import row_keys

AUGMENT = 2  # A stream of the member's draws.


def pixels(plan: Plan, images: Array) -> Float[Array, "*n h w c"]:
  """Bytes to normalised pixels.

  Args:
    plan: has the mean and the standard deviation.
    images: uint8, or floats in [0, 1].

  Returns:
    float32 images.
  """
  x = _floats(images)
  data = plan.config.data
  mean, std = (
    np.asarray(v * x.shape[-1] if len(v) == 1 else v, np.float32)
    for v in (data.mean, data.std)
  )
  wide = (1,) * (x.ndim - 1) + (-1,)
  return (x - mean.reshape(wide)) / std.reshape(wide)


def _floats(images):
  return augment.to_float(images) if images.dtype == jnp.uint8 else images


def slots(batch_size: int, axis_name: str | None) -> Int[Array, "b"]:
  """This device's places in the global batch.

  Args:
    batch_size: of the global batch.
    axis_name: the devices that share it, or None.

  Returns:
    The places.
  """
  local = batch_size // accel.axis_size(axis_name)
  return accel.axis_index(axis_name) * local + jnp.arange(local)


def uniforms(
  plan: Plan, key: UInt[Array, "2"], rows: Int[Array, "b"], per: str
) -> Float[Array, "k n h"]:
  """Numbers in [0, 1) of each member, row and hyperparameter.

  Args:
    plan: the plan.
    key: of the stream.
    rows: places in the global batch.
    per: "example", or "batch" for one row that serves all.

  Returns:
    The numbers; a row's are its own whatever device it is on.
  """
  k, h = plan.members, len(plan.space.names)
  rows = rows if per == "example" else jnp.zeros(1, jnp.int32)
  place = rows[None, :, None] * (k * h)
  place += jnp.arange(k)[:, None, None] * h + jnp.arange(h)[None, None]
  return draws.uniforms(key, place.astype(jnp.uint32))


def augmented(
  seed: UInt[Array, ""],
  step: Int[Array, ""],
  rows: Int[Array, "b"],
  images: Array,
) -> Float[Array, "b h w c"]:
  """Shifts by up to two pixels, zeros outside, and mirrors every other image.

  Args:
    seed: of the member.
    step: steps taken.
    rows: places in the global batch.
    images: uint8, or floats in [0, 1].

  Returns:
    The images, in [0, 1].
  """
  key = jax.random.fold_in(jax.random.key(seed), AUGMENT)
  keys = row_keys(jax.random.fold_in(key, step), rows)
  x = augment.per_row(augment.random_shift)(keys, _floats(images), 2)
  keys = row_keys(jax.random.fold_in(key, -1 - step), rows)
  return augment.per_row(augment.random_flip)(keys, x)
