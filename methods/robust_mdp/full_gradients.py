"""Algorithm 3: the inner problem by gradients over a known kernel.

The exact solvers of `inner` give its limit in one go; it is here as the paper's
own way to its ground truth and its plug-in, for comparison.

Source: Yang et al. 2023, section 6.1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp.backups import Model, next_values
from kd_jax.methods.robust_mdp.divergences import (
  Divergence,
  dual_gradient,
  dual_objective,
  project,
)
from kd_jax.methods.robust_mdp.learner import greedy_values


def algorithm_3(
  divergence: Divergence,
  model: Model,
  lam: Float[Array, ""],
  v_max: float,
  outer_steps: int = 100,
  inner_steps: int = 100,
) -> Float[Array, "s a"]:
  """Q after T sweeps, each with T' gradient steps in eta and Q overwritten.

  eta is kept between sweeps, and the step is lam, as in the paper's plug-in.

  Args:
    divergence: f, of finite conjugate (not L1).
    model: the kernel, known or estimated.
    lam: the weight of the penalty.
    v_max: V is in [0, v_max].
    outer_steps: T.
    inner_steps: T'.

  Returns:
    Q.
  """
  gradient, objective = dual_gradient(divergence), dual_objective(divergence)

  def mean(values):
    return (model.probs * values).sum(-1)

  def sweep(_, carry):
    q, eta = carry
    v = next_values(model, greedy_values(q, v_max))
    v = jnp.broadcast_to(v, model.probs.shape)

    def ascend(_, eta):
      slope = mean(gradient(eta[..., None], v, lam))
      return project(divergence, eta + lam * slope, lam, v_max)

    eta = jax.lax.fori_loop(0, inner_steps, ascend, eta)
    worst = mean(objective(eta[..., None], v, lam))
    return model.rewards + model.discount * worst, eta

  q = jnp.full_like(model.rewards, v_max)
  eta = project(divergence, jnp.zeros_like(q), lam, v_max)
  return jax.lax.fori_loop(0, outer_steps, sweep, (q, eta))[0]
