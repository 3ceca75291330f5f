"""Euclidean length and direction whose gradients are finite everywhere.

Both divide by the largest entry first, so that squares neither overflow nor
vanish (in float32 the square of 1e-23 is already 0). That entry is a constant
for the gradient, which is exact all the same: the results do not depend on it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def l2_norm(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
  """Lengths of vectors, with gradient 0 at the zero vector.

  Args:
    x: vectors along the last axis.

  Returns:
    Their Euclidean lengths.
  """
  y, scale = _scaled(x)
  squared = (y * y).sum(-1)
  zero = squared == 0
  root = jnp.sqrt(jnp.where(zero, jnp.ones_like(squared), squared))
  return jnp.where(zero, jnp.zeros_like(root), root * scale[..., 0])


def l2_normalize(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
  """Vectors divided by their lengths; zero stays zero, with gradient 0.

  Args:
    x: vectors along the last axis.

  Returns:
    Vectors of length 1, or 0 where there is no direction.
  """
  y, _ = _scaled(x)
  squared = (y * y).sum(-1, keepdims=True)
  zero = squared == 0
  root = jnp.sqrt(jnp.where(zero, jnp.ones_like(squared), squared))
  return jnp.where(zero, jnp.zeros_like(y), y / root)


def _scaled(x):
  scale = jax.lax.stop_gradient(jnp.abs(x).max(-1, keepdims=True))
  scale = jnp.where(scale == 0, jnp.ones_like(scale), scale)
  return x / scale, scale
