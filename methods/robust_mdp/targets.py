"""What the arms of a generative model do in an outer step, for one member.

A member is one seed, its weights sharing the seed's samples. An update maps
`(q, eta, extra, numbers, t, data)` to new `(q, eta, extra)`, where `numbers(k)`
gives the k-th round of uniforms, one for each pair.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.methods.robust_mdp import baselines, learner, step_sizes
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.environments import simulator

# Of the geometric level of the multilevel estimate; below 1/2.
EPSILON = 0.4


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


def _penalised(config, v_max):
  divergence = DIVERGENCES[config.divergence]

  def update(q, eta, extra, numbers, t, data):
    beta = step_sizes.outer_rate(config.outer_rate, t, data["discount"])

    def draw(v):
      pick = simulator.picker(data["world"], v)
      return lambda k: pick(numbers(k))

    def weight(q, eta, lam):
      rates = step_sizes.inner_rates(
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
        beta = step_sizes.outer_rate(
          config.outer_rate, t * each + k, data["discount"]
        )
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
    beta = step_sizes.outer_rate(config.outer_rate, t, data["discount"])
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
    beta = step_sizes.outer_rate(config.outer_rate, t, data["discount"])
    new = baselines.q_learning_update(
      q[0], data["rewards"], seen, beta, data["discount"]
    )
    extra = {"multiplier": lam[None], "steepest": steepest[None]}
    return new[None], new_eta[None], extra

  return update


UPDATES: dict[str, Callable[[Config, float], Callable[..., Any]]] = {
  "penalised": _penalised,
  "ordinary": _with_target(_ordinary),
  "contaminated": _with_target(_contaminated),
  "multilevel": _multilevel,
  "constrained": _constrained,
}
