"""One Markov trajectory under a behaviour policy: what Algorithm 2 is given.

The simulator's side: it knows the kernel, and shows transitions.

Source: Yang et al. 2023, section 5 (Assumption 5.1) and section 6.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import csgraph

from kd_jax.methods.robust_mdp.environments import simulator
from kd_jax.methods.robust_mdp.online import Transition

# A state below this long-run chance is as good as never visited; a linear solve
# in float64 knows no smaller ones.
RAREST = 1e-9


class Behaviour(NamedTuple):
  """How a trajectory is made.

  Attributes:
    cumulative: of the action's chances, the same in every state.
    restart: the chance of going on from a state drawn uniformly.
  """

  cumulative: Float[Array, "a"]
  restart: Float[Array, ""]


class Visits(NamedTuple):
  """How often a trajectory visits its pairs in the long run.

  Attributes:
    rare: d_min, of the rarest pair.
    often: d_max.
    restart: the chance of restarts that it takes; 0 where every state is
      visited often enough without.
  """

  rare: float
  often: float
  restart: float


def action_chances(actions: int, first: float) -> Float[np.ndarray, "a"]:
  """The behaviour policy, the same in every state.

  Args:
    actions: |A|.
    first: the chance of the first action, the others share the rest; 0 is
      uniform.

  Returns:
    The chances.
  """
  if not first or actions == 1:
    return np.full(actions, 1 / actions)
  return np.array([first, *[(1 - first) / (actions - 1)] * (actions - 1)])


def visits(
  transitions: Float[np.ndarray, "s a t"],
  chances: Float[np.ndarray, "a"],
  restart: float,
) -> Visits:
  """The extreme stationary chances of (s, a), by a linear solve.

  Args:
    transitions: P*.
    chances: of the actions.
    restart: what is taken where the chain alone does not come back everywhere,
      or is in a state with a chance below `RAREST`.

  Returns:
    d_min, d_max and the chance of restarts.
  """
  chain = np.einsum("sat,a->st", transitions, chances)
  parts, _ = csgraph.connected_components(chain > 0, connection="strong")
  if parts == 1 and (d := _stationary(chain)).min() >= RAREST:
    restart = 0.0
  else:
    # A restart alone gives each state this chance; rounding may not take it.
    least = restart / len(chain)
    d = _stationary((1 - restart) * chain + least).clip(least, 1)
  pairs = np.outer(d, chances)
  return Visits(float(pairs.min()), float(pairs.max()), restart)


def _stationary(chain):
  states = len(chain)
  balance = np.vstack([chain.T - np.eye(states), np.ones(states)])
  d, *_ = np.linalg.lstsq(balance, np.eye(states + 1)[-1], rcond=None)
  return d


def roll_out(
  world: simulator.Simulator,
  rewards: Float[Array, "s a"],
  behaviour: Behaviour,
  state: Int[Array, ""],
  uniforms: Float[Array, "n 4"],
) -> tuple[Int[Array, ""], Transition]:
  """The next transitions of one trajectory.

  Args:
    world: the simulator.
    rewards: R.
    behaviour: the policy.
    state: where it stands.
    uniforms: four numbers for each transition.

  Returns:
    Where it stands then, and the n transitions. After a restart the next one
    begins elsewhere; what was seen is a real transition all the same.
  """
  states = rewards.shape[0]

  def move(state, u):
    action = (u[0] >= behaviour.cumulative[:-1]).sum().astype(jnp.int32)
    after = simulator.sample_one(world, state, action, u[1])
    elsewhere = jnp.minimum((u[3] * states).astype(jnp.int32), states - 1)
    follow = jnp.where(u[2] < behaviour.restart, elsewhere, after)
    return follow, Transition(state, action, rewards[state, action], after)

  return jax.lax.scan(move, state, uniforms)


def behaviour(actions: int, first: float, restart: float) -> Behaviour:
  """The arrays of a behaviour.

  Args:
    actions: |A|.
    first: the chance of the first action; 0 is uniform.
    restart: the chance of restarts.

  Returns:
    The behaviour.
  """
  chances = action_chances(actions, first)
  return Behaviour(
    np.asarray(chances.cumsum(), np.float32), np.float32(restart)
  )
