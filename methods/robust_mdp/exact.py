"""Exact values of a known model: the reference that learners are held against.

Value iteration stops at a tolerance (`lax.while_loop`); in float32 the residual
stalls at a few units in the last place, far below the errors that are measured
(a test compares it with float64), so that a run needs no float64 and the same
program serves every accelerator. Tests of exact rows run in float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp import backups, inner
from kd_jax.methods.robust_mdp.backups import Model
from kd_jax.methods.robust_mdp.divergences import Divergence

SWEEPS = 20_000


class Solved(NamedTuple):
  """A fixed point.

  Attributes:
    q: Q.
    residual: the last change, max |T Q - Q|.
    sweeps: how many it took.
  """

  q: Float[Array, "s a"]
  residual: Float[Array, ""]
  sweeps: Int[Array, ""]

  @property
  def v(self) -> Float[Array, "s"]:
    """max_a Q."""
    return self.q.max(-1)


def tolerance(model: Model) -> float:
  """The residual at which a sweep changes the last digits only.

  Args:
    model: the model.

  Returns:
    Eight units in the last place of a value of 1.
  """
  return 8 * float(jnp.finfo(model.probs.dtype).eps)


def value_iteration(
  backup: Callable[[Float[Array, "s"]], Float[Array, "s a"]],
  model: Model,
  *,
  stop: float | None = None,
  sweeps: int = SWEEPS,
) -> Solved:
  """Iterates a backup from 0 to its fixed point.

  Args:
    backup: V to Q, a contraction (`backups`).
    model: the model, for its shape and precision.
    stop: the residual to stop at; `tolerance` if None, relative to the largest
      value.
    sweeps: at most so many.

  Returns:
    The fixed point; its error is at most gamma / (1 - gamma) residuals.
  """
  stop = tolerance(model) if stop is None else stop

  def more(carry):
    q, residual, n = carry
    return (residual > stop * jnp.maximum(jnp.abs(q).max(), 1)) & (n < sweeps)

  def sweep(carry):
    q, _, n = carry
    new = backup(q.max(-1)).astype(q.dtype)
    return new, jnp.abs(new - q).max(), n + 1

  q = jnp.zeros(model.rewards.shape, model.probs.dtype)
  start = (q, jnp.asarray(jnp.inf, q.dtype), jnp.int32(0))
  return Solved(*jax.lax.while_loop(more, sweep, start))


def solve_ordinary(model: Model, **how: Any) -> Solved:
  """The non-robust optimum.

  Args:
    model: the model.
    **how: passed to `value_iteration`.

  Returns:
    Q*.
  """
  return value_iteration(
    lambda v: backups.ordinary_backup(model, v), model, **how
  )


def solve_penalised(
  divergence: Divergence, model: Model, lam: Any, **how: Any
) -> Solved:
  """The optimum of the penalised form.

  Args:
    divergence: f.
    model: the model.
    lam: the weight of the penalty.
    **how: passed to `value_iteration`.

  Returns:
    Q*_p.
  """
  return value_iteration(
    lambda v: backups.robust_backup(divergence, model, v, lam), model, **how
  )


def solve_constrained(
  divergence: Divergence, model: Model, rho: Any, **how: Any
) -> Solved:
  """The optimum of the constrained form, (s, a)-rectangular.

  Args:
    divergence: f.
    model: the model.
    rho: the radius.
    **how: passed to `value_iteration`.

  Returns:
    Q*_c.
  """
  return value_iteration(
    lambda v: backups.constrained_backup(divergence, model, v, rho),
    model,
    **how,
  )


def solve_contaminated(model: Model, share: Any, **how: Any) -> Solved:
  """The optimum under R-contamination.

  Args:
    model: the model.
    share: of the transitions that the adversary takes.
    **how: passed to `value_iteration`.

  Returns:
    Its Q.
  """
  return value_iteration(
    lambda v: backups.contaminated_backup(model, v, share), model, **how
  )


def solve_s_rectangular(
  divergence: Divergence, model: Model, rho: Any, *, sweeps: int = 400
) -> tuple[Float[Array, "s"], Float[Array, "s a"]]:
  """The optimum over s-rectangular sets, and its mixed policy.

  Args:
    divergence: f.
    model: the model.
    rho: the radius, an action's share.
    sweeps: how many; the error falls by gamma with each.

  Returns:
    V and pi.
  """

  def backup(v):
    return backups.s_rectangular_backup(divergence, model, v, rho)

  states = model.rewards.shape[0]
  v = jnp.zeros(states, model.probs.dtype)
  v = jax.lax.fori_loop(0, sweeps, lambda _, v: backup(v)[0], v)
  return backup(v)


def duality_gap(
  divergence: Divergence, model: Model, v: Float[Array, "s"], lam: Any
) -> Float[Array, ""]:
  """How far primal and dual of the inner solves are apart, at most.

  Args:
    divergence: f.
    model: the model.
    v: V.
    lam: the weight of the penalty.

  Returns:
    max over (s, a) of | P.V + lam D - E J(eta, V) |, P and eta the solver's.
  """
  values = backups.next_values(model, v)
  worst = inner.penalised(divergence)(model.probs, values, lam)
  wide = jnp.broadcast_to(values, model.probs.shape)
  primal = (worst.kernel * wide).sum(-1) + lam * worst.distance
  objective = inner.dual_objective(divergence)
  # From the side where f* is finite.
  eta = worst.eta[..., None] - 4 * jnp.finfo(v.dtype).eps * jnp.abs(v).max()
  gain = jnp.where(model.probs > 0, objective(eta, wide, lam), 0.0)
  return jnp.abs(primal - (model.probs * gain).sum(-1)).max()
