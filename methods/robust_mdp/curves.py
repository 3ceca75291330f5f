"""Error curves as numbers: samples against errors, from a run's products."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from kd_jax.methods.robust_mdp import problems
from kd_jax.methods.robust_mdp.arms import ARMS, of_arm
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.targets import draws_per_step

Products = Mapping[str, Any]


def samples_per_step(config: Config, arm: str) -> float:
  """Samples that a learner takes in a step, over all pairs.

  Args:
    config: the arm's configuration.
    arm: its name.

  Returns:
    The number: Algorithm 2's chunk, or draws x |S||A|.
  """
  kind, target, *_ = ARMS[arm]
  if kind == "trajectory":
    return config.chunk
  mdp = problems.load(config.environment, config.discount)
  return draws_per_step(config, target) * mdp.rewards.size


def curve(
  config: Config, products: Products, arm: str, i: int
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k m"]]:
  """Samples and errors of one weight, from the first point to the very end.

  Args:
    config: the run's configuration.
    products: its products.
    arm: the learner.
    i: the weight's place.

  Returns:
    Samples taken, and every seed's error there. The last is that of the
    product, which is the table's: steps may follow the curve's last point.
  """
  own, product = of_arm(config, arm), products[f"{arm}.learn"]
  at = np.asarray(product["at"], np.float64)
  history = np.asarray(product["history"], np.float64)[:, i]
  q, reference = np.asarray(product["q"]), np.asarray(product["reference"])
  end = np.abs(q[:, i] - reference[i]).max((-2, -1))
  last = steps_of(own, arm)
  keep = (at > 0) & (at < last)
  steps = np.append(at[keep], last)
  values = np.concatenate([history[:, keep], end[:, None]], 1)
  return steps * samples_per_step(own, arm), values.T


def steps_of(config: Config, arm: str) -> int:
  """Steps that a learner takes in all.

  Args:
    config: the arm's configuration.
    arm: its name.

  Returns:
    T, or the chunks of Algorithm 2's trajectory.
  """
  if ARMS[arm].kind == "trajectory":
    return -(-config.transitions // config.chunk)
  return config.outer_steps
