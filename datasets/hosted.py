"""Columns that stay on the host: rows are fetched where a step needs them.

For what does not fit on a device. A hosted column stands where an array would,
in the columns of `from_columns` and `map_columns`; the compiled program calls
back for the rows of its batch, each device for its own. Rows and bits are those
of a column on the device.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

# Of a device's memory, where it is known.
_SHARE = 0.4
_CPU_BYTES = 4e9


@jax.tree_util.register_pytree_node_class
class Hosted:
  """A column on the host.

  To JAX it is a tree without leaves: nothing of it is placed or traced, and a
  program is compiled for this very column.

  Attributes:
    array: (n, ...), in memory or mapped from a file.
    shape: of the array.
    dtype: of the array.
  """

  def __init__(self, array: np.ndarray):
    """Keeps the array where it is."""
    self.array = array
    self.shape, self.dtype = array.shape, array.dtype

  def rows(self, index: Int[Array, "b"]) -> Array:
    """Fetches rows, inside of a compiled program or outside.

    Args:
      index: which; those out of range are the last or the first.

    Returns:
      The rows.
    """
    last = self.shape[0] - 1
    like = jax.ShapeDtypeStruct((*index.shape, *self.shape[1:]), self.dtype)

    def fetch(index):
      wanted = np.asarray(index)
      # In the file's order: a disk is read once, forward.
      order = np.argsort(wanted, kind="stable")
      found = np.empty(like.shape, like.dtype)
      found[order] = self.array[wanted[order]]
      return found

    clipped = jnp.clip(index, 0, last)
    return jax.pure_callback(fetch, like, clipped)

  def tree_flatten(self):
    """No leaves."""
    return (), self

  @classmethod
  def tree_unflatten(cls, itself, leaves):
    """The column itself."""
    del cls, leaves
    return itself


def rows(column: Array | np.ndarray | Hosted, index: Int[Array, "b"]) -> Array:
  """Rows of a column, wherever it is.

  Args:
    column: on the devices or on the host.
    index: which; those out of range are the last or the first.

  Returns:
    The rows.
  """
  if isinstance(column, Hosted):
    return column.rows(index)
  return jnp.asarray(column).at[index].get(mode="clip")


def fits(size: int) -> bool:
  """Whether so many bytes may be placed on every device.

  Args:
    size: in bytes.

  Returns:
    True up to 40 % of the smallest device's memory where that is known, and up
    to 4 GB on a CPU.
  """
  limits = [d.memory_stats() for d in jax.local_devices()]
  known = [m["bytes_limit"] for m in limits if m and "bytes_limit" in m]
  if known:
    return size <= _SHARE * min(known)
  return jax.default_backend() != "cpu" or size <= _CPU_BYTES
