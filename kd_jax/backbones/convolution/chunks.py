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
  added: int = 0,
) -> Any:
  """Applies a function to images, some at a time.

  Args:
    fn: of arrays with a leading axis of images, image by image.
    arrays: its arguments.
    numbers: how many numbers it makes of an image on its way.
    rows: how many rows an image gives to its products.
    added: how many of its results, the last ones, are sums over the images.

  Returns:
    What it gives for all images.
  """
  n = len(arrays[0])
  each = _images(n, numbers, rows)
  if each == n:
    return fn(*arrays)
  parts = tuple(a.reshape(-1, each, *a.shape[1:]) for a in arrays)
  shapes, tree = jax.tree.flatten(jax.eval_shape(fn, *(p[0] for p in parts)))
  first = len(shapes) - added

  def body(totals, parts):
    found = jax.tree.leaves(fn(*parts))
    totals = [a + b for a, b in zip(totals, found[first:], strict=True)]
    return totals, found[:first]

  zeros = [jnp.zeros(s.shape, s.dtype) for s in shapes[first:]]
  totals, found = jax.lax.scan(body, zeros, parts)
  whole = [v.reshape(n, *v.shape[2:]) for v in found]
  return jax.tree.unflatten(tree, [*whole, *totals])


def _images(n: int, numbers: int, rows: int) -> int:
  """How many images at a time; it divides n."""
  at_least = min(n, -(-ROWS // rows))
  at_most = max(at_least, NUMBERS // numbers)
  return next(
    (k for k in range(min(n, at_most), at_least - 1, -1) if n % k == 0), n
  )
