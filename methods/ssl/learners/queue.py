"""A ring of embeddings, the same on every device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from kd_jax import accel
from kd_jax.losses.norms import l2_normalize


class Ring(NamedTuple):
  """Rings of one length that turn together.

  Attributes:
    rows: embeddings; s rings of n places.
    place: where the next ones go.
    filled: how many rows were ever pushed, up to n.
  """

  rows: Float[Array, "s n d"]
  place: Int[Array, ""]
  filled: Int[Array, ""]


def create(key: Key[Array, ""], rings: int, places: int, d: int) -> Ring:
  """Rings of random unit vectors.

  Args:
    key: draws them.
    rings: s.
    places: n.
    d: the embedding's length.

  Returns:
    The rings, of which nothing counts as pushed.
  """
  rows = l2_normalize(jax.random.normal(key, (rings, places, d)))
  return Ring(rows, jnp.int32(0), jnp.int32(0))


def push(
  ring: Ring,
  rows: Float[Array, "s b d"],
  *,
  wanted: Array | bool = True,
  axis_name: str | None = None,
) -> Ring:
  """Puts the newest rows of all devices over the oldest.

  Args:
    ring: the rings.
    rows: constants, of this device; their number on all devices divides n.
    wanted: where it is False nothing is pushed.
    axis_name: the devices.

  Returns:
    The rings.
  """
  rows = jax.lax.stop_gradient(rows.astype(jnp.float32))
  rows = accel.all_gather(jnp.swapaxes(rows, 0, 1), axis_name)
  rows = jnp.swapaxes(rows, 0, 1)
  n, b = ring.rows.shape[1], rows.shape[1]
  zero = jnp.int32(0)
  new = jax.lax.dynamic_update_slice(ring.rows, rows, (zero, ring.place, zero))
  turned = Ring(
    new,
    jnp.mod(ring.place + b, n),
    jnp.minimum(ring.filled + b, n),
  )
  return jax.tree.map(
    lambda a, b: jnp.where(jnp.asarray(wanted), a, b), turned, ring
  )
