"""Small problems of operations research and exploration, built from formulas.

Each has one argument that describes the kernel, which `shifted` moves.
"""

import math

import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.environments.mdp import Mdp
from kd_jax.methods.robust_mdp.environments.paper import uniform

# Of a dense kernel: 2 GiB in float64.
MOST_NUMBERS = 2**28


def chance(task: str, **named: float) -> None:
  """Refuses what is no probability.

  Args:
    task: whose argument it is.
    **named: the values by argument.

  Raises:
    UsageError: names the first one outside [0, 1].
  """
  for name, value in named.items():
    if not 0 <= value <= 1:
      raise UsageError(f"{task}: {name} is {value:g}; it must be in [0, 1]")


def riverswim(up: float = 0.35, states: int = 6, discount: float = 0.95) -> Mdp:
  """Swimming against a current: little for giving up, much at the far end.

  Action 0 drifts left for sure and pays 0.005 in the first state; action 1
  swims right and pays 1 in the last. In between it gains a state with chance
  `up`, stays with 0.6 and loses one with the rest; at the ends it succeeds with
  `up` + 0.25 and fails with the rest (nominally 0.6 and 0.4).

  Args:
    up: the chance of a gain, at most 0.4; less is a stronger current.
    states: how many.
    discount: gamma.

  Returns:
    The model, starting in the first state.

  Raises:
    UsageError: for an `up` outside [0, 0.4] or less than two states.
  """
  if not 0 <= up <= 0.4 or states < 2:
    raise UsageError(
      f"riverswim: up is {up:g} and states {states}; expected up in [0, 0.4] "
      "and at least 2 states"
    )
  last = states - 1
  transitions = np.zeros((states, 2, states))
  transitions[np.arange(states), 0, np.maximum(np.arange(states) - 1, 0)] = 1
  for s in range(1, last):
    transitions[s, 1, [s - 1, s, s + 1]] = 0.4 - up, 0.6, up
  transitions[0, 1, [0, 1]] = 0.75 - up, 0.25 + up
  transitions[last, 1, [last - 1, last]] = 0.75 - up, 0.25 + up
  rewards = np.zeros((states, 2))
  rewards[0, 0], rewards[last, 1] = 0.005, 1
  start = np.eye(states)[0]
  return Mdp(
    "riverswim", transitions, rewards, discount, start, 1 / (1 - discount)
  )


def machine(
  wear: float = 0.3,
  breakdown: float = 0.02,
  price: float = 0.7,
  states: int = 10,
  discount: float = 0.9,
) -> Mdp:
  """Replacing a machine that wears out.

  Action 0 operates: it pays 1 - (i / (n - 1))^2 at wear i of n levels; the
  machine then breaks (level n - 1) with chance `breakdown`, wears by a level
  with `wear`, or stays as it is. Action 1 pays 1 - `price` and has a new one.

  Args:
    wear: the chance of wearing by a level; what a shift moves.
    breakdown: the chance of breaking.
    price: of a new machine.
    states: levels of wear.
    discount: gamma.

  Returns:
    The model, starting with a new machine.

  Raises:
    UsageError: for what is no probability, or less than two levels.
  """
  chance("machine", wear=wear, breakdown=breakdown, price=price)
  chance("machine", **{"wear + breakdown": wear + breakdown})
  if states < 2:
    raise UsageError(f"machine: {states} states; it takes at least 2")
  here, last = np.arange(states), states - 1
  transitions = np.zeros((states, 2, states))
  transitions[here, 0, here] += 1 - wear - breakdown
  transitions[here, 0, np.minimum(here + 1, last)] += wear
  transitions[here, 0, last] += breakdown
  transitions[here, 1, 0] = 1
  worn = 1 - (here / last) ** 2
  rewards = np.stack([worn, np.full(states, 1 - price)], 1)
  start = np.eye(states)[0]
  return Mdp(
    "machine", transitions, rewards, discount, start, 1 / (1 - discount)
  )


