"""The largest of each 2x2 window, with a gradient that is quick on the CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "k b h w c"]) -> Float[Array, "k b h2 w2 c"]:
  """The largest of each 2x2 window; an odd last row or column is left out.

  Equally large numbers share the gradient equally.

  Args:
    x: activations.

  Returns:
    Activations of half the size.
  """
  k, b, h, w, c = x.shape
  x = x[:, :, : h // 2 * 2, : w // 2 * 2]
  return _largest(x.reshape(k, b, h // 2, 2, w // 2, 2, c))


@jax.custom_vjp
def _largest(x: Float[Array, "k b h 2 w 2 c"]) -> Float[Array, "k b h w c"]:
  return x.max((3, 5))


def _largest_forward(x):
  return _largest(x), x


def _largest_backward(x, dy):
  """As of `max`, but no reduction: the CPU is slow at small ones.

  Nothing is asked to equal the largest: a compiler may work x out twice, a last
  place apart, and then nothing would. Shares add up to 1 whatever it does.
  """
  left, right = x[:, :, :, :, :, 0], x[:, :, :, :, :, 1]
  rows = jnp.maximum(left, right)
  across = _share(left, right, 0.5)
  # Two that are the largest of their row get twice as much as one.
  many = jnp.where((left > right) | (right > left), 1.0, 2.0)
  upper, lower = many[:, :, :, 0], many[:, :, :, 1]
  down = _share(rows[:, :, :, 0], rows[:, :, :, 1], upper / (upper + lower))
  down = (down * dy)[:, :, :, None], ((1 - down) * dy)[:, :, :, None]
  first = jax.lax.broadcasted_iota(jnp.int32, across.shape, 3) == 0
  down = jnp.where(first, *down)[:, :, :, :, :, None]
  across = across[:, :, :, :, :, None]
  first = jax.lax.broadcasted_iota(jnp.int32, x.shape, 5) == 0
  return ((down * jnp.where(first, across, 1 - across)).astype(x.dtype),)


def _share(a, b, equal):
  """What the first gets: all where it is larger, nothing where smaller."""
  return jnp.where(a > b, 1.0, jnp.where(b > a, 0.0, equal))


_largest.defvjp(_largest_forward, _largest_backward)
