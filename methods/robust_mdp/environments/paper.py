"""The paper's two problems: a chain that ends, and the ring it becomes.

Source: Yang et al. 2023, Figures 1 and 5. The paper never gives p. 2 - 1/gamma
(8/9 at gamma = 0.9) is what the construction of its lower bound uses, and with
it exact values fall on the axes of its figures.
"""

import numpy as np
from jaxtyping import Float

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.environments.mdp import Mdp


def chain(
  p: float | None = None, states: int = 10, discount: float = 0.9
) -> Mdp:
  """States in a row; the last one absorbs and is the only one that pays 0.

  Args:
    p: the chance that action 0 stays (action 1 moves on with it); 2 - 1/gamma
      if None.
    states: how many.
    discount: gamma.

  Returns:
    The model (Figure 1), with a uniform start.

  Raises:
    UsageError: for a p that is no probability, or less than two states.
  """
  return _row("chain", p, states, discount, last=states - 1)


def ring(
  p: float | None = None, states: int = 10, discount: float = 0.9
) -> Mdp:
  """The chain whose last state moves on to the first one.

  Args:
    p: the chance that action 0 stays; 2 - 1/gamma if None.
    states: how many.
    discount: gamma.

  Returns:
    The model (Figure 5), in which every policy visits every state.

  Raises:
    UsageError: for a p that is no probability, or less than two states.
  """
  return _row("ring", p, states, discount, last=0)


def _row(
  name: str, p: float | None, states: int, discount: float, last: int
) -> Mdp:
  """`last` is where the last state moves on to."""
  p = 2 - 1 / discount if p is None else p
  if not 0 <= p <= 1:
    raise UsageError(f"{name}: p is {p:g}; it must be in [0, 1]")
  if states < 2:
    raise UsageError(f"{name}: {states} states; it takes at least 2")
  here, onward = np.arange(states), np.r_[1:states, last]
  transitions = np.zeros((states, 2, states))
  for action, stays in enumerate((p, 1 - p)):
    transitions[here, action, here] += stays
    transitions[here, action, onward] += 1 - stays
  rewards = np.ones((states, 2))
  rewards[-1] = 0
  return Mdp(
    name=name,
    transitions=transitions,
    rewards=rewards,
    discount=discount,
    start=uniform(states),
    v_max=1 / (1 - discount),
    state_names=tuple(f"s{i + 1}" for i in range(states)),
  )


def uniform(states: int) -> Float[np.ndarray, "s"]:
  """The uniform distribution.

  Args:
    states: over how many states.

  Returns:
    Equal chances.
  """
  return np.full(states, 1 / states)