def inventory(
  demand: float = 4.0,
  capacity: int = 10,
  price: float = 2.0,
  cost: float = 1.0,
  holding: float = 0.1,
  discount: float = 0.9,
) -> Mdp:
  """Ordering stock against a Poisson demand.

  With i in stock, action a orders min(a, capacity - i), which arrives at once;
  demand D is Poisson, its tail above the capacity counted as the capacity. The
  mean of price * sold - cost * ordered - holding * left over is paid, mapped to
  [0, 1] by the smallest and largest sums that can occur.

  Args:
    demand: its mean; what a shift moves. The payment moves with it.
    capacity: the largest stock, M; there are M + 1 states and actions.
    price: of a unit sold.
    cost: of a unit ordered.
    holding: of a unit left over.
    discount: gamma.

  Returns:
    The model, starting with nothing.

  Raises:
    UsageError: for a demand or capacity that is not positive.
  """
  if demand <= 0 or capacity < 1:
    raise UsageError(
      f"inventory: demand is {demand:g} and capacity {capacity}; expected both "
      "above 0"
    )
  m = capacity
  poisson = np.array(
    [
      math.exp(k * math.log(demand) - demand - math.lgamma(k + 1))
      for k in range(m)
    ]
  )
  chances = np.append(poisson, 1 - poisson.sum())
  transitions, rewards = (
    np.zeros((m + 1, m + 1, m + 1)),
    np.zeros((m + 1, m + 1)),
  )
  for i in range(m + 1):
    for a in range(m + 1):
      ordered = min(a, m - i)
      sold = np.minimum(np.arange(m + 1), i + ordered)
      left = i + ordered - sold
      np.add.at(transitions[i, a], left, chances)
      paid = price * sold - cost * ordered - holding * left
      rewards[i, a] = chances @ paid
  low, high = -(cost + holding) * m, price * m
  rewards = (rewards - low) / (high - low)
  start = np.eye(m + 1)[0]
  return Mdp(
    "inventory", transitions, rewards, discount, start, 1 / (1 - discount)
  )


def garnet(
  mix: float = 0.0,
  states: int = 50,
  actions: int = 4,
  branching: int = 5,
  seed: int = 0,
  discount: float = 0.95,
) -> Mdp:
  """A random MDP: few successors a pair, Dirichlet(1) chances, uniform rewards.

  Args:
    mix: how far the chances have gone to a second draw over the same
      successors; what a shift moves.
    states: |S|.
    actions: |A|.
    branching: successors of a pair, chosen without replacement.
    seed: draws everything.
    discount: gamma.

  Returns:
    The model, with a uniform start.

  Raises:
    UsageError: for a `mix` outside [0, 1], sizes that make no model, or a
      dense kernel of more than `MOST_NUMBERS`.
  """
  chance("garnet", mix=mix)
  if states * actions * states > MOST_NUMBERS:
    raise UsageError(
      f"garnet: {states} states and {actions} actions make a dense kernel of "
      f"{states * actions * states:,} numbers; at most {MOST_NUMBERS:,} fit"
    )
  successors, chances, rewards = draw_garnet(states, actions, branching, seed)
  chances = (1 - mix) * chances[0] + mix * chances[1]
  transitions = np.zeros((states, actions, states))
  np.put_along_axis(transitions, successors, chances, -1)
  return Mdp(
    f"garnet{states}",
    transitions,
    rewards,
    discount,
    uniform(states),
    1 / (1 - discount),
  )


def draw_garnet(
  states: int, actions: int, branching: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What a Garnet is made of, without the O(|S|^2 |A|) array.

  Args:
    states: |S|.
    actions: |A|.
    branching: successors of a pair.
    seed: draws everything.

  Returns:
    Successors (s, a, b), in the order of their numbers; two draws of their
    chances (2, s, a, b); rewards (s, a).

  Raises:
    UsageError: for no states or actions, or a branching outside [1, |S|].
  """
  if states < 1 or actions < 1:
    raise UsageError(
      f"garnet: {states} states and {actions} actions; it takes at least one "
      "of each"
    )
  if not 1 <= branching <= states:
    raise UsageError(
      f"garnet: branching is {branching}; a pair has 1 to {states} successors, "
      "as many as there are states"
    )
  draw = np.random.default_rng(seed)
  shape = (states, actions, branching)
  successors = np.empty(shape, np.int64)
  for s in range(states):
    lots = draw.random((actions, states))
    chosen = lots.argpartition(branching - 1, -1)[:, :branching]
    successors[s] = np.sort(chosen, -1)
  chances = draw.dirichlet(np.ones(branching), (2, states, actions))
  return successors, chances, draw.random((states, actions))
