"""A few images at a time, so that what is made of them stays in the cache.

Of a loop's body the runtime runs what does not depend on one another at once:
two parts side by side keep a second core busy with the small products and
copies that are not divided over cores themselves.
"""

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
  each = _images(n, numbers, rows) if n else 0
  if each == n:
    return fn(*arrays)
  beside = 2 if n % (2 * each) == 0 else 1
  parts = tuple(a.reshape(-1, beside, each, *a.shape[1:]) for a in arrays)
  shapes, tree = jax.tree.flatten(jax.eval_shape(fn, *(p[0, 0] for p in parts)))
  first = len(shapes) - added

  def body(totals, parts):
    found = [jax.tree.leaves(fn(*(p[i] for p in parts))) for i in range(beside)]
    for leaves in found:
      totals = [a + b for a, b in zip(totals, leaves[first:], strict=True)]
    whole = (leaves[:first] for leaves in found)
    return totals, [jnp.concatenate(v) for v in zip(*whole, strict=True)]

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
