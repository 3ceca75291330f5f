"""Grid worlds: a cliff of our own, and gymnasium's toy texts.

gymnasium's tables are read from the installed package (the extra `gymnasium`)
and put into state-reward form, see `arrivals`.
"""

import functools
from typing import Any

import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.environments import arrivals
from kd_jax.methods.robust_mdp.environments.classic import chance
from kd_jax.methods.robust_mdp.environments.mdp import Mdp

# Rows and columns that an action adds: left, down, right, up (gymnasium's).
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


def cliff(slip: float = 0.05, discount: float = 0.95) -> Mdp:
  """A 4 x 12 cliff: 1 at the goal, 0 for falling, and both end the episode.

  A move succeeds with chance 1 - slip and goes to either side with slip / 2.

  Args:
    slip: the chance to miss; what a shift moves.
    discount: gamma.

  Returns:
    The model, of 48 cells and a sink.

  Raises:
    UsageError: for a slip that is no probability.
  """
  chance("cliff", slip=slip)
  rows, columns = 4, 12
  layout = ("." * columns,) * (rows - 1) + ("S" + "C" * (columns - 2) + "G",)
  letters = "".join(layout)
  sink = rows * columns
  transitions = np.zeros((sink + 1, 4, sink + 1))
  for s, letter in enumerate(letters):
    if letter in "CG":
      transitions[s, :, sink] = 1
      continue
    for a in range(4):
      sides = (a, 1 - slip), ((a - 1) % 4, slip / 2), ((a + 1) % 4, slip / 2)
      for move, p in sides:
        row = np.clip(s // columns + MOVES[move][0], 0, rows - 1)
        column = np.clip(s % columns + MOVES[move][1], 0, columns - 1)
        transitions[s, a, row * columns + column] += p
  transitions[sink, :, sink] = 1
  rewards = np.zeros((sink + 1, 4))
  rewards[letters.index("G")] = 1
  start = np.eye(sink + 1)[letters.index("S")]
  names = (*_cells(rows, columns), "sink")
  return Mdp("cliff", transitions, rewards, discount, start, 1.0, layout, names)


def frozen_lake(
  success_rate: float = 0.9, size: str = "4x4", discount: float = 0.95
) -> Mdp:
  """FrozenLake-v1: the goal pays 1 on its way to the sink, holes pay 0.

  Args:
    success_rate: the chance that a move goes where it was meant to; to either
      side with half of the rest. What a shift moves.
    size: "4x4" or "8x8".
    discount: gamma.

  Returns:
    The model: the cells and a sink.

  Raises:
    UsageError: for a rate that is no probability, an unknown size, or without
      gymnasium.
  """
  chance("frozen_lake", success_rate=success_rate)
  if size not in ("4x4", "8x8"):
    raise UsageError(f"frozen_lake: size is {size!r}; expected 4x4 or 8x8")
  world = _world(
    "FrozenLake-v1",
    map_name=size,
    is_slippery=True,
    success_rate=success_rate,
  )
  found = arrivals.state_rewards(world.P)
  layout = tuple(row.tobytes().decode() for row in world.desc)
  return Mdp(
    name="frozen_lake" if size == "4x4" else "frozen_lake_8x8",
    transitions=found.transitions,
    rewards=found.rewards,
    discount=discount,
    start=_start(world, found),
    v_max=1.0,
    layout=layout,
    state_names=(*_cells(*world.desc.shape), "sink"),
  )


def cliff_walking(slip: float = 0.1, discount: float = 0.95) -> Mdp:
  """CliffWalking-v1 with its own costs: 1 a step and 100 a fall, to the start.

  Costs c become rewards 1 - c / 100, the sink's 0 becomes 1: the best policies
  are the package's, and a value V stands for a cost of 100 (1 / (1 - gamma) -
  V). A fall is a state of its own, which pays 0 and leads to the start.

  Args:
    slip: how much of the package's slippery kernel (a third each for the move
      and both sides) is mixed into the one that never slips; what a shift
      moves.
    discount: gamma.

  Returns:
    The model: 48 cells, the fall and a sink.

  Raises:
    UsageError: for a slip that is no probability, or without gymnasium.
  """
  chance("cliff_walking", slip=slip)
  sure, slippery = (
    _world("CliffWalking-v1", is_slippery=flag) for flag in (False, True)
  )
  a, b = (arrivals.state_rewards(w.P, fall=-100.0) for w in (sure, slippery))
  rows, columns = sure.shape
  letters = np.full((rows, columns), ".")
  letters[sure._cliff] = "C"
  letters[np.unravel_index(sure.start_state_index, sure.shape)] = "S"
  letters[-1, -1] = "G"
  mixed = arrivals.Arrays(
    (1 - slip) * a.transitions + slip * b.transitions,
    (1 - slip) * a.rewards + slip * b.rewards,
  )
  return Mdp(
    name="cliff_walking",
    transitions=mixed.transitions,
    rewards=arrivals.to_unit(mixed.rewards, -100.0, 0.0),
    discount=discount,
    start=_start(sure, mixed),
    v_max=1 / (1 - discount),
    layout=tuple("".join(row) for row in letters),
    state_names=(*_cells(rows, columns), "fall", "sink"),
  )


def taxi(slip: float = 0.1, discount: float = 0.95) -> Mdp:
  """Taxi-v4 in the rain: -1 a step, -10 for an illegal act, 20 for delivery.

  (gymnasium 1.4 refuses to make v3; v4 is v3 with the rain repaired.)
  Without rain it is deterministic, and then no kernel on P*'s support differs
  from it. Rewards r become (r + 10) / 30, the sink's 0 becomes 1 / 3.

  Args:
    slip: the chance that a drive goes to a side (`rainy_probability` is 1 -
      slip); what a shift moves.
    discount: gamma.

  Returns:
    The model: the package's 500 states and a sink.

  Raises:
    UsageError: for a slip that is no probability, or without gymnasium.
  """
  chance("taxi", slip=slip)
  world = _world("Taxi-v4", is_rainy=True, rainy_probability=1 - slip)
  found = arrivals.state_rewards(world.P)
  return Mdp(
    name="taxi",
    transitions=found.transitions,
    rewards=arrivals.to_unit(found.rewards, -10.0, 20.0),
    discount=discount,
    start=_start(world, found),
    v_max=1 / (1 - discount),
    state_names=(*(_ride(world, s) for s in range(len(world.P))), "sink"),
  )


@functools.lru_cache(maxsize=64)
def _world(name: str, **settings: Any) -> Any:
  """The package's environment, for its table."""
  try:
    import gymnasium
  except ImportError as error:
    raise UsageError(
      f"{name} is read from gymnasium, which is not installed: "
      "pip install 'kd-jax[gymnasium]'"
    ) from error
  try:
    return gymnasium.make(name, **settings).unwrapped
  except gymnasium.error.Error as error:
    raise UsageError(
      f"gymnasium {gymnasium.__version__} has no {name} ({error}); "
      "pip install -U 'kd-jax[gymnasium]'"
    ) from error


def _start(world: Any, found: arrivals.Arrays) -> np.ndarray:
  """The package's first states; none of those that were added."""
  first = np.asarray(world.initial_state_distrib, np.float64)
  added = len(found.rewards) - len(first)
  return np.append(first / first.sum(), np.zeros(added))


def _cells(rows: int, columns: int) -> tuple[str, ...]:
  return tuple(f"({r}, {c})" for r in range(rows) for c in range(columns))


def _ride(world: Any, state: int) -> str:
  """What a state of the taxi means."""
  row, column, passenger, destination = world.decode(state)
  place = "RGYB"
  who = "aboard" if passenger == 4 else f"at {place[passenger]}"
  return f"({row}, {column}) {who} to {place[destination]}"
