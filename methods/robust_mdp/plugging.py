"""The plug-in arm: estimate the kernel, then solve it exactly."""

import functools

import jax
import jax.numpy as jnp

from kd_jax import experiment
from kd_jax.methods.robust_mdp import (
  baselines,
  evaluation,
  exact,
  full_gradients,
  steps,
)
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.problems import Problem


def phase(config: Config, arm: str, problem: Problem) -> experiment.WholeRun:
  """`config.samples` draws of each pair, and robust value iteration on them.

  Args:
    config: the arm's configuration.
    arm: its name.
    problem: its problem.

  Returns:
    The phase; its product is "q" (M, L, S, A). Its metrics are named as the
    learners'.
  """
  data = {
    "world": simulator.compact(problem.mdp),
    "model": problem.model,
    "shifted": problem.shifted,
    "lams": jnp.asarray(config.lams),
  }
  return experiment.WholeRun(
    name="learn",
    arm=arm,
    run=functools.partial(_run, config, problem),
    data=data,
    steps=config.seeds,
  )


def _exact(divergence, model, v_max, lam):
  del v_max
  return exact.solve_penalised(divergence, model, lam).q


def _gradients(divergence, model, v_max, lam):
  return full_gradients.algorithm_3(divergence, model, lam, v_max)


_SOLVERS = {"exact": _exact, "gradients": _gradients}


def _run(config, problem, products, data, seed):
  divergence = DIVERGENCES[config.divergence]
  model = data["model"]
  places = problem.places(config.lams)
  reference = jnp.asarray(products[problem.key]["penalised"])[places]

  def one(member):
    shape = (config.samples, *model.rewards.shape)
    u = steps.uniforms(member, 1, jnp.int32(0), shape)
    drawn = simulator.sample_all(data["world"], u)
    found = baselines.plug_in(drawn, model.rewards, model.discount)
    solve = _SOLVERS[config.solver]
    solved = functools.partial(solve, divergence, found, problem.mdp.v_max)
    return jax.vmap(solved)(data["lams"])

  members = seed + jnp.arange(config.seeds, dtype=jnp.uint32)
  q = jax.lax.map(one, members)
  measure = evaluation.make_measure(
    evaluation.suffixes(config.lams),
    evaluation.robust(divergence),
    jnp.asarray(problem.mdp.start, jnp.float32),
  )
  measured = measure({"q": q, "reference": reference}, data)
  return {"q": q}, {f"final_{k}": m.total for k, m in measured.items()}
