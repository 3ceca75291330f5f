"""Exact solvers of the inner problem: the worst kernel around P*(. | s, a).

Each is written for one pair, a vector p of probabilities and v of values of the
same next states, and broadcasts over leading axes; places with p = 0 count for
nothing (the adversary cannot invent transitions). All work with v less its
smallest value on the support, so that nothing large cancels and float32 keeps
six digits of the value.

Source: the duals are eq. 9 of Yang et al. 2023; the searches are ours.
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
  return _worst(pair_solver(divergence))


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
  run = over_pairs(solve, "(),(),(t),()")
  return lambda p, v, lam: Worst(*run(p, v, lam))


def over_pairs(
  solve: Callable[..., tuple[Array, ...]], outputs: str
) -> Callable[..., tuple[Array, ...]]:
  """A solver of one pair for any leading axes.

  Ranks are made equal with axes of 1, which `vectorize` leaves out of its maps:
  values that all pairs share are not copied for each.

  Args:
    solve: `(p, v, weight) -> outputs`, of vectors and a number.
    outputs: their shapes, as `jnp.vectorize` has them ("(),(t)").

  Returns:
    The same, broadcasting over leading axes.
  """
  run = jnp.vectorize(solve, signature=f"(t),(t),()->{outputs}")

  def mapped(p, v, weight):
    p, v, weight = jnp.asarray(p), jnp.asarray(v), jnp.asarray(weight)
    rank = max(p.ndim - 1, v.ndim - 1, weight.ndim)

    def raised(x, core):
      return x.reshape((1,) * (rank - x.ndim + core) + x.shape)

    return run(raised(p, 1), raised(v, 1), raised(weight, 0))

  return mapped


def above_floor(
  p: Float[Array, "t"], v: Float[Array, "t"]
) -> tuple[Float[Array, ""], Float[Array, "t"]]:
  """The smallest value on the support, and the values less it.

  Args:
    p: chances.
    v: values.

  Returns:
    min v where p > 0, and v less it (0 where p = 0).
  """
  floor = jnp.min(jnp.where(p > 0, v, jnp.inf))
  return floor, jnp.where(p > 0, v - floor, 0.0)


def _chi_square(p, v, lam):
  """E(e - v)_+ = 2 lam for e = eta + 2 lam, by Newton's steps.

  The left side is convex and made of straight pieces. From the right of its
  root, where all of the support lies below e, each step goes to the root of the
  piece that it stands on; the one that no longer moves left stands on the last.
  """
  floor, x = above_floor(p, v)

  def root(e, p, x, lam):
    below = jnp.where(x < e, p, 0.0)
    return (2 * lam + (below * x).sum()) / below.sum()

  # Found without derivatives, which are those of the rest below.
  piece = jax.lax.stop_gradient((p, x, lam))
  start = root(jnp.inf, *piece)
  e, _ = jax.lax.while_loop(
    lambda last: last[0] < last[1],
    lambda last: (root(last[0], *piece), last[0]),
    (start, jnp.full_like(start, jnp.inf)),
  )
  # What rounding has left of e is kept apart from it: where lam is tiny,
  # e - x is less than e's last places. Its terms are all of one sign.
  left = 2 * lam - (p * jnp.maximum(e - x, 0)).sum()
  rest = left / jnp.where(x < e, p, 0.0).sum()
  ratio = jnp.maximum((e - x) + rest, 0) / (2 * lam)
  distance = (p * jnp.square(ratio - 1)).sum()
  # At the optimum the Lagrangian's derivatives are those with P and eta held:
  # through them they would be differences over lam.
  held = jax.lax.stop_gradient(ratio)
  value = floor + (p * held * x).sum() + lam * (p * jnp.square(held - 1)).sum()
  value += (e - 2 * lam) * (1 - (p * held).sum())
  e += rest
  return value, floor + e - 2 * lam, p * ratio, distance


def _kl(p, v, lam):
  """-lam log E exp(-v / lam)."""
  floor, x = above_floor(p, v)
  weight = p * jnp.exp(-x / lam)
  total = weight.sum()
  kernel, log = weight / total, jnp.log(total)
  distance = -log - jnp.dot(kernel, x) / lam
  return floor - lam * log, floor + lam * (1 - log), kernel, distance


def _l1(p, v, lam):
  """E min(v, floor + 2 lam): what is dearer moves to the cheapest state."""
  floor, x = above_floor(p, v)
  dear = x > 2 * lam
  moved = jnp.where(dear, p, 0.0)
  cheapest = jnp.argmin(jnp.where(p > 0, x, jnp.inf))
  kernel = (p - moved).at[cheapest].add(moved.sum())
  value = floor + jnp.dot(p, jnp.minimum(x, 2 * lam))
  return value, floor + lam, kernel, 2 * moved.sum()


_CLOSED = {CHI_SQUARE.name: _chi_square, KL.name: _kl, L1.name: _l1}


def pair_solver(divergence: Divergence) -> Callable[..., tuple[Array, ...]]:
  """The solver of one pair: a closed form, or bisection.

  Args:
    divergence: f.

  Returns:
    `(p, v, lam) -> (value, eta, kernel, distance)`.
  """
  # By identity: a user's own may have any name.
  known = (
    divergence.name in _CLOSED
    and DIVERGENCES.get(divergence.name) is divergence
  )
  return _CLOSED[divergence.name] if known else _bisect(divergence)


def _bisect(divergence):
  gradient, objective = dual_gradient(divergence), dual_objective(divergence)

  def solve(p, v, lam):
    floor, x = above_floor(p, v)

    def rises(eta):
      slope = jnp.where(p > 0, gradient(eta, x, lam), 0.0)
      return jnp.dot(p, slope) >= 0

    low = lam * divergence.tilt
    eta, _ = halve(rises, low, low + x.max())
    # From the side where f* is finite.
    gain = jnp.where(p > 0, objective(eta, x, lam), 0.0)
    value = floor + jnp.dot(p, gain)
    ratio = jnp.where(p > 0, divergence.derivative((eta - x) / lam), 0.0)
    kernel = p * ratio
    distance = (value - floor - jnp.dot(kernel, x)) / lam
    return value, eta + floor, kernel, distance

  return solve


def halve(
  holds: Callable[[Float[Array, ""]], Array],
  low: Float[Array, ""],
  high: Float[Array, ""],
  steps: int = _BISECTIONS,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """The ends of the place where `holds` turns false, by bisection.

  Args:
    holds: true up to that place.
    low: below it.
    high: above it.
    steps: bisections.

  Returns:
    The last point where it held, and the first where it did not.
  """

  def body(_, ends):
    low, high = ends
    middle = low + (high - low) / 2
    good = holds(middle)
    return jnp.where(good, middle, low), jnp.where(good, high, middle)

  return jax.lax.fori_loop(0, steps, body, (low, high))
