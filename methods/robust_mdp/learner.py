"""Algorithms 1 and 2: the robust Q from samples alone.

A learner holds Q and eta, O(|S||A|) numbers, and sees the values of sampled
next states; nothing in this module knows a kernel, or has two axes of states.
All functions are those of one member (one seed, one lam) on arrays of any
leading shape; seeds and lams come from `jax.vmap`.

Letters: q = Q, eta the dual variable of each pair, v_next = V(s') of a sample,
lam the weight of the penalty, t the outer and k the inner step.

Source: Yang et al. 2023, section 4 (Algorithm 1) and section 5 (Algorithm 2).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp.divergences import (
  Divergence,
  edge_gradient,
  edge_objective,
  feasible,
  project,
  theta,
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


def inner_rates(
  rule: str,
  divergence: Divergence,
  lam: Scalar,
  v_max: float,
  steps: int,
  t: Scalar,
) -> Float[Array, "k"]:
  """The step sizes alpha of the ascent in eta.

  Args:
    rule: "sqrt" is the experiments' lam / sqrt(k), k from 1; "running" is
      lam / sqrt(k + t), which settles a warm start (ours); "constant" is lam;
      "theory" is that of section 4, diam(Theta) / (C_g sqrt(k)), with the
      constants of chi-square.
    divergence: f.
    lam: the weight of the penalty.
    v_max: the bound of V.
    steps: T'.
    t: the outer step, from 0.

  Returns:
    One rate a step.
  """
  k = jnp.arange(1, steps + 1, dtype=jnp.float32)
  if rule == "constant":
    return jnp.full(steps, 1.0) * lam
  if rule == "sqrt":
    return lam / jnp.sqrt(k)
  if rule == "running":
    return lam / jnp.sqrt(k + t)
  low, high = theta(divergence, lam, v_max)
  diameter = high - low
  strong = 2.0  # sigma, of (t - 1)^2.
  return diameter / ((diameter + v_max) / (lam * strong)) / jnp.sqrt(k)


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


def cold_reach(lam: float, steps: int) -> float:
  """How high eta climbs from 0 in T' steps of lam / sqrt(k), for chi-square.

  The gradient is at most 1, so that eta <= lam sum_k 1 / sqrt(k), about
  2 lam sqrt(T'). Where that is below the range of V a cold start leaves an
  error that no number of outer steps removes.

  Source: ours (the page's trap 2).

  Args:
    lam: the weight of the penalty.
    steps: T'.

  Returns:
    2 lam sqrt(T').
  """
  return 2 * lam * math.sqrt(steps)


class TrajectoryRates(NamedTuple):
  """The step sizes of Algorithm 2.

  Attributes:
    alpha: the scale of eta's, 1 / (kappa d_min), for one lam.
    alpha_shift: p_alpha.
    beta: the scale of Q's, 1 / ((1 - gamma) d_min).
    beta_shift: p_dagger.
  """

  alpha: Scalar
  alpha_shift: Scalar
  beta: Scalar
  beta_shift: Scalar


def trajectory_rates(
  lam: float, v_max: float, discount: float, rare: float, often: float
) -> TrajectoryRates:
  """The steps of Theorem 5.1, kappa = 1 / (6 (lam + v_max)) for chi-square.

  Source: Yang et al. 2023, section 5 and Theorem 5.1. For other divergences the
  same kappa is taken (inferred).

  Args:
    lam: the weight of the penalty.
    v_max: 1 / (1 - gamma), or a tighter bound of V.
    discount: gamma.
    rare: d_min, the smallest stationary chance of a pair.
    often: d_max.

  Returns:
    The constants.
  """
  kappa = 1 / (6 * (lam + v_max))

  def whole(x):  # 10.000000000000002 is 10.
    return math.ceil(x * (1 - 1e-9))

  return TrajectoryRates(
    alpha=1 / (kappa * rare),
    alpha_shift=whole((often / rare) ** 1.5),
    beta=1 / ((1 - discount) * rare),
    beta_shift=whole(often / ((1 - discount) * rare)),
  )


class Transition(NamedTuple):
  """What a trajectory shows at a step.

  Attributes:
    state: s.
    action: a.
    reward: r.
    after: s'.
  """

  state: Int[Array, ""]
  action: Int[Array, ""]
  reward: Scalar
  after: Int[Array, ""]


class Learned(NamedTuple):
  """What Algorithm 2 holds: three numbers a pair.

  Attributes:
    q: Q.
    eta: the dual variables.
    rest: what float32 has rounded off Q. After 4e6 transitions beta is 5e-5,
      and a step in a Q of 10 is below its last place (1e-6): without the rest
      the error stalls (on the ring at lam 10, .022 in the place of .003).
  """

  q: Float[Array, "s a"]
  eta: Float[Array, "s a"]
  rest: Float[Array, "s a"]


def trajectory_update(
  divergence: Divergence,
  learned: Learned,
  seen: Transition,
  t: Scalar,
  lam: Scalar,
  rates: TrajectoryRates,
  discount: Scalar,
  v_max: float,
  *,
  mended: bool = True,
) -> Learned:
  """One transition of Algorithm 2: Q first, then eta, both with the old eta.

  As printed it diverges: beta is 20 at first on the ring, and V is not
  projected. The proof needs both mended, and so does the algorithm.

  Source: Yang et al. 2023, section 5; the mending is ours.

  Args:
    divergence: f.
    learned: what is held.
    seen: the transition.
    t: the global step, from 0; not how often the pair was visited.
    lam: the weight of the penalty.
    rates: the step sizes.
    discount: gamma.
    v_max: the bound of V.
    mended: whether V is clipped to [0, v_max], and beta to at most 1.

  Returns:
    The same, changed at (s, a) only.
  """
  v_next = learned.q[seen.after].max()
  alpha = rates.alpha / (t + rates.alpha_shift) ** (2 / 3)
  beta = rates.beta / (t + rates.beta_shift)
  if mended:
    v_next, beta = jnp.clip(v_next, 0.0, v_max), jnp.minimum(beta, 1.0)
  pair = seen.state, seen.action
  q, eta, rest = (x[pair] for x in learned)
  target = q_target(divergence, eta, seen.reward, v_next, lam, discount)
  # Compensated summation.
  step = beta * (target - q) + rest
  new = q + step
  return Learned(
    learned.q.at[pair].set(new),
    learned.eta.at[pair].set(
      eta_update(divergence, eta, v_next, lam, alpha, v_max)
    ),
    learned.rest.at[pair].set(step - (new - q)),
  )


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
