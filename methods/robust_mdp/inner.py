"""Exact solvers of the inner problem: the worst kernel around P*(. | s, a).

Each is written for one pair, a vector p of probabilities and v of values of the
same next states, and broadcasts over leading axes; places with p = 0 count for
nothing (the adversary cannot invent transitions). All work with v less its
smallest value on the support, so that nothing large cancels and float32 keeps
six digits.

Source: the duals are eq. 9 of Yang et al. 2023; the sort is ours.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp.divergences import (
  CHI_SQUARE,
  DIVERGENCES,
  KL,
  L1,
  Divergence,
  dual_gradient,
  dual_objective,
)

_BISECTIONS = 60
# The multiplier of a constraint, in units of the range of V.
_LAM_RANGE = (1e-6, 1e6)


class Worst(NamedTuple):
  """The solution of min_P P.V + lam D(P || P*).

  Attributes:
    value: P.V + lam D.
    eta: the dual's argument at its maximum.
    kernel: P.
    distance: D(P || P*).
  """

  value: Float[Array, "*n"]
  eta: Float[Array, "*n"]
  kernel: Float[Array, "*n t"]
  distance: Float[Array, "*n"]


Solver = Callable[
  [Float[Array, "*n t"], Float[Array, "*n t"], Float[Array, "*n"]], Worst
]


def penalised(divergence: Divergence) -> Solver:
  """min_P P.V + lam D(P || P*), in closed form where there is one.

  Args:
    divergence: f. Any but chi-square, KL and L1 is solved by bisection.

  Returns:
    `(p, v, lam) -> Worst`, broadcasting over leading axes.
  """
  return _worst(_closed_or_bisect(divergence))


def by_bisection(divergence: Divergence) -> Solver:
  """The same for every divergence, from the dual's gradient alone.

  Args:
    divergence: f.

  Returns:
    `(p, v, lam) -> Worst`; the kernel is that of a smooth f (with L1 it keeps
    the mass that must move).
  """
  return _worst(_bisect(divergence))


def _worst(solve):
  run = _over_pairs(solve, "(),(),(t),()")
  return lambda p, v, lam: Worst(*run(p, v, lam))


def _over_pairs(solve, outputs):
  """A solver of one pair for any leading axes.

  Ranks are made equal with axes of 1, which `vectorize` leaves out of its maps:
  values that all pairs share are sorted once.
  """
  run = jnp.vectorize(solve, signature=f"(t),(t),()->{outputs}")

  def mapped(p, v, weight):
    p, v, weight = jnp.asarray(p), jnp.asarray(v), jnp.asarray(weight)
    rank = max(p.ndim - 1, v.ndim - 1, weight.ndim)

    def raised(x, core):
      return x.reshape((1,) * (rank - x.ndim + core) + x.shape)

    return run(raised(p, 1), raised(v, 1), raised(weight, 0))

  return mapped


def _above_floor(p, v):
  """The smallest value on the support, and the values less it."""
  floor = jnp.min(jnp.where(p > 0, v, jnp.inf))
  return floor, jnp.where(p > 0, v - floor, 0.0)


def _chi_square(p, v, lam):
  """E(e - v)_+ = 2 lam for e = eta + 2 lam, by sorting v once."""
  floor, x = _above_floor(p, v)
  # By v itself, which all pairs share: sorted once for all of them.
  order = jnp.argsort(v)
  q, y = p[order], jnp.where(p[order] > 0, v[order] - floor, -jnp.inf)
  y = jnp.maximum(jax.lax.cummax(y), 0.0)
  mass, first = jnp.cumsum(q), jnp.cumsum(q * y)
  e = (2 * lam + first) / jnp.maximum(mass, jnp.finfo(p.dtype).tiny)
  after = jnp.append(y[1:], jnp.inf)
  e = e[jnp.argmax((mass > 0) & (e <= after))]
  ratio = jnp.maximum(e - x, 0) / (2 * lam)
  distance = jnp.dot(p, jnp.square(ratio - 1))
  value = floor + jnp.dot(p * ratio, x) + lam * distance
  return value, floor + e - 2 * lam, p * ratio, distance


def _kl(p, v, lam):
  """-lam log E exp(-v / lam)."""
  floor, x = _above_floor(p, v)
  weight = p * jnp.exp(-x / lam)
  total = weight.sum()
  kernel, log = weight / total, jnp.log(total)
  distance = -log - jnp.dot(kernel, x) / lam
  return floor - lam * log, floor + lam * (1 - log), kernel, distance


def _l1(p, v, lam):
  """E min(v, floor + 2 lam): what is dearer moves to the cheapest state."""
  floor, x = _above_floor(p, v)
  dear = x > 2 * lam
  moved = jnp.where(dear, p, 0.0)
  cheapest = jnp.argmin(jnp.where(p > 0, x, jnp.inf))
  kernel = (p - moved).at[cheapest].add(moved.sum())
  value = floor + jnp.dot(p, jnp.minimum(x, 2 * lam))
  return value, floor + lam, kernel, 2 * moved.sum()


_CLOSED = {CHI_SQUARE.name: _chi_square, KL.name: _kl, L1.name: _l1}


def _closed_or_bisect(divergence):
  # By identity: a user's own may have any name.
  known = (
    divergence.name in _CLOSED
    and DIVERGENCES.get(divergence.name) is divergence
  )
  return _CLOSED[divergence.name] if known else _bisect(divergence)


def _bisect(divergence):
  gradient, objective = dual_gradient(divergence), dual_objective(divergence)

  def solve(p, v, lam):
    floor, x = _above_floor(p, v)

    def rises(eta):
      slope = jnp.where(p > 0, gradient(eta, x, lam), 0.0)
      return jnp.dot(p, slope) >= 0

    low = lam * divergence.tilt
    eta, _ = _halve(rises, low, low + x.max())
    # From the side where f* is finite.
    gain = jnp.where(p > 0, objective(eta, x, lam), 0.0)
    value = floor + jnp.dot(p, gain)
    ratio = jnp.where(p > 0, divergence.derivative((eta - x) / lam), 0.0)
    kernel = p * ratio
    distance = (value - floor - jnp.dot(kernel, x)) / lam
    return value, eta + floor, kernel, distance

  return solve


def _halve(holds, low, high, steps=_BISECTIONS):
  """The ends of the place where `holds` turns false, by bisection."""

  def body(_, ends):
    low, high = ends
    middle = low + (high - low) / 2
    good = holds(middle)
    return jnp.where(good, middle, low), jnp.where(good, high, middle)

  return jax.lax.fori_loop(0, steps, body, (low, high))


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
  inner = _closed_or_bisect(divergence)

  def solve(p, v, rho):
    floor, x = _above_floor(p, v)
    # Values of 0 to 1: the search's range is relative to them.
    span = jnp.where(x.max() > 0, x.max(), 1.0)
    unit = x / span
    at = jnp.asarray(_LAM_RANGE, p.dtype)

    def too_far(log):
      return inner(p, unit, jnp.exp(log))[3] > rho

    _, log = _halve(too_far, jnp.log(at[0]), jnp.log(at[1]))
    lam = jnp.exp(log)
    # lam = 0 is a candidate too: the whole support is within reach.
    value = jnp.maximum(inner(p, unit, lam)[0] - lam * rho, 0.0)
    return floor + span * value, span * lam

  run = _over_pairs(solve, "(),()")
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
  inner = _closed_or_bisect(divergence)

  def solve(p, v, c):
    floor, x = _above_floor(p, v)
    span = jnp.where(x.max() > 0, x.max(), 1.0)
    unit, goal = x / span, (c - floor) / span
    at = jnp.asarray(_LAM_RANGE, p.dtype)

    def low_enough(log):
      return jnp.dot(inner(p, unit, jnp.exp(log))[2], unit) <= goal

    log, _ = _halve(low_enough, jnp.log(at[0]), jnp.log(at[1]))
    lam = jnp.exp(log)
    far = (inner(p, unit, lam)[0] - goal) / lam
    free = jnp.dot(p, unit) <= goal
    return jnp.where(free, 0.0, far), jnp.where(free, 0.0, 1 / (lam * span))

  return _over_pairs(solve, "(),()")
