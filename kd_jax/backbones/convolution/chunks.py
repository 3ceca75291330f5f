"""A few images at a time, so that what is made of them stays in the cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Numbers that may be alive at once: what was fastest on a two-core machine.
# Larger ones are read from memory, and their pages are touched for the first
# time in every call.
NUMBERS = 2**21
# Rows that a product needs to be worth its call.
ROWS = 512


def over_images(
  fn: Callable[..., Any],
  arrays: tuple[jax.Array, ...],
  numbers: int,
  rows: int,
) -> jax.Array:
  """Applies a function to images, some at a time.

  Args:
    fn: of arrays with a leading axis of images, image by image.
    arrays: its arguments.
    numbers: how many numbers it makes of an image on its way.
    rows: how many rows an image gives to its products.

  Returns:
    What it gives for all images.
  """
  n = len(arrays[0])
  each = _images(n, numbers, rows)
  if each == n:
    return fn(*arrays)
  found = jax.lax.map(lambda parts: fn(*parts), _split(arrays, each))
  return found.reshape(n, *found.shape[2:])


def add_over_images(
  fn: Callable[..., Any],
  arrays: tuple[jax.Array, ...],
  numbers: int,
  rows: int,
) -> jax.Array:
  """Adds up what a function gives for images, some at a time.

  Args:
    fn: of arrays with a leading axis of images; it sums over them.
    arrays: its arguments.
    numbers: how many numbers it makes of an image on its way.
    rows: how many rows an image gives to its products.

  Returns:
    The sum over all images.
  """
  n = len(arrays[0])
  each = _images(n, numbers, rows)
  if each == n:
    return fn(*arrays)
  parts = _split(arrays, each)
  shape = jax.eval_shape(fn, *(p[0] for p in parts))
  zero = jnp.zeros(shape.shape, shape.dtype)
  return jax.lax.scan(lambda a, p: (a + fn(*p), None), zero, parts)[0]


def _images(n: int, numbers: int, rows: int) -> int:
  """How many images at a time; it divides n."""
  at_least = min(n, -(-ROWS // rows))
  at_most = max(at_least, NUMBERS // numbers)
  return next(
    (k for k in range(min(n, at_most), at_least - 1, -1) if n % k == 0), n
  )


def _split(arrays, each):
  return tuple(a.reshape(-1, each, *a.shape[1:]) for a in arrays)
