"""Many members in one program, and a whole training as a function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from kd_jax import accel, metrics
from kd_jax.methods.hyper_ensembles import learner, tuning
from kd_jax.methods.hyper_ensembles.learner import Member
from kd_jax.methods.hyper_ensembles.plans import Plan

PyTree = Any


@struct.dataclass
class Many:
  """Members in training, all at the same step.

  Attributes:
    step: steps taken.
    members: stacked.
  """

  step: Int[Array, ""]
  members: Member


def create(
  plan: Plan,
  shape: tuple[int, ...],
  seeds: UInt[Array, "n"],
  tables: Int[Array, "n"],
  lams: Float[Array, "n h"] | None = None,
  starts: UInt[Array, "n"] | None = None,
) -> Many:
  """Members before their first step.

  Args:
    plan: the plan.
    shape: of an image.
    seeds: of each.
    tables: whose division of the data each one sees.
    lams: hyperparameters of each; bounds to tune if None.
    starts: draw the initial values; `seeds` do if None.

  Returns:
    The members.
  """

  def one(seed, table, lam, start):
    return learner.create(plan, shape, seed, table, lam, start)

  axes = (0, 0, *(None if x is None else 0 for x in (lams, starts)))
  return Many(jnp.int32(0), jax.vmap(one, axes)(seeds, tables, lams, starts))


def divided(state: Many) -> Many:
  """What is divided over devices, or taken in parts: the members.

  Args:
    state: the members.

  Returns:
    A tree of bools, see `experiment.Phase.split`.
  """
  return Many(False, jax.tree.map(lambda _: True, state.members))


def make_step(plan: Plan) -> Callable[..., tuple[Many, dict[str, Any]]]:
  """A step of all members: of the weights, and when it is due of the bounds.

  Args:
    plan: the plan.

  Returns:
    `(many, data, *, axis_name=None) -> (many, {"loss": Mean})`, pure.
  """

  def step(state, data, *, axis_name=None):
    # Divided members know nothing of each other; only their sums meet.
    rows_axis = None if plan.split else axis_name
    count = state.step

    def one(member):
      return learner.train(plan, member, count, data, rows_axis)

    members, loss = over_members(one, state.members, plan.together)
    if plan.tuning:
      h = plan.config.hyper
      due = (count >= h.warmup) & (count % h.every == h.every - 1)
      members = jax.lax.cond(
        due,
        lambda all_: over_members(
          lambda m: tuning.tune(plan, m, count, data), all_, plan.together
        ),
        lambda m: m,
        members,
      )
    found = {"loss": metrics.mean(loss)}
    # Of shared rows every device has the mean already.
    found = accel.sum(found, axis_name) if plan.split else found
    return Many(count + 1, members), found

  return step


def over_members(
  fn: Callable[[Member], PyTree], members: Member, together: int
) -> PyTree:
  """A function of one member, of all.

  Args:
    fn: the function.
    members: stacked.
    together: how many at once; more follow one another.

  Returns:
    The results, stacked.
  """
  if len(members.seed) == 1:  # Plain products: not all batched ones are fast.
    one = fn(jax.tree.map(lambda x: x[0], members))
    return jax.tree.map(lambda x: x[None], one)
  if len(members.seed) <= together:
    return jax.vmap(fn)(members)
  return jax.lax.map(fn, members, batch_size=together)


def make_train(plan: Plan, shape: tuple[int, ...]) -> Callable[..., Member]:
  """A whole training as a pure function, to jit, vmap or differentiate.

  Args:
    plan: the plan.
    shape: of an image.

  Returns:
    `train(seed, lam, data, table=0) -> member`: from a uint32 and a vector of
    hyperparameters (None to tune them) to a trained member.
  """
  take = make_step(plan)

  def train(seed, lam, data, table=0):
    start = create(
      plan,
      shape,
      jnp.asarray(seed, jnp.uint32)[None],
      jnp.asarray(table, jnp.int32)[None],
      None if lam is None else lam[None],
    )

    def body(state, _):
      return take(state, data)[0], None

    done, _ = jax.lax.scan(body, start, None, length=plan.steps)
    return jax.tree.map(lambda x: x[0], done.members)

  return train
