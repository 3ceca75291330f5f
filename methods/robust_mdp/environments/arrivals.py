"""From rewards on arrival to rewards of states.

gymnasium pays on arrival: (chance, next state, reward, terminated). The theory
pays R(s, a) before the transition. Folding the reward of the goal into the
R(s, a) of its neighbours, and ending the episode in a state of value 0, is a
trap: the adversary then finds that the goal is the successor of least value,
and pushes the agent *into* it. So a state that ends the episode stays a state:
it pays what its arrival paid, a step later, on its way to a sink.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from kd_jax.datasets.errors import DataError

Outcome = tuple[float, int, float, bool]
Table = Mapping[int, Mapping[int, Sequence[Outcome]]]


class Arrays(NamedTuple):
  """A table in state-reward form.

  Attributes:
    transitions: P over the table's states, one more if falls are states, and
      the sink, which is last.
    rewards: in the table's units; the sink pays 0.
  """

  transitions: Float[np.ndarray, "s a t"]
  rewards: Float[np.ndarray, "s a"]


def state_rewards(table: Table, *, fall: float | None = None) -> Arrays:
  """Turns a gymnasium table into arrays.

  Args:
    table: `env.unwrapped.P`.
    fall: the reward of outcomes that set the agent back without ending the
      episode. Such an outcome leads to a state of its own, which pays it and
      then sets back: otherwise the adversary would see the place it is set
      back to, and not the fall.

  Returns:
    The arrays.

  Raises:
    DataError: if a terminal state is entered with several rewards, or falls
      end in several places.
  """
  count, actions = len(table), len(table[0])
  outcomes = [
    (s, a, outcome)
    for s in range(count)
    for a in range(actions)
    for outcome in table[s][a]
  ]
  ends = _ends(outcomes)
  states = count + (fall is not None) + 1
  sink = states - 1
  transitions = np.zeros((states, actions, states))
  rewards = np.zeros((states, actions))
  places = set()
  for s, a, (chance, after, reward, terminated) in outcomes:
    if s in ends:
      continue
    if fall is not None and reward == fall:
      places.add(after)
      after = count
    elif not terminated:
      rewards[s, a] += chance * reward
    transitions[s, a, after] += chance
  for s, reward in ends.items():
    transitions[s, :, sink], rewards[s] = 1, reward
  if fall is not None:
    if len(places) != 1:
      raise DataError(f"falls of {fall:g} end in {sorted(places)}, not in one")
    transitions[count, :, places.pop()], rewards[count] = 1, fall
  transitions[sink, :, sink] = 1
  return Arrays(transitions, rewards)


def _ends(outcomes: Sequence[tuple[int, int, Outcome]]) -> dict[int, float]:
  """The terminal states and the reward with which they are entered."""
  ends: dict[int, float] = {}
  for s, _, (_, after, reward, terminated) in outcomes:
    # A terminal state's own loop says nothing about how it was entered.
    if not terminated or after == s:
      continue
    if ends.setdefault(after, reward) != reward:
      raise DataError(
        f"state {after} ends the episode with {ends[after]:g} and {reward:g}"
      )
  return ends


def to_unit(
  rewards: Float[np.ndarray, "s a"], low: float, high: float
) -> Float[np.ndarray, "s a"]:
  """Maps rewards to [0, 1]; the sink's 0 too, so that best policies stay.

  Args:
    rewards: of every state, the sink's 0 included.
    low: what becomes 0.
    high: what becomes 1.

  Returns:
    (rewards - low) / (high - low).
  """
  return (rewards - low) / (high - low)
