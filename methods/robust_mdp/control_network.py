"""Algorithm 2's duals with a network: two heads, Q and eta.

Beyond the paper (ours): its table becomes a network, its trajectory a replay
memory. A transition's eta head ascends J(eta(s, a), V(s')), and Q regresses to
r + gamma J(eta, V(s')): as in Algorithm 2 both take the same sample, and the
target the eta from before the step. V is that of a slower copy of the network.
Without a penalty (lam infinite) J is V(s') and this is Q-learning: the same
network, memory, draws and budget.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp import control_task as task
from kd_jax.methods.robust_mdp.divergences import (
  Divergence,
  edge_objective,
  project,
)

PyTree = Any
V_MAX = 1.0


class TwoHeads(nn.Module):
  """Observations to Q and eta of every action.

  Attributes:
    widths: of the hidden layers.
  """

  widths: tuple[int, ...]

  @nn.compact
  def __call__(
    self, x: Float[Array, "*n d"]
  ) -> tuple[Float[Array, "*n a"], Float[Array, "*n a"]]:
    """Both heads.

    Args:
      x: observations.

    Returns:
      Q and eta.
    """
    for width in self.widths:
      x = nn.tanh(nn.Dense(width)(x))
    actions = len(task.TORQUES)
    q, eta = nn.Dense(actions, name="q")(x), nn.Dense(actions, name="eta")(x)
    return q, eta


def td_terms(
  net: TwoHeads,
  divergence: Divergence | None,
  lam: float,
  discount: float,
  params: PyTree,
  target: PyTree,
  before: Float[Array, "b 2"],
  action: Int[Array, "b"],
  after: Float[Array, "b 2"],
) -> dict[str, Float[Array, "b"]]:
  """The terms of a batch of transitions.

  Args:
    net: the network.
    divergence: f; None for no penalty.
    lam: the weight of the penalty.
    discount: gamma.
    params: the network's variables.
    target: its slower copy's.
    before: s.
    action: a.
    after: s'.

  Returns:
    "q", the squared error of Q, and with a penalty "eta", -4 lam J(eta, V(s')):
    so weighed it is, for chi-square and where nothing is cut off, the squared
    error of eta as an estimate of V(s'), plus what eta does not change. Where
    eta is off by d the target is too low by d^2 / (4 lam): a small lam needs an
    exact eta.
  """

  def taken(head):
    return jnp.take_along_axis(head, action[:, None], 1)[:, 0]

  x = task.observation(before)
  q, eta = (taken(head) for head in net.apply(params, x))
  best = net.apply(target, task.observation(after))[0].max(-1)
  v = jnp.where(task.fallen(after), 0.0, jnp.clip(best, 0.0, V_MAX))
  v = jax.lax.stop_gradient(v)
  worst, terms = v, {}
  if divergence is not None:

    def dual(eta):
      eta = project(divergence, eta, lam, V_MAX)
      return edge_objective(divergence, eta, v, lam)

    worst = dual(eta)
    terms["eta"] = -4 * lam * worst
  goal = task.reward(before, discount) + discount * worst
  terms["q"] = jnp.square(q - jax.lax.stop_gradient(goal))
  return terms


def act(
  net: TwoHeads, params: PyTree, state: Float[Array, "*n 2"]
) -> Int[Array, "*n"]:
  """The greedy action.

  Args:
    net: the network.
    params: its variables.
    state: angle and angular velocity.

  Returns:
    Actions.
  """
  return net.apply(params, task.observation(state))[0].argmax(-1)
