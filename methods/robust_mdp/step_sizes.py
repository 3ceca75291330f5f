"""How far the algorithms go at a step: the paper's sizes, and ours.

Letters: alpha is the size of eta's steps, beta of Q's; T' how many inner steps
there are, k their number from 1, t the outer step from 0.

Source: Yang et al. 2023, sections 4 to 6.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.methods.robust_mdp.divergences import Divergence, theta

Scalar = Float[Array, ""]


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


def outer_rate(rule: str, t: Scalar, discount: Scalar) -> Scalar:
  """beta_t = 1 / (1 + (1 - gamma) t), or with t + 1 as Theorem 4.2 has it.

  Args:
    rule: "experiment" is the former, of section 6.1; "theory" the latter.
    t: updates of Q so far.
    discount: gamma.

  Returns:
    beta_t.
  """
  late = 1.0 if rule == "theory" else 0.0
  return 1 / (1 + (1 - discount) * (t + late))


def cold_reach(lam: float, steps: int) -> float:
  """How high eta climbs from 0 in T' steps of lam / sqrt(k), for chi-square.

  The gradient is at most 1, so that eta <= lam sum_k 1 / sqrt(k), about
  2 lam sqrt(T'). Where that is below the range of V a cold start leaves an
  error that no number of outer steps removes.

  Source: ours.

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
