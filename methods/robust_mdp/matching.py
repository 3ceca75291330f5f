"""Which weight of the penalty stands for which radius of the ball.

Source: Yang et al. 2023, Theorem 3.1; existence is the paper's, the search (V_p
rises with lam, V_c falls with rho) is ours.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp.backups import Model
from kd_jax.methods.robust_mdp.divergences import Divergence
from kd_jax.methods.robust_mdp.exact import solve_constrained, solve_penalised


def matching_lam(
  divergence: Divergence,
  model: Model,
  start: Float[Array, "s"],
  rho: Any,
  *,
  bisections: int = 40,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """The lam whose penalised value equals the constrained one at rho.

  Equality is of one number, the value of a given start distribution; the values
  of single states, and the policies, still differ.

  Args:
    divergence: f.
    model: the model.
    start: the distribution of the first state.
    rho: the radius.
    bisections: of log lam, between 1e-4 and 1e4 times the values' bound.

  Returns:
    lam, and V_c(start).
  """
  goal = jnp.dot(start, solve_constrained(divergence, model, rho).v)
  scale = model.rewards.max() / (1 - model.discount)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    solved = solve_penalised(divergence, model, jnp.exp(middle))
    poor = jnp.dot(start, solved.v) < goal
    return jnp.where(poor, middle, low), jnp.where(poor, high, middle)

  ends = (jnp.log(1e-4 * scale), jnp.log(1e4 * scale))
  low, high = jax.lax.fori_loop(0, bisections, halve, ends)
  return jnp.exp((low + high) / 2), goal


def matching_rho(
  divergence: Divergence,
  model: Model,
  start: Float[Array, "s"],
  lam: Any,
  *,
  bisections: int = 40,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """The rho whose constrained value equals the penalised one at lam.

  Args:
    divergence: f.
    model: the model.
    start: the distribution of the first state.
    lam: the weight of the penalty.
    bisections: of log rho, between 1e-6 and 1e4.

  Returns:
    rho, and V_p(start).
  """
  goal = jnp.dot(start, solve_penalised(divergence, model, lam).v)

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    solved = solve_constrained(divergence, model, jnp.exp(middle))
    rich = jnp.dot(start, solved.v) > goal
    return jnp.where(rich, middle, low), jnp.where(rich, high, middle)

  at = jnp.log(jnp.asarray([1e-6, 1e4], model.probs.dtype))
  low, high = jax.lax.fori_loop(0, bisections, halve, (at[0], at[1]))
  return jnp.exp((low + high) / 2), goal
