"""Algorithm 1, and the updates that Algorithm 2 shares: Q from samples alone.

A learner holds Q and eta, O(|S||A|) numbers, and sees the values of sampled
next states; nothing in this module knows a kernel, or has two axes of states.
All functions are those of one member (one seed, one lam) on arrays of any
leading shape; seeds and lams come from `jax.vmap`.

Letters: q = Q, eta the dual variable of each pair, v_next = V(s') of a sample,
lam the weight of the penalty, t the outer and k the inner step.

Source: Yang et al. 2023, section 4.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp.divergences import (
  Divergence,
  edge_gradient,
  edge_objective,
  feasible,
  project,
)

Scalar = Float[Array, ""]


def eta_update(
  divergence: Divergence,
  eta: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  lam: Scalar,
  rate: Scalar,
  v_max: float,
) -> Float[Array, "*n"]:
  """A step of projected stochastic ascent on the dual.

  eta + rate dJ/deta(eta, v_next), projected. Where f* is infinite (L1) eta is
  brought back to the sample's own bound first and last: eta - lam is then a
  running minimum of the observed values, forgotten at the rate.

  Source: Algorithm 1, line 4.

  Args:
    divergence: f.
    eta: the dual variable.
    v_next: V(s') of one sample each.
    lam: the weight of the penalty.
    rate: the step size.
    v_max: V is in [0, v_max].

  Returns:
    The new eta.
  """
  at = feasible(divergence, eta, v_next, lam)
  moved = at + rate * edge_gradient(divergence, at, v_next, lam)
  return project(
    divergence, feasible(divergence, moved, v_next, lam), lam, v_max
  )


def q_update(
  divergence: Divergence,
  q: Float[Array, "*n"],
  eta: Float[Array, "*n"],
  reward: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  lam: Scalar,
  beta: Scalar,
  discount: Scalar,
) -> Float[Array, "*n"]:
  """(1 - beta) Q + beta (r + gamma J(eta, v_next)).

  J of a sample is heavy-tailed downwards and must not be clipped: that would
  bias it. What is clipped is V, by the caller.

  Source: Algorithm 1, line 5; Algorithm 2.

  Args:
    divergence: f.
    q: Q.
    eta: the dual variable.
    reward: r.
    v_next: V(s') of one sample each.
    lam: the weight of the penalty.
    beta: the step size.
    discount: gamma.

  Returns:
    The new Q.
  """
  target = q_target(divergence, eta, reward, v_next, lam, discount)
  return q + beta * (target - q)


def q_target(
  divergence: Divergence,
  eta: Float[Array, "*n"],
  reward: Float[Array, "*n"],
  v_next: Float[Array, "*n"],
  lam: Scalar,
  discount: Scalar,
) -> Float[Array, "*n"]:
  """The target r + gamma J(eta, v_next), eta brought to where J is finite.

  Args:
    divergence: f.
    eta: the dual variable.
    reward: r.
    v_next: V(s') of one sample each.
    lam: the weight of the penalty.
    discount: gamma.

  Returns:
    The target.
  """
  return reward + discount * edge_objective(divergence, eta, v_next, lam)


def greedy_values(q: Float[Array, "*s a"], v_max: float) -> Float[Array, "*s"]:
  """V = max_a Q, clipped to [0, v_max].

  Source: Algorithm 1, line 2.
  """
  return jnp.clip(q.max(-1), 0.0, v_max)


def ascend(
  divergence: Divergence,
  eta: Float[Array, "*n"],
  sample: Callable[[Int[Array, ""]], Float[Array, "*n"]],
  lam: Scalar,
  rates: Float[Array, "k"],
  v_max: float,
  *,
  average: bool = False,
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
  """The inner loop: T' steps on fresh samples.

  A sample is drawn where it is used: to draw all T' of them first would take
  longer to write and read than to compute.

  Args:
    divergence: f.
    eta: where it starts: 0 ("cold", the paper's), or the last one ("warm").
    sample: the k-th sample's V(s'), k from 0.
    lam: the weight of the penalty.
    rates: the step sizes.
    v_max: the bound of V.
    average: whether the mean of the iterates is used (Polyak).

  Returns:
    The last eta, and the one for the Q update.
  """

  def step(k, carry):
    eta, total = carry
    eta = eta_update(divergence, eta, sample(k), lam, rates[k], v_max)
    return eta, total + eta if average else total

  steps = rates.shape[0]
  eta, total = jax.lax.fori_loop(0, steps, step, (eta, jnp.zeros_like(eta)))
  return eta, total / steps if average else eta


Draw = Callable[
  [Float[Array, "s"]], Callable[[Int[Array, ""]], Float[Array, "p"]]
]


def generative_update(
  divergence: Divergence,
  q: Float[Array, "s a"],
  eta: Float[Array, "s a"],
  reward: Float[Array, "s a"],
  draw: Draw,
  lam: Scalar,
  beta: Scalar,
  rates: Float[Array, "k"],
  discount: Scalar,
  v_max: float,
  *,
  average: bool = False,
  fresh: bool = True,
) -> tuple[Float[Array, "s a"], Float[Array, "s a"]]:
  """One outer step of Algorithm 1: T' steps in eta, then one in Q.

  Args:
    divergence: f.
    q: Q.
    eta: where the ascent starts.
    reward: r.
    draw: from V to a function that gives the k-th sample of every pair, V(s'),
      pairs in one axis; k from 0 to T'.
    lam: the weight of the penalty.
    beta: the step size in Q.
    rates: the step sizes in eta.
    discount: gamma.
    v_max: the bound of V.
    average: whether the mean of the inner iterates is used.
    fresh: whether the sample of the Q update is none of the ascent's, as the
      algorithm says.

  Returns:
    Q and eta.
  """
  sample = draw(greedy_values(q, v_max))
  eta, used = ascend(
    divergence, eta.ravel(), sample, lam, rates, v_max, average=average
  )
  last = sample(jnp.int32(rates.shape[0] if fresh else rates.shape[0] - 1))
  new = q_update(
    divergence, q.ravel(), used, reward.ravel(), last, lam, beta, discount
  )
  return new.reshape(q.shape), eta.reshape(q.shape)
