"""The phases: exact values, then a learner for each arm, all seeds at once."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import (
  control,
  evaluation,
  large,
  plugging,
  problems,
  solving,
  states,
  step_sizes,
  steps,
  targets,
  trajectory,
  validate,
)
from kd_jax.methods.robust_mdp.arms import ARMS, of_arm
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.problems import LARGE, Problem

PyTree = Any
Say = Callable[[str], None]
_WHOLE = {"plug_in": plugging.phase, "large": large.phase}


def phases(
  config: Config, data: Mapping[str, Any], say: Say
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: empty: a user's model is the path in `environment`.
    say: takes lines of news.

  Returns:
    The exact solution of each problem, and a learner for each arm.

  Raises:
    UsageError: for fields or models that do not fit together.
  """
  if data:
    raise UsageError(
      f"robust_mdp takes no data by role ({', '.join(data)}); your own model "
      "is the path of an .npz in environment"
    )
  known, by_arm = problems.gather(config)
  _check_sizes(by_arm)
  found: list[Any] = [solving.exact_phase(config, p) for p in known.values()]
  for arm, problem in by_arm.items():
    own = of_arm(config, arm)
    if ARMS[arm].kind in _WHOLE:
      found.append(_WHOLE[ARMS[arm].kind](own, arm, problem))
    else:
      found.append(learner_phase(own, arm, problem, say))
  if len(by_arm) < len(config.arms):
    found += control.phases(config, say)
  return found


def _check_sizes(by_arm):
  for arm, problem in by_arm.items():
    needed = ARMS[arm].target in ("constrained", "multilevel")
    if needed and problem.mdp.states > LARGE:
      raise UsageError(
        f"{arm} is held to the constrained form's exact values, which are "
        f"solved for up to {LARGE} states; {problem.mdp.name} has "
        f"{problem.mdp.states}: leave {arm} out of arms"
      )


def learner_phase(
  config: Config, arm: str, problem: Problem, say: Say
) -> experiment.Phase:
  """One arm's learners: seeds x weights members in one state.

  Args:
    config: the arm's configuration.
    arm: its name.
    problem: its problem.
    say: takes lines of news.

  Returns:
    The phase; its product is `states.product`'s.
  """
  kind, target, *_ = ARMS[arm]
  v_max = problem.mdp.v_max
  if kind == "trajectory":
    step = steps.trajectory_step(config, v_max)
    count, drawn = -(-config.transitions // config.chunk), config.chunk
    extra = follow(config, arm, problem, say)
  else:
    step = steps.generative_step(config, target, v_max)
    count, extra = config.outer_steps, {}
    drawn = targets.draws_per_step(config, target) * problem.mdp.rewards.size
    if target == "penalised":
      for line in validate.floors(config, v_max):
        say(f"{arm}: {line}")
  every = -(-count // config.points)
  at = np.arange(0, count, every, dtype=np.float32)
  return experiment.Phase(
    name="learn",
    arm=arm,
    init=functools.partial(states.create, config, arm, problem, len(at)),
    step=step,
    steps=count,
    data={**steps.world(config, problem), **extra},
    product=functools.partial(states.product, at),
    evaluations={"final": _measure(config, arm, problem)},
    epoch=experiment.Epoch(states.make_record(every), every, None),
    batch_size=config.seeds * drawn,
    split=states.split,
    may_diverge=True,  # "final_finite" is a claim.
  )


def follow(
  config: Config, arm: str, problem: Problem, say: Say
) -> dict[str, Any]:
  """What a trajectory needs: the behaviour, and the steps that fit it.

  Args:
    config: the arm's configuration.
    arm: its name, for the news.
    problem: its problem.
    say: takes lines of news.

  Returns:
    "behaviour" and "rates".
  """
  mdp = problem.mdp
  chances = trajectory.action_chances(mdp.actions, config.first_action)
  seen = trajectory.visits(mdp.transitions, chances, config.restart)
  if seen.restart:
    say(
      f"{arm}: {mdp.name} comes back to some states never, or hardly ever: the "
      f"trajectory restarts anywhere with chance {seen.restart:g}"
    )
  rates = [
    step_sizes.trajectory_rates(
      lam, mdp.v_max, mdp.discount, seen.rare, seen.often
    )
    for lam in config.lams
  ]
  return {
    "behaviour": trajectory.behaviour(
      mdp.actions, config.first_action, seen.restart
    ),
    "rates": jax.tree.map(lambda *x: np.asarray(x, np.float32), *rates),
  }


def _measure(config, arm, problem) -> experiment.Evaluation:
  target, small = ARMS[arm].target, problem.mdp.states <= LARGE
  backup = None
  if target == "penalised":
    backup = evaluation.robust(DIVERGENCES[config.divergence])
  weights = problems.weights(config, arm)
  run = evaluation.make_measure(
    evaluation.suffixes(weights),
    backup,
    jnp.asarray(problem.mdp.start, jnp.float32),
  )
  data = {
    "lams": np.asarray(weights, np.float32),
    "model": problem.model if small else None,
    "shifted": problem.shifted,
  }
  return experiment.Evaluation(run, data)


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The greedy policy of the first seed's learner, to use.

  Args:
    config: the configuration.
    products: of a run with the arm "algorithm_1".

  Returns:
    `apply(variables, states) -> actions` for state numbers of any shape, and
    the variables: "q" (S, A) at the weight nearest to `use_lam`, and its "lam".

  Raises:
    UsageError: if the arm was not among the run's.
  """
  if "algorithm_1.learn" not in products:
    raise UsageError(
      f"there is no policy to load: the run has the arms "
      f"{', '.join(config.arms)} and not algorithm_1"
    )
  lams = of_arm(config, "algorithm_1").lams
  place = problems.nearest(config, "algorithm_1", config.use_lam)
  q = products["algorithm_1.learn"]["q"][0, place]

  def act(variables, state):
    return jnp.asarray(variables["q"]).argmax(-1)[jnp.asarray(state)]

  return jax.jit(act), {"q": q, "lam": lams[place]}
