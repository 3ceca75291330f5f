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
  problems,
  steps,
)
from kd_jax.methods.robust_mdp.arms import ARMS
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.problems import Problem


def phase(config: Config, arm: str, problem: Problem) -> experiment.WholeRun:
  """`config.samples` draws of each pair, and robust value iteration on them.

  In the penalised form that is section 6's plug-in, in the constrained one
  REVI (Panaganti and Kalathil, AISTATS 2022 [known]). All seeds run on each
  device.

  Args:
    config: the arm's configuration.
    arm: its name.
    problem: its problem.

  Returns:
    The phase; its product is "q" (M, L, S, A). Its metrics are named as the
    learners', and "final_spread_lam_X" is how far a seed's error is from the
    mean of all.
  """
  data = {
    "world": simulator.compact(problem.mdp),
    "model": problem.model,
    "shifted": problem.shifted,
    "lams": jnp.asarray(problems.weights(config, arm), jnp.float32),
  }
  return experiment.WholeRun(
    name="learn",
    arm=arm,
    run=functools.partial(_run, config, arm, problem),
    data=data,
    steps=config.seeds,
  )


def _exact(config, model, v_max, lam):
  del v_max
  divergence = DIVERGENCES[config.divergence]
  return exact.solve_penalised(divergence, model, lam).q


def _gradients(config, model, v_max, lam):
  divergence = DIVERGENCES[config.divergence]
  return full_gradients.algorithm_3(divergence, model, lam, v_max)


def _constrained(config, model, v_max, lam):
  del v_max, lam
  divergence = DIVERGENCES[config.divergence]
  return exact.solve_constrained(divergence, model, config.rho).q


def _solver(config, arm):
  if ARMS[arm].target == "constrained":
    return _constrained
  return {"exact": _exact, "gradients": _gradients}[config.solver]


def _run(config, arm, problem, products, data, seed):
  model, penalised = data["model"], ARMS[arm].target == "penalised"
  known = products[problem.key]
  if penalised:
    reference = jnp.asarray(known["penalised"])[problem.places(config.lams)]
  else:
    reference = jnp.asarray(known["constrained"])[None]
  solve = functools.partial(_solver(config, arm), config)

  def one(member):
    shape = (config.samples, *model.rewards.shape)
    u = steps.uniforms(member, 1, jnp.int32(0), shape)
    drawn = simulator.sample_all(data["world"], u)
    found = baselines.plug_in(drawn, model.rewards, model.discount)
    solved = functools.partial(solve, found, problem.mdp.v_max)
    return jax.vmap(solved)(data["lams"])

  members = seed + jnp.arange(config.seeds, dtype=jnp.uint32)
  q = jax.lax.map(one, members)
  backup = evaluation.robust(DIVERGENCES[config.divergence])
  measure = evaluation.make_measure(
    evaluation.suffixes(problems.weights(config, arm)),
    backup if penalised else None,
    jnp.asarray(problem.mdp.start, jnp.float32),
  )
  small = problem.mdp.states <= problems.LARGE
  measured = measure(
    {"q": q, "reference": reference},
    {**data, "model": model if small else None},
  )
  found = {f"final_{k}": m.total for k, m in measured.items()}
  errors = [k for k in found if k.startswith("final_error_lam_")]
  spreads = {
    k.replace("error", "spread"): jnp.abs(found[k] - found[k].mean())
    for k in errors
  }
  return {"q": q}, found | spreads
