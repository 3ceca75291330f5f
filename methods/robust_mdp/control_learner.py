"""The networks' learning: act, remember, learn from the memory.

Beyond the paper (ours): see `control_network` for what a batch teaches.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key, UInt

from kd_jax import accel, metrics
from kd_jax.methods.robust_mdp import control_task as task
from kd_jax.methods.robust_mdp.control_network import TwoHeads, act, td_terms
from kd_jax.methods.robust_mdp.divergences import Divergence

PyTree = Any
# Of the running mean of the parameters.
AVERAGING = 1e-3


@struct.dataclass
class Learners:
  """Members, one a seed; every leaf but the step has them first.

  Attributes:
    step: steps taken.
    member: the seeds.
    params: of the networks.
    target: of their slower copies.
    average: of running means over the last thousand steps or so, whose policies
      are what is kept: that of a single step changes with every batch.
    opt_state: the optimizers'.
    place: where the members' pendulums are.
    before: the memory's states, the last `memory` transitions in a ring.
    action: its actions.
    after: its next states.
  """

  step: Int[Array, ""]
  member: UInt[Array, "m"]
  params: PyTree
  target: PyTree
  average: PyTree
  opt_state: PyTree
  place: Float[Array, "m e 2"]
  before: Float[Array, "m n 2"]
  action: Int[Array, "m n"]
  after: Float[Array, "m n 2"]


def optimizer(config: Any) -> optax.GradientTransformation:
  """Adam, its rate falling to a tenth.

  Args:
    config: a `control.ControlConfig`.

  Returns:
    The transformation.
  """
  rate = optax.cosine_decay_schedule(config.rate, config.steps, 0.1)
  return optax.adam(rate)


def create(config: Any, seed: UInt[Array, ""]) -> Learners:
  """The members at step 0.

  Args:
    config: a `control.ControlConfig`.
    seed: of the first member.

  Returns:
    The state.
  """
  member = seed + jnp.arange(config.seeds, dtype=jnp.uint32)
  net, tx = TwoHeads(config.widths), optimizer(config)

  def one(member):
    key = jax.random.key(member)
    params = net.init(jax.random.fold_in(key, 1), jnp.zeros((1, 2)))
    u = jax.random.uniform(jax.random.fold_in(key, 2), (config.worlds, 2))
    return params, tx.init(params), task.anywhere(u)

  params, opt_state, place = jax.vmap(one)(member)
  shape = (config.seeds, config.memory)
  return Learners(
    step=jnp.int32(0),
    member=member,
    params=params,
    target=jax.tree.map(jnp.copy, params),
    average=jax.tree.map(jnp.copy, params),
    opt_state=opt_state,
    place=place,
    before=jnp.zeros((*shape, 2)),
    action=jnp.zeros(shape, jnp.int32),
    after=jnp.zeros((*shape, 2)),
  )


def make_step(
  config: Any, divergence: Divergence | None
) -> Callable[..., tuple[Learners, dict[str, metrics.Mean]]]:
  """Builds the step: act, remember, learn from the memory, move the copy.

  Args:
    config: a `control.ControlConfig`.
    divergence: f; None for no penalty.

  Returns:
    `(state, data, *, axis_name) -> (state, metrics)`, pure, one dispatch.
  """
  net, tx = TwoHeads(config.widths), optimizer(config)
  terms = functools.partial(
    td_terms, net, divergence, config.lam, config.discount
  )

  def loss(params, *batch):
    parts = {name: x.mean() for name, x in terms(params, *batch).items()}
    return sum(parts.values()), parts

  def one(m, step):
    key = jax.random.fold_in(
      jax.random.fold_in(jax.random.key(m.member), 3), step
    )
    acting, drawing = jax.random.split(key)
    m = _remember(config, net, m, step, acting)
    filled = jnp.minimum((step + 1) * config.worlds, config.memory)
    rows = jax.random.randint(drawing, (config.batch,), 0, filled)
    batch = m.before[rows], m.action[rows], m.after[rows]
    (_, parts), gradient = jax.value_and_grad(loss, has_aux=True)(
      m.params, m.target, *batch
    )
    updates, opt_state = tx.update(gradient, m.opt_state, m.params)
    params = optax.apply_updates(m.params, updates)
    target = optax.incremental_update(params, m.target, config.follow)
    average = optax.incremental_update(params, m.average, AVERAGING)
    m = m.replace(
      params=params, target=target, average=average, opt_state=opt_state
    )
    return m, parts

  def step(state, data, *, axis_name=None):
    del data
    axes = members(state, 0, None)
    new, parts = jax.vmap(
      lambda m: one(m, state.step), in_axes=(axes,), out_axes=(axes, 0)
    )(state)
    found = {name: metrics.mean(x) for name, x in parts.items()}
    return new.replace(step=state.step + 1), accel.sum(found, axis_name)

  return step


def members(state: Learners, of_members: Any, of_step: Any) -> Learners:
  """One thing for the leaves with members first, another for the step.

  Args:
    state: the members.
    of_members: e.g. an axis, or True.
    of_step: e.g. None, or False.

  Returns:
    A tree like the state.
  """
  return jax.tree.map(lambda _: of_members, state).replace(step=of_step)


def _remember(
  config: Any, net: TwoHeads, m: Learners, step: Array, key: Key[Array, ""]
) -> Learners:
  """Acts in every world of a member, mostly greedily, and stores what it saw.

  Fallen rods, and one in `config.horizon` others, are set up anywhere.
  """
  trying, choosing, gusting, ending, beginning = jax.random.split(key, 5)
  shape = (config.worlds,)
  tried = jax.random.randint(choosing, shape, 0, len(task.TORQUES))
  explore = jax.random.uniform(trying, shape) < config.explore
  action = jnp.where(explore, tried, act(net, m.params, m.place))
  noise = jax.random.normal(gusting, shape)
  dynamics = task.Dynamics(gust=config.gust)
  after = task.move(dynamics, m.place, action, noise)
  over = jax.random.uniform(ending, shape) < 1 / config.horizon
  over |= task.fallen(after)
  anew = task.anywhere(jax.random.uniform(beginning, (*shape, 2)))
  rows = (step * config.worlds + jnp.arange(config.worlds)) % config.memory
  return m.replace(
    place=jnp.where(over[:, None], anew, after),
    before=m.before.at[rows].set(m.place),
    action=m.action.at[rows].set(action),
    after=m.after.at[rows].set(after),
  )
