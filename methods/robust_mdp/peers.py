"""What the benchmark times us against, each doing the same work beside us.

Algorithm 1 in plain NumPy is ours, since nobody has published one: vectorised
over seeds and pairs, float32, the fastest generator that NumPy has, the inner
loop in place. The other two are libraries of the extra `peers`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from kd_jax.methods.robust_mdp.environments import Mdp, simulator

Run = Callable[[int], None]


class NumpyAlgorithm1:
  """Algorithm 1, chi-square, cold, in NumPy: all seeds and pairs at once.

  Source: Yang et al. 2023, section 4, with the steps of section 6.

  Attributes:
    q: Q.
    t: the outer step.
  """

  def __init__(
    self,
    mdp: Mdp,
    lam: float,
    seeds: int,
    inner_steps: int,
    draw: Callable[[int, np.ndarray], Any] | None = None,
  ):
    """Sets Q_0 = v_max.

    Args:
      mdp: the task.
      lam: the weight of the penalty.
      seeds: how many runs.
      inner_steps: T'.
      draw: fills an array with uniforms for an outer step; NumPy's own if None.
    """
    world = simulator.compact(mdp)
    self.successors = np.asarray(world.successors)
    self.cumulative = np.asarray(world.cumulative)
    self.rewards = mdp.rewards.astype(np.float32)
    self.discount, self.v_max = np.float32(mdp.discount), mdp.v_max
    self.lam, self.inner_steps = np.float32(lam), inner_steps
    shape = (seeds, *mdp.rewards.shape)
    self.q = np.full(shape, mdp.v_max, np.float32)
    self.uniforms = np.empty((inner_steps + 1, *shape), np.float32)
    generator = np.random.Generator(np.random.SFC64(0))
    self.draw = draw or (
      lambda t, out: generator.random(out=out, dtype=np.float32)
    )
    self.t = 0

  def run(self, n: int) -> None:
    """Takes n outer steps.

    Args:
      n: how many.
    """
    for _ in range(n):
      self._step()

  def _step(self) -> None:
    lam, last = self.lam, self.inner_steps
    offsets = 2 * lam - self._sampled_values()
    eta = self._ascended(offsets[:last])
    j = lam + eta - np.square(np.maximum(eta + offsets[last], 0)) / (4 * lam)
    beta = np.float32(1 / (1 + (1 - float(self.discount)) * self.t))
    self.q += beta * (self.rewards + self.discount * j - self.q)
    self.t += 1

  def _sampled_values(self) -> Float[np.ndarray, "k n s a"]:
    v = np.clip(self.q.max(-1), 0, self.v_max)
    table = v[:, self.successors]
    self.draw(self.t, self.uniforms)
    chosen = table[..., -1]
    for b in reversed(range(table.shape[-1] - 1)):
      below = self.uniforms < self.cumulative[..., b]
      chosen = np.where(below, table[..., b], chosen)
    return chosen

  def _ascended(
    self, offsets: Float[np.ndarray, "k n s a"]
  ) -> Float[np.ndarray, "n s a"]:
    lam, eta = self.lam, np.zeros_like(self.q)
    low, high = -lam, np.float32(2 * self.v_max) + 2 * lam
    ratio = np.empty_like(eta)
    for k, offset in enumerate(offsets):
      rate = lam / np.float32(np.sqrt(k + 1))
      np.add(eta, offset, out=ratio)
      np.maximum(ratio, 0, out=ratio)
      np.multiply(ratio, -rate / (2 * lam), out=ratio)
      eta += ratio
      eta += rate
      np.clip(eta, low, high, out=eta)
    return eta


def toolbox_q_learning(mdp: Mdp, samples: int) -> Run:
  """mdptoolbox-hiive's Q-learning: a Python loop over transitions.

  Args:
    mdp: the task.
    samples: transitions that stand for one of our steps.

  Returns:
    `run(n)`.

  Raises:
    ImportError: without the library.
  """
  from hiive.mdptoolbox.mdp import QLearning

  transitions = np.moveaxis(mdp.transitions, 1, 0).copy()
  learner = QLearning(
    transitions,
    mdp.rewards,
    mdp.discount,
    skip_check=True,
    # Its statistics are kept as seldom as it can be told to.
    run_stat_frequency=10**9,
  )

  def run(n):
    # Its constructor asks for 10,000 transitions or more, its loop does not.
    learner.max_iter = n * samples
    learner.run()

  return run


def solver_iteration(
  successors: np.ndarray,
  chances: np.ndarray,
  rewards: np.ndarray,
  discount: float,
  *,
  tolerance: float,
  algorithm: str = "vi",
  parallel: bool = False,
) -> Callable[[int], Any]:
  """Value iteration of mdpsolver, in C++, from V = 0.

  Args:
    successors: (s, a, b).
    chances: (s, a, b).
    rewards: (s, a).
    discount: gamma.
    tolerance: of the values; it stops by the span of the last change.
    algorithm: "vi", or "mpi" (modified policy iteration).
    parallel: whether it takes several threads.

  Returns:
    `run(n)`, which gives the last V.

  Raises:
    ImportError: without the library.
  """
  import mdpsolver

  model = mdpsolver.model()
  model.mdp(
    discount=discount,
    rewards=rewards.tolist(),
    tranMatProbs=chances.tolist(),
    tranMatColumns=successors.tolist(),
  )
  # It would go on from its last values otherwise.
  zeros = [0.0] * len(rewards)

  def run(n):
    for _ in range(n):
      model.solve(
        algorithm=algorithm,
        tolerance=tolerance,
        update="standard",
        initValueVector=zeros,
        postProcessing=False,
        makeFinalCheck=False,
        parallel=parallel,
      )
    return np.array(model.getValueVector())

  return run
