"""What an arm carries: all seeds x weights at once, and their error curves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from kd_jax import accel, experiment
from kd_jax.methods.robust_mdp import evaluation, problems
from kd_jax.methods.robust_mdp.arms import ARMS
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES, theta
from kd_jax.methods.robust_mdp.problems import Problem

PyTree = Any


@struct.dataclass
class Learners:
  """Members: m seeds, each with l weights that share its samples.

  What is learned is `q` and `eta`; the rest is bookkeeping of the experiment.

  Attributes:
    step: steps taken.
    member: the seeds.
    q: Q.
    eta: the dual variables.
    extra: what a baseline carries beside them, by name.
    history: errors at the points of the curve; NaN before them.
    reference: the exact Q that errors are measured against.
  """

  step: Int[Array, ""]
  member: UInt[Array, "m"]
  q: Float[Array, "m l s a"]
  eta: Float[Array, "m l s a"]
  extra: dict[str, Array]
  history: Float[Array, "m l k"]
  reference: Float[Array, "l s a"]

  def estimate(self) -> Float[Array, "m l s a"]:
    """Q, or its running mean where that is what is asked for."""
    return self.extra.get("mean", self.q)


def create(
  config: Config,
  arm: str,
  problem: Problem,
  points: int,
  products: experiment.Products,
  seed: UInt[Array, ""],
) -> Learners:
  """The members at step 0: Q_0 = v_max everywhere.

  Args:
    config: the arm's configuration.
    arm: its name.
    problem: its problem.
    points: of the error curves.
    products: the exact solutions.
    seed: of the first member.

  Returns:
    The state.
  """
  lams = problems.weights(config, arm)
  exact, target = products[problem.key], ARMS[arm].target
  if target == "penalised":
    reference = jnp.asarray(exact["penalised"])[problem.places(lams)]
  else:
    name = "constrained" if target == "multilevel" else target
    reference = jnp.asarray(exact[name])[None]
  shape = (config.seeds, len(lams), *problem.mdp.rewards.shape)
  eta = jnp.zeros(shape)
  if target == "penalised":
    # Into its interval at once (KL's does not hold 0).
    low, high = theta(
      DIVERGENCES[config.divergence], jnp.asarray(lams), problem.mdp.v_max
    )
    eta = jnp.clip(eta, *(x.reshape(1, -1, 1, 1) for x in (low, high)))
  member = seed + jnp.arange(config.seeds, dtype=jnp.uint32)
  return Learners(
    step=jnp.int32(0),
    member=member,
    q=jnp.full(shape, problem.mdp.v_max, jnp.float32),
    eta=eta,
    extra=_extra(config, arm, shape, problem, member),
    history=jnp.full((*shape[:2], points), jnp.nan),
    reference=reference,
  )


def _extra(config, arm, shape, problem, member) -> dict[str, Array]:
  kind, target, *_ = ARMS[arm]
  if kind == "trajectory":
    # A trajectory begins anywhere, as its seed has it.
    start = (member % jnp.uint32(shape[2])).astype(jnp.int32)
    lost = jnp.full(shape[:2], -1, jnp.int32)
    return {"at": start, "lost": lost, "rest": jnp.zeros(shape)}
  if target == "constrained":
    return {
      "multiplier": jnp.full(shape, config.multiplier, jnp.float32),
      "steepest": jnp.zeros(shape[:2]),
    }
  return {"mean": jnp.zeros(shape)} if config.average == "q" else {}


def split(state: Learners) -> PyTree:
  """Which leaves are divided over the devices: those with members first.

  Args:
    state: the members.

  Returns:
    A tree of bools.
  """
  whole = jax.tree.map(lambda _: True, state)
  return whole.replace(step=False, reference=False)


def product(at: Float[np.ndarray, "k"], state: Learners) -> dict[str, PyTree]:
  """What is kept of the members.

  Args:
    at: the steps at which the curves have points.
    state: the members.

  Returns:
    "q", "eta", "extra", "history", "at" and "reference".
  """
  return {
    "q": state.estimate(),
    "eta": state.eta,
    "extra": dict(state.extra),
    "history": state.history,
    "at": jnp.asarray(at),
    "reference": state.reference,
  }


def make_record(every: int) -> Callable[..., tuple[Learners, dict[str, Array]]]:
  """Builds what happens between stretches of steps: a point of the curves.

  Args:
    every: steps between two points.

  Returns:
    `(state, data, *, axis_name) -> (state, record)`; the record has the mean
    over finite members (NaN where there is none) and the half width of its
    95 % band, for each weight.
  """

  def record(state, data, *, axis_name=None):
    del data
    error = evaluation.sup_error(state.estimate(), state.reference)
    point = state.step // every
    state = state.replace(history=state.history.at[..., point].set(error))
    error = accel.all_gather(error, axis_name)
    good = jnp.isfinite(error)
    count = jnp.maximum(good.sum(0), 1)
    kept = jnp.where(good, error, 0.0)
    # None where every member is lost: 0 would be a perfect one.
    mean = jnp.where(good.any(0), kept.sum(0) / count, jnp.nan)
    away = jnp.where(good, jnp.square(error - mean[None]), 0.0)
    spread = jnp.sqrt(away.sum(0) / jnp.maximum(count - 1, 1))
    band = 1.96 * spread / jnp.sqrt(count.astype(jnp.float32))
    return state, {"error": mean, "band": band}

  return record
