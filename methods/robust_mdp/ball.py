"""The inner problem over a ball: the constrained form, and the least distance.

Both are searches over the multiplier of `inner`'s penalised solution, written
for one pair and broadcast over leading axes like it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp import inner
from kd_jax.methods.robust_mdp.divergences import Divergence

# The multiplier of a constraint, in units of the range of V.
_LAM_RANGE = (1e-6, 1e6)


class Constrained(NamedTuple):
  """The solution of min_P P.V over D(P || P*) <= rho.

  Attributes:
    value: P.V.
    lam: the multiplier of the constraint.
  """

  value: Float[Array, "*n"]
  lam: Float[Array, "*n"]


def constrained(
  divergence: Divergence,
) -> Callable[
  [Float[Array, "*n t"], Float[Array, "*n t"], Float[Array, "*n"]],
  Constrained,
]:
  """min_P P.V over D(P || P*) <= rho, as sup_lam { penalised - lam rho }.

  The derivative in lam is D(P_lam) - rho, which falls: 60 geometric bisections.

  Source: Yang et al. 2023, section 2.

  Args:
    divergence: f.

  Returns:
    `(p, v, rho) -> Constrained`, broadcasting over leading axes.
  """
  worst = inner.pair_solver(divergence)

  def solve(p, v, rho):
    floor, x = inner.above_floor(p, v)
    # Values of 0 to 1: the search's range is relative to them.
    span = jnp.where(x.max() > 0, x.max(), 1.0)
    unit = x / span
    at = jnp.asarray(_LAM_RANGE, p.dtype)

    def too_far(log):
      return worst(p, unit, jnp.exp(log))[3] > rho

    _, log = inner.halve(too_far, jnp.log(at[0]), jnp.log(at[1]))
    lam = jnp.exp(log)
    # lam = 0 is a candidate too: the whole support is within reach.
    value = jnp.maximum(worst(p, unit, lam)[0] - lam * rho, 0.0)
    return floor + span * value, span * lam

  run = inner.over_pairs(solve, "(),()")
  return lambda p, v, rho: Constrained(*run(p, v, rho))


def distance_to_reach(
  divergence: Divergence,
) -> Callable[
  [Float[Array, "*n t"], Float[Array, "*n t"], Float[Array, "*n"]],
  tuple[Float[Array, "*n"], Float[Array, "*n"]],
]:
  """The least D(P || P*) over kernels with P.V <= c.

  = max(0, sup_lam (penalised_lam - c) / lam), attained where P_lam.V = c.

  Args:
    divergence: f.

  Returns:
    `(p, v, c) -> (distance, 1 / lam)`; 1 / lam is 0 where P* itself will do.
    Below the smallest value on the support no kernel reaches c, and the
    distance is only large.
  """
  worst = inner.pair_solver(divergence)

  def solve(p, v, c):
    floor, x = inner.above_floor(p, v)
    span = jnp.where(x.max() > 0, x.max(), 1.0)
    unit, goal = x / span, (c - floor) / span
    at = jnp.asarray(_LAM_RANGE, p.dtype)

    def low_enough(log):
      return jnp.dot(worst(p, unit, jnp.exp(log))[2], unit) <= goal

    log, _ = inner.halve(low_enough, jnp.log(at[0]), jnp.log(at[1]))
    lam = jnp.exp(log)
    far = (worst(p, unit, lam)[0] - goal) / lam
    free = jnp.dot(p, unit) <= goal
    return jnp.where(free, 0.0, far), jnp.where(free, 0.0, 1 / (lam * span))

  return inner.over_pairs(solve, "(),()")
