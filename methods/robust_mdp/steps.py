"""The pure steps of the arms: samples drawn, an update of every member.

A member's samples are a function of its seed and the step alone, so that
neither the number of devices nor the order of the members changes a number; the
weights of one seed share its samples.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

from kd_jax import accel, draws, metrics
from kd_jax.methods.robust_mdp import (
  evaluation,
  online,
  targets,
  trajectory,
)
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.problems import Problem
from kd_jax.methods.robust_mdp.states import Learners

Step = Callable[..., tuple[Learners, dict[str, metrics.Mean]]]
# What is logged of a diverging member: many at 1e38 have no finite sum.
_MOST = 1e9


def world(config: Config, problem: Problem) -> dict[str, Any]:
  """What a step is given: samples of the kernel, never the kernel.

  Args:
    config: the arm's configuration.
    problem: its problem.

  Returns:
    "world" (the simulator), "rewards", "discount" and "lams".
  """
  return {
    "world": simulator.compact(problem.mdp),
    "rewards": np.asarray(problem.mdp.rewards, np.float32),
    "discount": np.float32(problem.mdp.discount),
    "lams": np.asarray(config.lams, np.float32),
  }


def uniforms(
  member: UInt[Array, ""], stream: int, step: Array, shape: tuple[int, ...]
) -> Float[Array, "..."]:
  """A member's numbers in [0, 1) at a step.

  Args:
    member: its seed.
    stream: keeps independent uses apart.
    step: the step.
    shape: how many.

  Returns:
    The numbers.
  """
  place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
  return draws.uniforms(draws.stream_key(member, stream, step), place)


def rounds(
  member: UInt[Array, ""], stream: int, step: Array, pairs: int
) -> Callable[[Array], Float[Array, "p"]]:
  """The same numbers a round of all pairs at a time, drawn where they are used.

  Args:
    member: its seed.
    stream: keeps independent uses apart.
    step: the step.
    pairs: |S||A|.

  Returns:
    From the number of a round to its numbers.
  """
  key = draws.stream_key(member, stream, step)
  cell = jnp.arange(pairs, dtype=jnp.uint32)

  def numbers(k):
    return draws.uniforms(key, jnp.uint32(k) * jnp.uint32(pairs) + cell)

  return numbers


def generative_step(config: Config, target: str, v_max: float) -> Step:
  """Builds an outer step of a learner with a generative model.

  Args:
    config: the arm's configuration.
    target: see `arms.Arm`.
    v_max: the bound of V.

  Returns:
    `(state, data, *, axis_name) -> (state, metrics)`, for data with "world",
    "rewards", "discount", "lams".
  """
  member_step = targets.UPDATES[target](config, v_max)

  def step(state, data, *, axis_name=None):
    def one(member, q, eta, extra):
      numbers = rounds(member, 0, state.step, data["rewards"].size)
      return member_step(q, eta, extra, numbers, state.step, data)

    q, eta, extra = jax.vmap(one)(state.member, state.q, state.eta, state.extra)
    return _advance(state, q, eta, extra, axis_name)

  return step


def trajectory_step(config: Config, v_max: float) -> Step:
  """Builds a chunk of Algorithm 2.

  Args:
    config: the arm's configuration.
    v_max: the bound of V.

  Returns:
    `(state, data, *, axis_name) -> (state, metrics)`, for data with "world",
    "rewards", "discount", "lams", "behaviour" and "rates".
  """
  divergence = DIVERGENCES[config.divergence]

  def one(member, at, learned, step, data):
    u = uniforms(member, 0, step, (config.chunk, 4))
    at, seen = trajectory.roll_out(
      data["world"], data["rewards"], data["behaviour"], at, u
    )
    t = step * config.chunk + jnp.arange(config.chunk)

    def move(learned, x):
      seen, t = x

      def update(learned, lam, rates):
        return online.trajectory_update(
          divergence,
          learned,
          seen,
          t,
          lam,
          rates,
          data["discount"],
          v_max,
          mended=config.mended,
        )

      return jax.vmap(update)(learned, data["lams"], data["rates"]), None

    return at, jax.lax.scan(move, learned, (seen, t.astype(jnp.float32)))[0]

  def step(state, data, *, axis_name=None):
    learned = online.Learned(state.q, state.eta, state.extra["rest"])
    at, (q, eta, rest) = jax.vmap(one, in_axes=(0, 0, 0, None, None))(
      state.member, state.extra["at"], learned, state.step, data
    )
    bad = ~jnp.isfinite(q).all((-2, -1))
    new = bad & (state.extra["lost"] < 0)
    lost = jnp.where(new, (state.step + 1) * config.chunk, state.extra["lost"])
    extra = {"at": at, "lost": lost, "rest": rest}
    return _advance(state, q, eta, extra, axis_name)

  return step


def _advance(state, q, eta, extra, axis_name):
  """The new state, and what is logged of it."""
  change = jnp.abs(q - state.q).max((-2, -1))
  state = state.replace(step=state.step + 1, q=q, eta=eta, extra=extra)
  error = evaluation.sup_error(state.estimate(), state.reference)
  # A diverging member is reported, and must not end the others' run.
  good = jnp.isfinite(error) & jnp.isfinite(change)
  found = {
    "error": metrics.mean(jnp.minimum(error, _MOST), good),
    "change": metrics.mean(jnp.minimum(change, _MOST), good),
    "finite": metrics.mean(good.astype(jnp.float32)),
  }
  return state, accel.sum(found, axis_name)
