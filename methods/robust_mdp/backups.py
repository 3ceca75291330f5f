"""One sweep of dynamic programming over a known model, ordinary or robust.

A backup maps V to Q (the s-rectangular one to V). The model is what an exact
solver knows and a learner does not: it may be dense, or hold the successors of
each pair only.

Source: Yang et al. 2023, sections 2 and 3; the s-rectangular set is that of
Yang, Zhang and Zhang, Annals of Statistics 2022 (not in the paper).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp import ball, inner
from kd_jax.methods.robust_mdp.divergences import Divergence

_BISECTIONS = 50


class Model(NamedTuple):
  """P*, R and gamma.

  Attributes:
    probs: the chances of the next states.
    successors: which states these are; None where they are all, in order.
    rewards: R(s, a), paid before the transition.
    discount: gamma.
  """

  probs: Float[Array, "s a b"]
  successors: Int[Array, "s a b"] | None
  rewards: Float[Array, "s a"]
  discount: Float[Array, ""]


def model(mdp: Any, dtype: Any = np.float32) -> Model:
  """The model of an environment, compact where that halves its size.

  Args:
    mdp: an `environments.Mdp`.
    dtype: of its numbers.

  Returns:
    The model, on the host.
  """
  p = np.asarray(mdp.transitions)
  most = int((p > 0).sum(-1).max())
  successors = None
  if 2 * most <= p.shape[-1]:
    # The states with a chance first, in their order.
    order = np.argsort(p <= 0, axis=-1, kind="stable")[..., :most]
    p, successors = np.take_along_axis(p, order, -1), order.astype(np.int32)
  return Model(
    probs=p.astype(dtype),
    successors=successors,
    rewards=np.asarray(mdp.rewards, dtype),
    discount=np.asarray(mdp.discount, dtype),
  )


def next_values(
  model: Model, v: Float[Array, "s"]
) -> Float[Array, "t"] | Float[Array, "s a b"]:
  """V of the next states, as they stand in `model.probs`.

  Args:
    model: the model.
    v: V.

  Returns:
    V itself for a dense model, which all pairs share.
  """
  return v if model.successors is None else v[model.successors]


def ordinary_backup(model: Model, v: Float[Array, "s"]) -> Float[Array, "s a"]:
  """R + gamma E V.

  Args:
    model: the model.
    v: V.

  Returns:
    Q.
  """
  if model.successors is None:
    mean = jnp.einsum("sat,t->sa", model.probs, v, precision="highest")
  else:
    mean = (model.probs * v[model.successors]).sum(-1)
  return model.rewards + model.discount * mean


def robust_backup(
  divergence: Divergence, model: Model, v: Float[Array, "s"], lam: Any
) -> Float[Array, "s a"]:
  """R + gamma sup_eta J: the penalised ("alternative") form.

  A gamma-contraction. Source: Yang et al. 2023, eq. 7 to 9, Proposition 3.1.

  Args:
    divergence: f.
    model: the model.
    v: V.
    lam: the weight of the penalty; the larger, the nearer to the ordinary
      backup (it must be finite).

  Returns:
    Q.
  """
  worst = inner.penalised(divergence)(model.probs, next_values(model, v), lam)
  return model.rewards + model.discount * worst.value


def constrained_backup(
  divergence: Divergence, model: Model, v: Float[Array, "s"], rho: Any
) -> Float[Array, "s a"]:
  """R + gamma min { P.V : D(P || P*) <= rho }, (s, a)-rectangular.

  Source: Yang et al. 2023, section 2.

  Args:
    divergence: f.
    model: the model.
    v: V.
    rho: the radius.

  Returns:
    Q.
  """
  solve = ball.constrained(divergence)
  value = solve(model.probs, next_values(model, v), rho).value
  return model.rewards + model.discount * value


def contaminated_backup(
  model: Model, v: Float[Array, "s"], share: Any
) -> Float[Array, "s a"]:
  """R + gamma { (1 - share) E V + share min_s V }: R-contamination.

  Source: Wang and Zou, NeurIPS 2021.

  Args:
    model: the model.
    v: V.
    share: of the transitions that the adversary takes.

  Returns:
    Q.
  """
  ordinary = ordinary_backup(model, v) - model.rewards
  least = model.discount * v.min()
  return model.rewards + (1 - share) * ordinary + share * least


def s_rectangular_backup(
  divergence: Divergence, model: Model, v: Float[Array, "s"], rho: Any
) -> tuple[Float[Array, "s"], Float[Array, "s a"]]:
  """The backup over { (P_a)_a : sum_a D(P_a || P*_sa) <= |A| rho }.

  V(s) is the smallest u that the adversary can afford to force on every
  action: min { u : sum_a d_a(u) <= |A| rho }, d_a(u) the least divergence that
  brings action a down to u. Bisected from max_a (R + gamma min V) to
  max_a (R + gamma E V).
  The best policy mixes: pi(a | s) is proportional to -d d_a / du.

  Source: not in the paper; Yang, Zhang and Zhang 2022, derived anew.

  Args:
    divergence: f.
    model: the model.
    v: V.
    rho: the radius, an action's share.

  Returns:
    V and pi.
  """
  reach = ball.distance_to_reach(divergence)
  values = next_values(model, v)
  wide = jnp.broadcast_to(values, model.probs.shape)
  floor = jnp.where(model.probs > 0, wide, jnp.inf).min(-1)
  low = (model.rewards + model.discount * floor).max(-1)
  high = ordinary_backup(model, v).max(-1)
  budget = model.rewards.shape[1] * rho
  least = model.discount * jnp.finfo(v.dtype).eps

  def needed(u):
    goal = (u[:, None] - model.rewards) / jnp.maximum(model.discount, least)
    return reach(model.probs, values, goal)

  def body(_, ends):
    low, high = ends
    u = (low + high) / 2
    dear = needed(u)[0].sum(-1) > budget
    return jnp.where(dear, u, low), jnp.where(dear, high, u)

  _, u = jax.lax.fori_loop(0, _BISECTIONS, body, (low, high))
  weight = needed(u)[1]
  greedy = jax.nn.one_hot(
    jnp.argmax(ordinary_backup(model, v), -1), weight.shape[-1], dtype=v.dtype
  )
  total = weight.sum(-1, keepdims=True)
  # Where nothing can be lost no action has a weight: any best one will do.
  mixed = weight / jnp.where(total > 0, total, 1.0)
  return u, jnp.where(total > 0, mixed, greedy)
