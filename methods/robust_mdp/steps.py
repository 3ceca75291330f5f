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
  baselines,
  evaluation,
  learner,
  trajectory,
)
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.problems import Problem
from kd_jax.methods.robust_mdp.states import Learners

Step = Callable[..., tuple[Learners, dict[str, metrics.Mean]]]
# Of the geometric level of the multilevel estimate; below 1/2.
EPSILON = 0.4
# What is logged of a diverging member: many at 1e38 have no finite sum.
_MOST = 1e9


def draws_per_step(config: Config, target: str) -> int:
  """Samples of each pair in an outer step.

  Args:
    config: the arm's configuration.
    target: what a sample is turned into.

  Returns:
    T' + 1; for the multilevel estimate how many it uses on average.
  """
  if target == "multilevel":
    chances = [
      baselines.level_chance(n, config.levels, EPSILON)
      for n in range(config.levels + 1)
    ]
    return round(sum(p * 2 ** (n + 1) for n, p in enumerate(chances)))
  return config.inner_steps + 1


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
  member_step = _MEMBER_STEPS[target](config, v_max)

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
        return learner.trajectory_update(
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
    learned = learner.Learned(state.q, state.eta, state.extra["rest"])
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


def outer_rate(
  config: Config, t: Array, discount: Float[Array, ""]
) -> Float[Array, ""]:
  """beta_t = 1 / (1 + (1 - gamma) t), or with t + 1 as Theorem 4.2 has it.

  Args:
    config: the arm's configuration.
    t: updates of Q so far.
    discount: gamma.

  Returns:
    beta_t.
  """
  late = 1.0 if config.outer_rate == "theory" else 0.0
  return 1 / (1 + (1 - discount) * (t + late))


def _penalised(config, v_max):
  divergence = DIVERGENCES[config.divergence]

  def update(q, eta, extra, numbers, t, data):
    beta = outer_rate(config, t, data["discount"])

    def draw(v):
      pick = simulator.picker(data["world"], v)
      return lambda k: pick(numbers(k))

    def weight(q, eta, lam):
      rates = learner.inner_rates(
        config.inner_rate, divergence, lam, v_max, config.inner_steps, t
      )
      return learner.generative_update(
        divergence,
        q,
        eta if config.warm else jnp.zeros_like(eta),
        data["rewards"],
        draw,
        lam,
        beta,
        rates,
        data["discount"],
        v_max,
        average=config.average == "eta",
        fresh=config.fresh,
      )

    q, eta = jax.vmap(weight)(q, eta, data["lams"])
    if "mean" in extra:
      extra = {"mean": baselines.averaged(extra["mean"], q, t)}
    return q, eta, extra

  return update


def _with_target(turn):
  """Learners without an inner problem: each sample is an update of Q."""

  def make(config, v_max):
    each = config.inner_steps + 1

    def update(q, eta, extra, numbers, t, data):
      def sample(k, q):
        v = learner.greedy_values(q, v_max)
        beta = outer_rate(config, t * each + k, data["discount"])
        u = numbers(k).reshape(q.shape)
        seen = turn(config, v, simulator.sample_values(data["world"], v, u))
        return baselines.q_learning_update(
          q, data["rewards"], seen, beta, data["discount"]
        )

      q = jax.lax.fori_loop(0, each, sample, q[0])
      return q[None], eta, extra

    return update

  return make


def _all_rounds(numbers, n, data):
  u = jax.vmap(numbers)(jnp.arange(n))
  return u.reshape(n, *data["rewards"].shape)


def _ordinary(config, v, v_next):
  return v_next


def _contaminated(config, v, v_next):
  return baselines.contaminated_target(v_next, v.min(), config.share)


def _multilevel(config, v_max):
  # Shapes are static: the largest sample is drawn, and a level uses its part.
  drawn = 2 ** (config.levels + 1) + 1

  def update(q, eta, extra, numbers, t, data):
    u = _all_rounds(numbers, drawn, data)
    v = learner.greedy_values(q[0], v_max)
    values = simulator.sample_values(data["world"], v, u[:-1])
    level = baselines.levels(u[-1], config.levels, EPSILON)
    seen = baselines.multilevel_target(values, level, config.rho, EPSILON)
    beta = outer_rate(config, t, data["discount"])
    new = baselines.q_learning_update(
      q[0], data["rewards"], seen, beta, data["discount"]
    )
    return new[None], eta, extra

  return update


def _constrained(config, v_max):
  divergence = DIVERGENCES[config.divergence]

  drawn = draws_per_step(config, "constrained")

  def update(q, eta, extra, numbers, t, data):
    u = _all_rounds(numbers, drawn, data)
    v = learner.greedy_values(q[0], v_max)
    values = simulator.sample_values(data["world"], v, u)

    def ascend(carry, x):
      eta, lam, steepest = carry
      v_next, rate = x
      eta, lam, slope = baselines.constrained_ascent(
        divergence, eta, lam, v_next, config.rho, rate, v_max
      )
      return (eta, lam, jnp.maximum(steepest, slope.max())), None

    k = jnp.arange(1, config.inner_steps + 1, dtype=jnp.float32)
    start = eta[0], extra["multiplier"][0], extra["steepest"][0]
    rates = config.constrained_rate / jnp.sqrt(k)
    (new_eta, lam, steepest), _ = jax.lax.scan(
      ascend, start, (values[:-1], rates)
    )
    seen = baselines.constrained_target(
      divergence, new_eta, lam, values[-1], config.rho
    )
    beta = outer_rate(config, t, data["discount"])
    new = baselines.q_learning_update(
      q[0], data["rewards"], seen, beta, data["discount"]
    )
    extra = {"multiplier": lam[None], "steepest": steepest[None]}
    return new[None], new_eta[None], extra

  return update


_MEMBER_STEPS = {
  "penalised": _penalised,
  "ordinary": _with_target(_ordinary),
  "contaminated": _with_target(_contaminated),
  "multilevel": _multilevel,
  "constrained": _constrained,
}
