"""Beyond tables (ours): a robust network beside a plain one, on a pendulum.

Two arms: "control_robust" learns with the penalty, "control_plain" without, all
else equal; both are tried on the nominal dynamics and on shifted ones that they
have never seen.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment, metrics
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import control_learner as learner
from kd_jax.methods.robust_mdp import control_network as network
from kd_jax.methods.robust_mdp import control_task as task
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES

ARMS = ("control_robust", "control_plain")
# What policies are tried on, by name; gusts are multiples of the nominal one.
SHIFTS: dict[str, dict[str, float]] = {
  "nominal": {},
  "mass_1_1": {"mass": 1.1},
  "mass_1_2": {"mass": 1.2},
  "length_1_1": {"length": 1.1},
  "friction_0": {"friction": 0.0},
  "gust_1_5": {"gust": 1.5},
}


@dataclasses.dataclass(frozen=True)
class ControlConfig:
  """The networks and their training; nothing of it is the paper's.

  Attributes:
    lam: the weight of the penalty; values are in [0, 1].
    divergence: "chi2", "kl" or "l1".
    seeds: networks of an arm, all in one program; the devices divide them.
    steps: updates; each also takes a step in every world.
    worlds: pendulums of a network.
    memory: transitions that are remembered.
    batch: transitions of an update.
    widths: of the hidden layers.
    rate: Adam's first learning rate.
    follow: how far the slower copy moves to the network in a step.
    explore: the share of random actions.
    horizon: steps after which a pendulum is set up anew, on average.
    discount: gamma.
    gust: standard deviation of the nominal gusts, N m.
    episodes: of an evaluation, by network and dynamics.
    episode_steps: their length.
  """

  lam: float = 0.015
  divergence: str = "chi2"
  seeds: int = 8
  steps: int = 15_000
  worlds: int = 16
  memory: int = 32_768
  batch: int = 256
  widths: tuple[int, ...] = (64, 64)
  rate: float = 3e-3
  follow: float = 0.05
  explore: float = 0.2
  horizon: int = 100
  discount: float = 0.97
  gust: float = 0.4
  episodes: int = 256
  episode_steps: int = 150

  def __post_init__(self):
    """Checks the ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    if self.divergence not in DIVERGENCES:
      raise UsageError(
        f"control.divergence is {self.divergence!r}; there are "
        f"{', '.join(DIVERGENCES)}"
      )
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, int) and value < 1:
        raise UsageError(
          f"control.{field.name} is {value}; it must be at least 1"
        )
    if not self.widths or min(self.widths) < 1:
      raise UsageError(f"control.widths is {self.widths}; expected layers")
    for name in ("lam", "rate", "gust"):
      if not getattr(self, name) > 0:
        raise UsageError(
          f"control.{name} is {getattr(self, name):g}; it must be above 0"
        )
    for name in ("follow", "explore"):
      if not 0 <= getattr(self, name) <= 1:
        raise UsageError(
          f"control.{name} is {getattr(self, name):g}; it must be in [0, 1]"
        )
    if not 0 <= self.discount < 1:
      raise UsageError(
        f"control.discount is {self.discount:g}; it must be in [0, 1)"
      )
    if self.memory < self.worlds:
      raise UsageError(
        f"control.memory is {self.memory}; it must hold a step of "
        f"{self.worlds} worlds"
      )


def phases(config: Any, say: Callable[[str], None]) -> list[experiment.Phase]:
  """A phase for each of this module's arms that a run asks for.

  Args:
    config: the method's configuration, with `arms` and `control`.
    say: takes lines of news.

  Returns:
    The phases; a product is the members' "params" and the "member" seeds.
  """
  say(f"a pendulum with networks: {config.control.seeds} seeds an arm")
  return [phase(config.control, arm) for arm in config.arms if arm in ARMS]


def phase(config: ControlConfig, arm: str) -> experiment.Phase:
  """The phase of an arm.

  Args:
    config: the networks' configuration.
    arm: one of `ARMS`.

  Returns:
    The phase.
  """
  robust = arm == "control_robust"
  divergence = DIVERGENCES[config.divergence] if robust else None
  return experiment.Phase(
    name="learn",
    arm=arm,
    init=lambda products, seed: learner.create(config, seed),
    step=learner.make_step(config, divergence),
    steps=config.steps,
    product=lambda state: {"params": state.average, "member": state.member},
    evaluations={"final": evaluation(config)},
    batch_size=config.seeds * config.batch,
    split=lambda state: learner.members(state, True, False),
  )


def evaluation(config: ControlConfig) -> experiment.Evaluation:
  """How greedy policies fare on every dynamics of `SHIFTS`.

  Args:
    config: the networks' configuration.

  Returns:
    A measure with, of each shift, "at_SHIFT" (the mean discounted sum of
    rewards from upright, what is learned for) and "fell_SHIFT" (the share of
    episodes that fall), one value a seed.
  """
  dynamics = [
    task.Dynamics(**{**shift, "gust": config.gust * shift.get("gust", 1.0)})
    for shift in SHIFTS.values()
  ]
  stacked = jax.tree.map(lambda *x: np.asarray(x, np.float32), *dynamics)
  return experiment.Evaluation(functools.partial(_measure, config), stacked)


def _measure(config, product, data, *, axis_name=None):
  """Members see the same gusts, whatever the arm."""
  del axis_name  # A product is measured whole.
  net = network.TwoHeads(config.widths)

  def fare(params, member, dynamics):
    return roll_out(config, net, params, member, dynamics)

  of_members = jax.vmap(fare, in_axes=(0, 0, None))
  value, fell = jax.vmap(of_members, in_axes=(None, None, 0))(
    product["params"], product["member"], data
  )
  found = {}
  for i, name in enumerate(SHIFTS):
    one = jnp.ones(value.shape[1])
    found[f"at_{name}"] = metrics.Mean(value[i], one)
    found[f"fell_{name}"] = metrics.Mean(fell[i], one)
  return found


def roll_out(
  config: ControlConfig,
  net: network.TwoHeads,
  params: Any,
  member: jax.Array,
  dynamics: task.Dynamics,
) -> tuple[jax.Array, jax.Array]:
  """Episodes of a greedy policy.

  Args:
    config: the networks' configuration.
    net: the network.
    params: its variables.
    member: its seed, which draws starts and gusts.
    dynamics: the constants.

  Returns:
    The mean discounted sum of rewards, and the share of episodes that fell.
  """
  key = jax.random.fold_in(jax.random.key(member), 4)
  start = task.begin(jax.random.uniform(key, (config.episodes, 2)))

  def step(carry, t):
    state, total = carry
    total = total + config.discount**t * task.reward(state, config.discount)
    noise = jax.random.normal(jax.random.fold_in(key, t), total.shape)
    action = network.act(net, params, state)
    return (task.move(dynamics, state, action, noise), total), None

  zeros = jnp.zeros(config.episodes)
  (state, total), _ = jax.lax.scan(
    step, (start, zeros), jnp.arange(config.episode_steps)
  )
  return total.mean(), task.fallen(state).mean()
