"""Rows of an embedding table that may be divided over the devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax import accel

# A divided table has a multiple of so many rows, the last of them unused, so
# that its shape does not depend on how many devices there are.
MULTIPLE = 128


def padded(count: int, divided: bool) -> int:
  """Rows that a table of `count` rows has.

  Args:
    count: entities.
    divided: whether devices share the table.

  Returns:
    The number of rows.
  """
  return -(-count // MULTIPLE) * MULTIPLE if divided else count


def fetch(
  table: Float[Array, "n d"], index: Int[Array, "..."], axis_name: str | None
) -> Float[Array, "... d"]:
  """Rows by number from a table whose rows are divided over the devices.

  Every device asks for its own rows. All of them hear what is asked, fill in
  what they hold, and the sums go back to who asked; the gradient takes the same
  way in reverse.

  Args:
    table: this device's rows; all of them without an axis.
    index: the rows that this device wants, numbered over the whole table.
    axis_name: the devices that share the table, or None.

  Returns:
    The rows.
  """
  if axis_name is None:
    return table[index]
  asked = accel.all_gather(index.reshape(-1), axis_name)
  found = held(table, asked, axis_name)
  mine = jax.lax.psum_scatter(found, axis_name, tiled=True)
  return mine.reshape(*index.shape, table.shape[-1])


def fetch_common(
  table: Float[Array, "n d"], index: Int[Array, "..."], axis_name: str | None
) -> Float[Array, "... d"]:
  """The same for rows that every device asks for alike.

  Args:
    table: this device's rows; all of them without an axis.
    index: the wanted rows, the same on every device.
    axis_name: the devices that share the table, or None.

  Returns:
    The rows, on every device.
  """
  if axis_name is None:
    return table[index]
  return accel.sum(held(table, index, axis_name), axis_name)


def held(
  table: Float[Array, "n d"], index: Int[Array, "..."], axis_name: str | None
) -> Float[Array, "... d"]:
  """What this device holds of the wanted rows, zeros for the others'.

  Args:
    table: this device's rows.
    index: rows numbered over the whole table.
    axis_name: the devices that share the table, or None.

  Returns:
    The rows.
  """
  place = index - first_row(table, axis_name)
  here = (place >= 0) & (place < len(table))
  rows = table[jnp.where(here, place, 0)]
  return jnp.where(here[..., None], rows, jnp.zeros_like(rows))


def first_row(table: Float[Array, "n d"], axis_name: str | None) -> Array | int:
  """The number of this device's first row (0 without an axis)."""
  return accel.axis_index(axis_name) * len(table)
