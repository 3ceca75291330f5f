"""Value iteration that stops by the span: the tail of the sum is known.

Ordinary and penalised backups are monotone and commute with constants, T(V + c)
= TV + gamma c, so that with d = TV - V

  TV + gamma/(1 - gamma) min d <= V* <= TV + gamma/(1 - gamma) max d

(MacQueen's bounds). Where transitions mix, d becomes flat long before it is
small: the span max d - min d falls faster than by gamma a sweep, and the middle
of the bounds is V* to half the span times gamma/(1 - gamma).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp.backups import Model
from kd_jax.methods.robust_mdp.exact import SWEEPS, Solved


def span_iteration(
  backup: Callable[[Float[Array, "s"]], Float[Array, "s a"]],
  model: Model,
  *,
  tolerance: float,
  sweeps: int = SWEEPS,
) -> Solved:
  """Iterates from 0 until the bounds are closer than a tolerance.

  Args:
    backup: V to Q; it commutes with constants (ordinary and penalised backups
      do, R-contamination too).
    model: the model, for its shape, precision and discount.
    tolerance: of the values; half of what lies between the bounds. In float32
      nothing below 1e-6 of the largest value is reached.
    sweeps: at most so many.

  Returns:
    The middle of the bounds; the residual is the span of the last change.
  """
  tail = model.discount / (1 - model.discount)

  def more(carry):
    _, low, high, n = carry
    return (tail * (high - low) > 2 * tolerance) & (n < sweeps)

  def sweep(carry):
    q, _, _, n = carry
    v = q.max(-1)
    new = backup(v)
    change = new.max(-1) - v
    return new, change.min(), change.max(), n + 1

  q = jnp.zeros(model.rewards.shape, model.probs.dtype)
  wide = jnp.asarray(jnp.inf, q.dtype)
  q, low, high, n = jax.lax.while_loop(
    more, sweep, (q, -wide, wide, jnp.int32(0))
  )
  return Solved(q + tail * (low + high) / 2, high - low, n)
