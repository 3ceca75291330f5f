"""The benchmark's rows: the two algorithms, Q-learning and exact iteration.

A step is an outer step of Algorithm 1, a chunk of Algorithm 2, a round of
Q-learning as long as the former, or (exact) a whole solution from V = 0. "ex/s"
counts samples; in exact rows pairs backed up, so that over |S||A| it counts
sweeps.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.methods.robust_mdp import (
  backups,
  environments,
  peers,
  problems,
  span,
  train,
)
from kd_jax.methods.robust_mdp.arms import of_arm
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE
from kd_jax.methods.robust_mdp.environments import classic

SEEDS, INNER, LAM = 40, 100, 2.0
# Of a sample: the select, gradient, step and projection; a draw is integers.
OPERATIONS = 12
GARNET = {"states": 2000, "actions": 10}
DISCOUNT = 0.95
# mdpsolver looks after every second sweep whether the span is below its
# tolerance; at half of it we take as many.
TOLERANCE = 1e-3


def _config(arm: str) -> Config:
  config = Config(arms=(arm,), lams=(LAM,), use_lam=LAM, seeds=SEEDS)
  return of_arm(config, arm)


def learner_case(arm: str) -> experiment.Phase:
  """A step of an arm's learners, all seeds at once.

  Args:
    arm: its name.

  Returns:
    The phase to time.
  """
  config = _config(arm)
  problem = problems.gather(Config(arms=(arm,), lams=(LAM,), use_lam=LAM))[1][
    arm
  ]
  phase = train.learner_phase(config, arm, problem, lambda line: None)
  zeros = jnp.zeros(problem.mdp.rewards.shape)
  solved = {"penalised": zeros[None], "ordinary": zeros, "constrained": zeros}

  def init(products, seed):
    # Errors against 0 take as long as errors against the solution.
    return phase.init({**products, problem.key: solved}, seed)

  return dataclasses.replace(phase, init=init)


def sample_flops(arm: str) -> float:
  """Floating point operations of a step: `OPERATIONS` for each sample.

  Args:
    arm: its name.

  Returns:
    The count.
  """
  return float(OPERATIONS * learner_case(arm).batch_size)


@functools.lru_cache(maxsize=1)
def _garnet(branching: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  successors, chances, rewards = classic.draw_garnet(
    **GARNET, branching=branching, seed=0
  )
  return successors, chances[0], rewards


def exact_case(branching: int, lam: float) -> experiment.Phase:
  """Value iteration from 0 to `TOLERANCE`.

  Args:
    branching: successors of a pair.
    lam: the weight of the penalty; infinity for ordinary backups.

  Returns:
    The phase to time; its state is V.
  """
  successors, chances, rewards = _garnet(branching)
  model = backups.Model(
    chances.astype(np.float32),
    successors.astype(np.int32),
    rewards.astype(np.float32),
    np.float32(DISCOUNT),
  )

  def solve(model):
    if np.isinf(lam):
      backup = functools.partial(backups.ordinary_backup, model)
    else:
      backup = functools.partial(
        backups.robust_backup, CHI_SQUARE, model, lam=lam
      )
    return span.span_iteration(backup, model, tolerance=TOLERANCE / 4)

  def step(state, model, *, axis_name=None):
    return {**state, "v": solve(model).v}, {}

  sweeps = int(jax.jit(solve)(model).sweeps)
  return experiment.Phase(
    name="solve",
    init=lambda products, seed: {"v": jnp.zeros(len(rewards)), "seed": seed},
    step=step,
    steps=1,
    data=model,
    # In a loop the compiler would solve the same model once.
    fused=False,
    batch_size=sweeps * rewards.size,
  )


def exact_flops(branching: int) -> float:
  """Floating point operations of a solution by ordinary sweeps.

  Args:
    branching: successors of a pair.

  Returns:
    A product and a sum for each successor, in each sweep.
  """
  return 2.0 * branching * exact_case(branching, np.inf).batch_size


def _numpy_peer() -> peers.Run:
  mdp = environments.make("chain")
  return peers.NumpyAlgorithm1(mdp, LAM, SEEDS, INNER).run


def _toolbox_peer(arm: str, environment: str) -> peers.Run:
  samples = learner_case(arm).batch_size
  return peers.toolbox_q_learning(environments.make(environment), samples)


def _solver_peer(branching: int, algorithm: str, parallel: bool) -> peers.Run:
  return peers.solver_iteration(
    *_garnet(branching),
    DISCOUNT,
    tolerance=TOLERANCE,
    algorithm=algorithm,
    parallel=parallel,
  )


def _solver_peers(branching: int) -> tuple[experiment.Peer, ...]:
  settings: dict[str, tuple[str, bool]] = {
    "mdpsolver 0.10 (VI)": ("vi", False),
    "mdpsolver 0.10 (VI, threads)": ("vi", True),
    "mdpsolver 0.10 (MPI)": ("mpi", False),
  }
  return tuple(
    experiment.Peer(name, functools.partial(_solver_peer, branching, *how))
    for name, how in settings.items()
  )


def _toolbox(arm: str, environment: str) -> tuple[experiment.Peer, ...]:
  make: Callable[[], peers.Run] = functools.partial(
    _toolbox_peer, arm, environment
  )
  return (experiment.Peer("mdptoolbox-hiive 4.0 (Q-learning)", make),)


def _exact(branching: int) -> experiment.Case:
  return experiment.Case(
    f"exact VI, Garnet 2,000 x 10, {branching} successors",
    functools.partial(exact_case, branching, np.inf),
    functools.partial(exact_flops, branching),
    peers=_solver_peers(branching),
  )


CASES = (
  experiment.Case(
    "Algorithm 1, chain, T' = 100, 40 seeds",
    functools.partial(learner_case, "cold"),
    functools.partial(sample_flops, "cold"),
    peers=(experiment.Peer("NumPy, vectorised (ours)", _numpy_peer),),
  ),
  experiment.Case(
    "Algorithm 2, ring, 40 seeds",
    functools.partial(learner_case, "algorithm_2"),
    functools.partial(sample_flops, "algorithm_2"),
    peers=_toolbox("algorithm_2", "ring"),
  ),
  experiment.Case(
    "Q-learning, chain, 40 seeds",
    functools.partial(learner_case, "q_learning"),
    functools.partial(sample_flops, "q_learning"),
    peers=_toolbox("q_learning", "chain"),
  ),
  _exact(10),
  _exact(100),
  experiment.Case(
    "exact robust VI, Garnet 2,000 x 10, 10 successors",
    functools.partial(exact_case, 10, 1.0),
  ),
)
