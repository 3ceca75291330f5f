"""What a fixed policy is worth: under one kernel, and under the worst one."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.robust_mdp.backups import Model
from kd_jax.methods.robust_mdp.exact import value_iteration


def followed(
  model: Model, policy: Int[Array, "s"]
) -> tuple[Model, Int[Array, "s"]]:
  """The model of a fixed policy, as one with a single action.

  Args:
    model: the model.
    policy: an action for each state.

  Returns:
    The model, and the policy.
  """

  def take(x):
    index = policy.reshape(-1, *[1] * (x.ndim - 1))
    return jnp.take_along_axis(x, index, 1)

  successors = None if model.successors is None else take(model.successors)
  own = Model(
    take(model.probs), successors, take(model.rewards), model.discount
  )
  return own, policy


def policy_value(model: Model, policy: Int[Array, "s"]) -> Float[Array, "s"]:
  """V of a fixed policy, by a linear solve.

  Args:
    model: the model (nominal, or a shifted one).
    policy: an action for each state.

  Returns:
    (I - gamma P_pi)^-1 R_pi.
  """
  own, _ = followed(model, policy)
  chances, n = own.probs[:, 0], policy.shape[0]
  if own.successors is not None:
    rows = jnp.broadcast_to(jnp.arange(n)[:, None], chances.shape)
    dense = jnp.zeros((n, n), chances.dtype)
    chances = dense.at[rows, own.successors[:, 0]].add(chances)
  matrix = jnp.eye(n, dtype=chances.dtype) - model.discount * chances
  return jnp.linalg.solve(matrix, own.rewards)[:, 0]


def worst_value(
  backup: Callable[[Model, Float[Array, "s"]], Float[Array, "s a"]],
  model: Model,
  policy: Int[Array, "s"],
  **how: Any,
) -> Float[Array, "s"]:
  """V of a fixed policy under the worst kernel of a robust backup.

  Args:
    backup: `(model, v) -> Q`, e.g. `backups.robust_backup` with its divergence
      and lam bound.
    model: the model.
    policy: an action for each state.
    **how: passed to `value_iteration`.

  Returns:
    The robust value of the policy, by value iteration with one action.
  """
  own, _ = followed(model, policy)
  return value_iteration(lambda v: backup(own, v), own, **how).v
