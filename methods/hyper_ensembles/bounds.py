"""Where each member's lambda is drawn from: log-uniform, with tuned bounds.

xi_k = (log a_kj, log b_kj) of Wenzel et al. 2020, j over hyperparameters. A
fixed lambda is an interval without length.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from kd_jax.methods.hyper_ensembles.space import Space

# The smallest length of an interval, of the box's.
SHORTEST = 5e-7


class Bounds(NamedTuple):
  """xi.

  Attributes:
    low: log a.
    high: log b.
  """

  low: Float[Array, "k h"]
  high: Float[Array, "k h"]


def at(lam: Float[Array, "k h"]) -> Bounds:
  """Intervals without length.

  Args:
    lam: the values.

  Returns:
    Bounds from which only `lam` is drawn.
  """
  return Bounds(jnp.log(lam), jnp.log(lam))


def initial(
  kind: str, key: Key[Array, ""], space: Space, members: int
) -> Bounds:
  """Where tuning starts.

  Args:
    kind: "full" (the box; the paper's MLP and LeNet), "inner" (half an order of
      magnitude in from either end; its ResNets) or "narrow" (the released
      code's: log-uniform mean, nearly, +- 0.2).
    key: draws the places of "narrow".
    space: the box.
    members: K.

  Returns:
    The bounds.

  Raises:
    ValueError: for an unknown kind.
  """
  shape = (members, len(space.names))
  low = jnp.broadcast_to(space.log_low, shape)
  high = jnp.broadcast_to(space.log_high, shape)
  if kind == "full":
    return Bounds(low, high)
  if kind == "inner":
    inside = jnp.minimum(jnp.log(10.0) / 2, 0.45 * (high - low))
    return Bounds(low + inside, high - inside)
  if kind != "narrow":
    raise ValueError(f"bounds are full, inner or narrow, not {kind!r}")
  middle = mean(Bounds(low, high))
  delta = 0.2
  start = middle + 0.1 * delta * jax.random.normal(key, shape)
  # Ranges that end below 1 (rates) have no room for +- 0.2.
  delta = jnp.minimum(delta, 0.5 * middle)
  start = jnp.maximum(start, 0.75 * middle)
  return clip(Bounds(jnp.log(start - delta), jnp.log(start + delta)), space)


def clip(bounds: Bounds, space: Space) -> Bounds:
  """Into the box, a above b by a hair at least: after every tuning step.

  Args:
    bounds: xi.
    space: the box.

  Returns:
    xi with log a in [low, high - 2 eps] and log b in [log a + eps, high].
  """
  low, high = space.log_low[None], space.log_high[None]
  eps = SHORTEST * (high - low)
  a = jnp.clip(bounds.low, low, high - 2 * eps)
  return Bounds(a, jnp.minimum(jnp.maximum(bounds.high, a + eps), high))


def draw(bounds: Bounds, u: Float[Array, "k b h"]) -> Float[Array, "k b h"]:
  """Lambda, as a function of xi that has a gradient.

  Args:
    bounds: xi.
    u: uniform numbers.

  Returns:
    exp(log a + u (log b - log a)).
  """
  low, high = bounds.low[:, None], bounds.high[:, None]
  return jnp.exp(low + u * (high - low))


def mean(bounds: Bounds) -> Float[Array, "k h"]:
  """(b - a) / (log b - log a), which is not sqrt(ab).

  Args:
    bounds: xi.

  Returns:
    The means; a where the interval has no length.
  """
  length = bounds.high - bounds.low
  tiny = length < 1e-4  # Then the mean is a (1 + length / 2) to 2e-9.
  safe = jnp.where(tiny, 1.0, length)
  ratio = jnp.where(tiny, 1 + length / 2, jnp.expm1(safe) / safe)
  return jnp.exp(bounds.low) * ratio


def entropy(bounds: Bounds) -> Float[Array, "k h"]:
  """Differential entropy of lambda.

  Args:
    bounds: xi.

  Returns:
    1/2 (log a + log b) + log(log b - log a).
  """
  length = jnp.maximum(bounds.high - bounds.low, 1e-12)
  return (bounds.low + bounds.high) / 2 + jnp.log(length)
