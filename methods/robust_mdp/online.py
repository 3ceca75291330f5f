"""Algorithm 2: the robust Q from one trajectory, a transition at a time.

Like `learner`, it knows no kernel: it is shown what the trajectory shows.

Source: Yang et al. 2023, section 5.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp.divergences import Divergence
from kd_jax.methods.robust_mdp.learner import eta_update, q_target
from kd_jax.methods.robust_mdp.step_sizes import TrajectoryRates

Scalar = Float[Array, ""]


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
