"""A tabular MDP as dense arrays, and the check that it is one.

Rewards are paid before the transition, R(s, a), as the theory has it; the
builders turn tasks that pay on arrival into this form.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from kd_jax.datasets.errors import DataError

# How far from 1 a row of probabilities may sum: what float32 loses.
ROW_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Mdp:
  """A nominal model, on the host in float64.

  Attributes:
    name: what it is called in tables.
    transitions: P*(t | s, a).
    rewards: R(s, a), in [0, 1].
    discount: gamma, in [0, 1).
    start: the distribution of the first state.
    v_max: no value is larger: 1 / (1 - gamma), or less where that is known (1
      for tasks that pay 1 once).
    layout: the rows of a grid world, one letter a cell, cells in the order of
      the states; None for anything else.
    state_names: one name a state, for tables and messages.
  """

  name: str
  transitions: Float[np.ndarray, "s a t"]
  rewards: Float[np.ndarray, "s a"]
  discount: float
  start: Float[np.ndarray, "s"]
  v_max: float
  layout: tuple[str, ...] | None = None
  state_names: tuple[str, ...] = ()

  def __post_init__(self):
    """Checks every number.

    Raises:
      DataError: one sentence for the first thing that is wrong.
    """
    check(self)

  @property
  def states(self) -> int:
    """|S|."""
    return self.rewards.shape[0]

  @property
  def actions(self) -> int:
    """|A|."""
    return self.rewards.shape[1]


def check(mdp: Mdp) -> None:
  """Says what is wrong with a model, naming state and action.

  Args:
    mdp: the model.

  Raises:
    DataError: one sentence for the first thing that is wrong.
  """
  _check_shapes(mdp)
  _check_transitions(mdp)
  _check_rewards(mdp)
  _check_rest(mdp)


def _where(mdp: Mdp, bad: np.ndarray) -> str:
  """The first state and action of which `bad` is true."""
  state, action = (int(i) for i in np.argwhere(bad)[0][:2])
  named = mdp.state_names[state : state + 1]
  called = f" ({named[0]})" if named and named[0] != str(state) else ""
  return f"state {state}{called}, action {action}"


def _check_shapes(mdp: Mdp) -> None:
  p, r = mdp.transitions, mdp.rewards
  if p.ndim != 3 or p.shape[0] != p.shape[2] or 0 in p.shape:
    raise DataError(
      f"{mdp.name}: P has shape {p.shape}; expected (S, A, S), the chance of "
      "the next state (last axis) by state and action"
    )
  if r.shape != p.shape[:2]:
    raise DataError(
      f"{mdp.name}: R has shape {r.shape} beside P of {p.shape}; expected "
      f"(S, A) = {p.shape[:2]}"
    )


def _check_transitions(mdp: Mdp) -> None:
  p = mdp.transitions
  bad = ~np.isfinite(p).all(-1)
  if bad.any():
    raise DataError(f"{mdp.name}: P is not finite at {_where(mdp, bad)}")
  bad = p < 0
  if bad.any():
    state, action, after = np.argwhere(bad)[0]
    raise DataError(
      f"{mdp.name}: P is {p[state, action, after]:g} at {_where(mdp, bad)}, "
      f"next state {after}; a probability is not negative"
    )
  sums = p.sum(-1)
  bad = np.abs(sums - 1) > ROW_TOLERANCE
  if bad.any():
    raise DataError(
      f"{mdp.name}: P sums to {sums[bad][0]:.8g} at {_where(mdp, bad)}; the "
      "chances of the next states sum to 1"
    )


def _check_rewards(mdp: Mdp) -> None:
  r = mdp.rewards
  bad = ~np.isfinite(r)
  if bad.any():
    raise DataError(f"{mdp.name}: R is not finite at {_where(mdp, bad)}")
  bad = (r < 0) | (r > 1)
  if bad.any():
    raise DataError(
      f"{mdp.name}: R is {r[bad][0]:g} at {_where(mdp, bad)}; rewards are in "
      f"[0, 1]: store (R - {r.min():g}) / {np.ptp(r) or 1:g}, which has the "
      "same best policies"
    )


def _check_rest(mdp: Mdp) -> None:
  if not 0 <= mdp.discount < 1:
    raise DataError(
      f"{mdp.name}: gamma is {mdp.discount:g}; it must be in [0, 1)"
    )
  if mdp.start.shape != (mdp.states,):
    raise DataError(
      f"{mdp.name}: start has shape {mdp.start.shape}; expected "
      f"({mdp.states},), a chance a state"
    )
  # Written so that a NaN fails it.
  if not ((mdp.start >= 0).all() and abs(mdp.start.sum() - 1) <= ROW_TOLERANCE):
    raise DataError(
      f"{mdp.name}: start is no distribution: its smallest chance is "
      f"{mdp.start.min():g} and they sum to {mdp.start.sum():.8g}"
    )
  if not 0 < mdp.v_max < np.inf:
    raise DataError(f"{mdp.name}: v_max is {mdp.v_max:g}; expected above 0")
  if mdp.state_names and len(mdp.state_names) != mdp.states:
    raise DataError(
      f"{mdp.name}: {len(mdp.state_names)} names for {mdp.states} states"
    )
