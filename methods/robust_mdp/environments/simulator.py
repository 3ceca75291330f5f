"""The generative model: samples of P*, and nothing of it to the learner.

The simulator holds O(|S| |A| B) numbers, B the largest number of successors;
a learner is handed samples only and holds O(|S| |A|). They are separate modules
so that neither's memory hides in the other's.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp.environments.mdp import Mdp

# Up to so many successors a choice is a chain of selects, which vectorises;
# beyond it a place is counted and looked up.
CHAINED = 8


class Simulator(NamedTuple):
  """P*, compact.

  Attributes:
    successors: the states with a chance, in the order of their numbers; the
      last one repeats where others have more.
    cumulative: the chance of it or one before; 1 from the last one on.
  """

  successors: Int[Array, "s a b"]
  cumulative: Float[Array, "s a b"]


def compact(mdp: Mdp) -> Simulator:
  """The sampler's table of a model.

  Args:
    mdp: the model.

  Returns:
    Successors (int32) and cumulative chances (float32).
  """
  p = mdp.transitions
  b = int((p > 0).sum(-1).max())
  # Stable: the states with a chance first, in their order.
  order = np.argsort(p <= 0, axis=-1, kind="stable")[..., :b]
  chance = np.take_along_axis(p, order, -1)
  count = (p > 0).sum(-1, keepdims=True)
  place = np.minimum(np.arange(b), count - 1)
  # Rounding must not leave a remainder behind the last one.
  cumulative = np.where(np.arange(b) >= count - 1, 1.0, chance.cumsum(-1))
  return Simulator(
    jnp.asarray(np.take_along_axis(order, place, -1), jnp.int32),
    jnp.asarray(cumulative, jnp.float32),
  )


def sample_all(
  simulator: Simulator, uniforms: Float[Array, "*n s a"]
) -> Int[Array, "*n s a"]:
  """A successor of every pair.

  Args:
    simulator: the table.
    uniforms: in [0, 1), independent.

  Returns:
    The successors.
  """
  return _choose(simulator.successors, simulator.cumulative, uniforms)


def sample_values(
  simulator: Simulator,
  values: Float[Array, "t"],
  uniforms: Float[Array, "*n s a"],
) -> Float[Array, "*n s a"]:
  """V(s') of a sampled successor of every pair.

  The same as `values[sample_all(...)]`, to the bit, but the table is looked up
  once however many samples are drawn.

  Args:
    simulator: the table.
    values: V.
    uniforms: in [0, 1), independent.

  Returns:
    The values.
  """
  return _choose(values[simulator.successors], simulator.cumulative, uniforms)


def picker(
  simulator: Simulator, values: Float[Array, "t"]
) -> Callable[[Float[Array, "p"]], Float[Array, "p"]]:
  """The same for many rounds of draws, with pairs in one axis.

  What does not change from round to round is looked up here, so that a round
  inside a loop only compares and selects; and one axis of |S||A| pairs fills
  vectors that a last axis of two actions leaves empty.

  Args:
    simulator: the table.
    values: V.

  Returns:
    From uniforms to the values V(s') of a successor of every pair, in the order
    of `rewards.ravel()`.
  """
  b = simulator.cumulative.shape[-1]
  table = values[simulator.successors].reshape(-1, b)
  cumulative = simulator.cumulative.reshape(-1, b)
  if b > CHAINED:
    return lambda uniforms: _choose(table, cumulative, uniforms)
  columns = [table[:, k] for k in range(b)]
  limits = [cumulative[:, k] for k in range(b)]

  def pick(uniforms):
    chosen = columns[-1]
    for k in reversed(range(b - 1)):
      chosen = jnp.where(uniforms < limits[k], columns[k], chosen)
    return chosen

  return pick


def sample_one(
  simulator: Simulator,
  state: Int[Array, ""],
  action: Int[Array, ""],
  uniform: Float[Array, ""],
) -> Int[Array, ""]:
  """A successor of one pair.

  Args:
    simulator: the table.
    state: s.
    action: a.
    uniform: in [0, 1).

  Returns:
    s'.
  """
  return _choose(
    simulator.successors[state, action],
    simulator.cumulative[state, action],
    uniform,
  )


def _choose(table: Array, cumulative: Array, uniforms: Array) -> Array:
  """Of each row of the table the entry in whose interval the uniform falls."""
  b = cumulative.shape[-1]
  if b <= CHAINED:
    chosen = jnp.broadcast_to(table[..., b - 1], uniforms.shape)
    for k in reversed(range(b - 1)):
      below = uniforms < _wide(cumulative[..., k], uniforms)
      chosen = jnp.where(below, _wide(table[..., k], uniforms), chosen)
    return chosen
  passed = uniforms[..., None] >= _wide(cumulative, uniforms[..., None])
  place = passed.sum(-1, keepdims=True)
  rows = jnp.broadcast_to(table, (*uniforms.shape, b))
  return jnp.take_along_axis(rows, place, -1)[..., 0]


def _wide(x: Array, like: Array) -> Array:
  """`x` with leading axes of 1, so that no rank is promoted silently."""
  return x.reshape((1,) * (like.ndim - x.ndim) + x.shape)
