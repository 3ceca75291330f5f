"""The exact solution of a problem as a phase: what the learners are held to."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax import experiment
from kd_jax.methods.robust_mdp import exact, matching
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.problems import LARGE, Problem, label

# Radii at which the two forms are matched.
RADII = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def exact_phase(config: Config, problem: Problem) -> experiment.WholeRun:
  """Solves a problem, for all weights at once.

  Args:
    config: the run's configuration.
    problem: the problem.

  Returns:
    The phase; its product holds "penalised" (L, S, A), "ordinary",
    "contaminated" and "constrained" (S, A). Its numbers are the same for every
    seed.
  """
  data = {
    "model": problem.model,
    "start": problem.mdp.start.astype(problem.model.probs.dtype),
    "lams": jnp.asarray(problem.lams),
  }
  return experiment.WholeRun(
    name=problem.key,
    run=functools.partial(solve, config, problem.divergence, problem.lams),
    data=data,
  )


def solve(
  config: Config,
  divergence: str,
  lams: tuple[float, ...],
  products: experiment.Products,
  data: Any,
  seed: jax.Array,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """The solution, and its figures.

  Args:
    config: the run's configuration.
    divergence: f, by name.
    lams: the weights, for names.
    products: not used.
    data: "model", "start" and "lams".
    seed: not used.

  Returns:
    The product, and vectors of one equal value a seed: "gap_lam" (sup norm of
    V*_p - V*), "gap_fall" (the smallest fall from one weight to the next),
    "residual", "duality_gap", and for small tasks "match" (the largest
    difference of V_c and V_p at the start, their weights matched).
  """
  del products, seed
  f, model = DIVERGENCES[divergence], data["model"]
  ordinary = exact.solve_ordinary(model)
  # One after the other: a dense model's solves need its size several times.
  solved = jax.lax.map(
    lambda lam: exact.solve_penalised(f, model, lam), data["lams"]
  )
  v = solved.q.max(-1)
  gaps = jnp.abs(v - ordinary.v[None]).max(-1)
  doubts = jax.lax.map(
    lambda x: exact.duality_gap(f, model, x[0], x[1]), (v, data["lams"])
  )
  found = {f"gap_lam_{label(lam)}": gaps[i] for i, lam in enumerate(lams)}
  found["residual"] = solved.residual.max()
  found["duality_gap"] = doubts.max()
  if len(lams) > 1:
    found["gap_fall"] = (gaps[:-1] - gaps[1:]).min()
  product = {
    "penalised": solved.q,
    "ordinary": ordinary.q,
    "contaminated": exact.solve_contaminated(model, config.share).q,
  }
  if model.rewards.shape[0] <= LARGE:
    product["constrained"] = exact.solve_constrained(f, model, config.rho).q
    found |= _match(f, model, data["start"])
  whole = {
    name: jnp.broadcast_to(value, (config.seeds,))
    for name, value in found.items()
  }
  return product, whole


def _match(f, model, start):
  """Weights matched to radii, and how well the values agree there."""
  lams, goals = jax.lax.map(
    lambda rho: matching.matching_lam(f, model, start, rho), jnp.asarray(RADII)
  )
  values = jax.lax.map(
    lambda lam: jnp.dot(start, exact.solve_penalised(f, model, lam).v), lams
  )
  found = {"match": jnp.abs(values - goals).max()}
  for i, rho in enumerate(RADII):
    found[f"matching_lam_rho_{label(rho)}"] = lams[i]
  return found
