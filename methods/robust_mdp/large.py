"""A task whose kernel is a burden: what each way of learning has to hold."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.methods.robust_mdp import evaluation, states, steps
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.problems import Problem


def phase(config: Config, arm: str, problem: Problem) -> experiment.WholeRun:
  """Algorithm 1 on a large task, in one program; not divided over devices.

  Args:
    config: the arm's configuration.
    arm: its name.
    problem: its problem.

  Returns:
    The phase. Its metrics, one value for each of its own, few seeds:
    "final_error", "error_share" (of the distance of the ordinary Q* from the
    robust one), "numbers" (what the learner carries, counted in its arrays),
    "model_numbers" (a dense estimate of the kernel, |S|^2 |A|),
    "simulator_numbers", and "share", the first numbers over the second.
  """
  return experiment.WholeRun(
    name="learn",
    arm=arm,
    run=functools.partial(_run, config, arm, problem),
    data=steps.world(config, problem),
    steps=config.outer_steps,
  )


def _run(config, arm, problem, products, data, seed):
  step = steps.generative_step(config, "penalised", problem.mdp.v_max)
  state = states.create(config, arm, problem, 1, products, seed)
  ordinary = jnp.asarray(products[problem.key]["ordinary"])
  gap = evaluation.sup_error(
    jnp.broadcast_to(ordinary, state.q.shape), state.reference
  )
  carried = jax.tree.leaves((state.q, state.eta, state.extra))
  learner = sum(x.size for x in carried) // (config.seeds * len(config.lams))
  counted = numbers(problem, learner)
  state = jax.lax.fori_loop(
    0, config.outer_steps, lambda _, s: step(s, data)[0], state
  )
  error = evaluation.sup_error(state.q, state.reference)
  found = {
    "final_error": error.mean(-1),
    "error_share": (error / gap).mean(-1),
    **{name: jnp.full(config.seeds, n) for name, n in counted.items()},
  }
  return {"q": state.q, "eta": state.eta}, found


def numbers(problem: Problem, learner: int) -> dict[str, float]:
  """How many numbers are held: by a learner at one weight, by an estimate.

  Args:
    problem: the problem.
    learner: what the learner's arrays hold.

  Returns:
    "numbers", "model_numbers", "simulator_numbers" and "share".
  """
  rewards = problem.mdp.rewards
  dense = rewards.size * problem.mdp.states
  world = simulator.compact(problem.mdp)
  return {
    "numbers": float(learner),
    "model_numbers": float(dense),
    "simulator_numbers": float(sum(np.size(x) for x in world)),
    "share": learner / dense,
  }
