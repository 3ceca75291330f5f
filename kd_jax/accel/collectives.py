"""What crosses devices inside a step, by name; the identity without an axis."""

from typing import TypeVar

import jax
import jax.numpy as jnp

AXIS = "batch"
T = TypeVar("T")


def mean(tree: T, axis_name: str | None) -> T:
  """Means every array of `tree` over the devices (identity without an axis).

  The place for gradients and for a model's running statistics: integer leaves
  (a counter, say) are the same on every device and pass as they are.

  Args:
    tree: arrays, one value per device.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The tree of means, the same on every device.
  """
  if axis_name is None:
    return tree
  return jax.tree.map(
    lambda x: (
      jax.lax.pmean(x, axis_name)
      if jnp.issubdtype(jnp.result_type(x), jnp.inexact)
      else x
    ),
    tree,
  )


def sum(tree: T, axis_name: str | None) -> T:
  """Sums every array of `tree` over the devices (identity without an axis).

  Args:
    tree: arrays, one value per device; the place for metrics.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The tree of sums, the same on every device.
  """
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def all_gather(x: T, axis_name: str | None) -> T:
  """Concatenates every device's rows (identity without an axis).

  Differentiable: the gradient of a row collects what all devices did with it.

  Args:
    x: arrays whose first axis is this device's part of the batch.
    axis_name: the name the step was lifted under, or None.

  Returns:
    The same with the rows of all devices, in the order of the devices.
  """
  if axis_name is None:
    return x
  return jax.tree.map(lambda a: jax.lax.all_gather(a, axis_name, tiled=True), x)


def axis_size(axis_name: str | None) -> int:
  """How many devices the step runs on (1 without an axis)."""
  return 1 if axis_name is None else int(jax.lax.psum(1, axis_name))


def axis_index(axis_name: str | None) -> jax.Array | int:
  """Which of them this one is (0 without an axis)."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name)
