"""A pendulum that is paid for leaning: continuous states, no table.

Not the paper's: a task of our own, made so that the nominal dynamics leave an
adversary a choice (gusts), and that a shift of mass, length or friction moves
the edge that a policy must keep away from.

A rod stands on a hinge at angle th from upright. The motor's torque is -u, 0 or
u, and a gust adds to it, N(0, gust^2), constant over a step:

  th'' = (g / l) sin th - b / (m l^2) th' + (torque + gust) / (m l^2).

The farther it leans, the more it is paid: R = (1 - gamma) clip(th, 0, 1), so
that values are in [0, 1]. Beyond sin th = u / (m g l) the motor cannot hold it;
beyond 1.2 (or -0.4) radians it has fallen, and nothing is paid any more. Who
leans as far as gusts allow falls when the rod is a little heavier.

Integrated by two semi-implicit Euler steps of 0.05 s for each of the task's.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

TORQUES = (-2.4, 0.0, 2.4)  # N m
GRAVITY = 4.0  # m / s^2: a slow world, which needs no small steps.
LOWEST, HIGHEST = -0.4, 1.2  # rad
SUBSTEPS, SECONDS = 2, 0.1
# What observations are divided by: rad, rad / s.
SCALE = (1.0, 2.0)


class Dynamics(NamedTuple):
  """What a shift moves.

  Attributes:
    mass: m, kg.
    length: l, m.
    friction: b, N m s.
    gust: standard deviation of the gusts' torque, N m.
  """

  mass: Float[Array, ""] | float = 1.0
  length: Float[Array, ""] | float = 1.0
  friction: Float[Array, ""] | float = 0.3
  gust: Float[Array, ""] | float = 0.4


def move(
  dynamics: Dynamics,
  state: Float[Array, "*n 2"],
  action: Int[Array, "*n"],
  noise: Float[Array, "*n"],
) -> Float[Array, "*n 2"]:
  """One step of the task.

  Args:
    dynamics: the constants.
    state: angle and angular velocity, rad and rad / s.
    action: which of `TORQUES`.
    noise: standard normal.

  Returns:
    The next state; a fallen one stays as it is.
  """
  angle, speed = state[..., 0], state[..., 1]
  torque = jnp.asarray(TORQUES)[action] + dynamics.gust * noise
  inertia = dynamics.mass * dynamics.length**2
  h = SECONDS / SUBSTEPS
  for _ in range(SUBSTEPS):
    push = (torque - dynamics.friction * speed) / inertia
    speed = speed + h * (GRAVITY / dynamics.length * jnp.sin(angle) + push)
    angle = angle + h * speed
  after = jnp.stack([angle, speed], -1)
  return jnp.where(fallen(state)[..., None], state, after)


def fallen(state: Float[Array, "*n 2"]) -> Bool[Array, "*n"]:
  """Whether the rod is down for good.

  Args:
    state: angle and angular velocity.

  Returns:
    True where nothing is paid any more.
  """
  return (state[..., 0] < LOWEST) | (state[..., 0] > HIGHEST)


def reward(state: Float[Array, "*n 2"], discount: float) -> Float[Array, "*n"]:
  """R, paid before the transition: (1 - gamma) clip(th, 0, 1), 0 once fallen.

  Args:
    state: angle and angular velocity.
    discount: gamma.

  Returns:
    The rewards, whose discounted sum is at most 1.
  """
  lean = jnp.clip(state[..., 0], 0.0, 1.0)
  return (1 - discount) * jnp.where(fallen(state), 0.0, lean)


def begin(uniforms: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
  """First states of an evaluation: nearly upright, at rest.

  Args:
    uniforms: in [0, 1).

  Returns:
    Angles in [-0.1, 0.1), no speed.
  """
  angle = 0.2 * uniforms[..., 0] - 0.1
  return jnp.stack([angle, jnp.zeros_like(angle)], -1)


def anywhere(uniforms: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
  """First states of learning: any that has not fallen.

  Args:
    uniforms: in [0, 1).

  Returns:
    Angles between the ends, speeds in [-1.5, 1.5).
  """
  angle = LOWEST + (HIGHEST - LOWEST) * uniforms[..., 0]
  return jnp.stack([angle, 3 * uniforms[..., 1] - 1.5], -1)


def observation(state: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
  """What a network sees.

  Args:
    state: angle and angular velocity.

  Returns:
    Both in units of `SCALE`.
  """
  return state / jnp.asarray(SCALE).reshape((1,) * (state.ndim - 1) + (2,))
