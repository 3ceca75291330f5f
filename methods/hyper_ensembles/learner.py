"""One member: a network, its optimizer, the bounds of its lambda. Pure.

A single network's lambda is fixed: bounds without length. A batch ensemble
shares one among its members. A hyper-batch ensemble draws lambda afresh for
each member and example, and now and then tunes where it is drawn from.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, UInt

from kd_jax import accel, draws, losses
from kd_jax.datasets import pipeline
from kd_jax.methods.hyper_ensembles import bounds as bounds_
from kd_jax.methods.hyper_ensembles import inputs
from kd_jax.methods.hyper_ensembles import space as space_
from kd_jax.methods.hyper_ensembles.bounds import Bounds
from kd_jax.methods.hyper_ensembles.networks import Given
from kd_jax.methods.hyper_ensembles.plans import Plan

PyTree = Any
Data = Mapping[str, Array]
# Streams of a member's draws, and branches of a step's.
INIT, STEP, _, PREDICT = range(4)
LAMBDA, _, DROPOUT = range(3)


@struct.dataclass
class Member:
  """A network in training.

  Attributes:
    params: weights.
    model_state: running statistics.
    opt_state: of the weights' optimizer.
    bounds: xi.
    tuner: state of the bounds' optimizer.
    seed: draws order, lambda and masks.
    table: whose division of the data it sees.
  """

  params: PyTree
  model_state: PyTree
  opt_state: PyTree
  bounds: Bounds
  tuner: PyTree
  seed: UInt[Array, ""]
  table: Int[Array, ""]


def create(
  plan: Plan,
  shape: tuple[int, ...],
  seed: UInt[Array, ""],
  table: Int[Array, ""],
  lam: Float[Array, "h"] | None = None,
  start: UInt[Array, ""] | None = None,
) -> Member:
  """A member before its first step.

  Args:
    plan: the plan.
    shape: of an image.
    seed: draws order, lambda and masks.
    table: whose division of the data it will see.
    lam: hyperparameters; bounds to tune if None.
    start: draws the initial values; `seed` does if None.

  Returns:
    The member.
  """
  start = seed if start is None else start
  key = jax.random.fold_in(jax.random.key(start), INIT)
  k, h = plan.members, len(plan.space.names)
  if lam is None:
    bounds = bounds_.initial(
      plan.config.hyper.bounds, jax.random.fold_in(key, 1), plan.space, k
    )
  else:
    bounds = bounds_.at(jnp.broadcast_to(lam, (k, h)))
  variables = plan.net.init(
    key,
    jnp.zeros((1, 1, *shape)),
    Given(z=jnp.zeros((1, 1, h))),
    train=False,
  )
  params = variables["params"]
  return Member(
    params=params,
    model_state={k: v for k, v in variables.items() if k == "batch_stats"},
    opt_state=plan.tx.init(params),
    bounds=bounds,
    tuner=plan.tuner.init(bounds) if plan.tuning else (),
    seed=jnp.asarray(seed, jnp.uint32),
    table=jnp.asarray(table, jnp.int32),
  )


def objective(
  params: PyTree,
  model_state: PyTree,
  plan: Plan,
  x: Float[Array, "1 b h w c"],
  y: Int[Array, "b"],
  lam: Float[Array, "k b n"],
  key: UInt[Array, "2"],
  rows: Int[Array, "b"],
) -> tuple[Float[Array, ""], tuple[PyTree, Float[Array, "b"]]]:
  """J_tr: mean of the members' cross-entropies, and L2 over N.

  Source: Wenzel et al. 2020, eq. 8

  Args:
    params: weights.
    model_state: running statistics.
    plan: the plan.
    x: images.
    y: labels.
    lam: hyperparameters of each member and example; either axis may be 1.
    key: of the dropout masks.
    rows: places in the global batch.

  Returns:
    The objective; new statistics, and each example's cross-entropy.
  """
  given = space_.given(plan.space, plan.fixed, lam)
  logits, found = plan.net.apply(
    {"params": params, **model_state},
    x,
    given._replace(key=key, rows=rows),
    train=True,
    mutable=["l2", "batch_stats"],
  )
  if plan.config.hyper.loss == "ensemble" and plan.aware:
    each = losses.ensemble_cross_entropy(logits, y)
  else:
    smoothing = space_.smoothing(plan.space, plan.fixed, lam)
    each = losses.gibbs_cross_entropy(logits, y, smoothing=smoothing)
  penalty = sum(jax.tree.leaves(found["l2"]))
  penalty += plan.norm_l2 * norm_l2(params)
  state = {k: v for k, v in found.items() if k == "batch_stats"}
  return each.mean() + penalty / plan.images, (state, each)


def norm_l2(params: PyTree) -> Float[Array, ""]:
  """Squared norm of what batch norms scale and shift by.

  Args:
    params: weights.

  Returns:
    The sum; 0 without a batch norm.
  """
  squares = [
    jnp.square(x).sum()
    for path, x in jax.tree_util.tree_leaves_with_path(params)
    if "norm" in jax.tree_util.keystr(path)
  ]
  return jnp.stack(squares).sum() if squares else jnp.float32(0)


def train(
  plan: Plan,
  member: Member,
  step: Int[Array, ""],
  data: Data,
  axis_name: str | None = None,
) -> tuple[Member, Float[Array, ""]]:
  """One step of the weights.

  Args:
    plan: the plan.
    member: the member.
    step: steps taken.
    data: "image" (n, h, w, c), "train" and "train_label" (tables, N).
    axis_name: the devices that share each batch, or None.

  Returns:
    The member, and its mean cross-entropy.
  """
  config = plan.config
  rows = inputs.slots(config.batch_size, axis_name)
  at = pipeline.rows(
    member.seed, step, config.batch_size, plan.images, rows.astype(jnp.uint32)
  )
  images = data["image"][data["train"][member.table, at]]
  if config.data.augment:
    # Before they are normalised: what a shift brings in is black.
    images = inputs.augmented(member.seed, step, rows, images)
  x = inputs.pixels(plan, images)
  y = data["train_label"][member.table, at]
  key = draws.stream_key(member.seed, STEP, step)
  u = inputs.uniforms(plan, draws.branch(key, LAMBDA), rows, plan.rows)
  lam = bounds_.draw(member.bounds, u)
  key = draws.branch(key, DROPOUT)
  (_, (state, each)), grads = jax.value_and_grad(objective, has_aux=True)(
    member.params, member.model_state, plan, x[None], y, lam, key, rows
  )
  grads, state, loss = accel.mean((grads, state, each.mean()), axis_name)
  updates, opt_state = plan.tx.update(grads, member.opt_state, member.params)
  member = member.replace(
    params=optax.apply_updates(member.params, updates),
    opt_state=opt_state,
    model_state=state,
  )
  return member, loss


def predict(
  plan: Plan,
  member: Member,
  x: Float[Array, "b h w c"],
  *,
  samples: int = 0,
) -> Float[Array, "k b c"]:
  """Logits of a network's members, at their mean lambda.

  Args:
    plan: the plan.
    member: the network; only weights, statistics, bounds and seed are used.
    x: normalised images.
    samples: further lambdas drawn of each member.

  Returns:
    Logits; (1 + samples) k of them with samples, members first.
  """
  lam = bounds_.mean(member.bounds)[None]
  if samples and plan.aware:
    key = jax.random.fold_in(jax.random.key(member.seed), PREDICT)
    u = jax.random.uniform(key, (samples, *lam.shape[1:]))
    drawn = bounds_.draw(member.bounds, jnp.swapaxes(u, 0, 1))
    lam = jnp.concatenate([lam, jnp.swapaxes(drawn, 0, 1)])

  def one(lam):
    z = space_.transformed(plan.space, lam[:, None], plan.fixed.symmetric)
    return plan.net.apply(
      {"params": member.params, **member.model_state},
      x[None],
      Given(z=z),
      train=False,
    )

  logits = jax.vmap(one)(lam)
  return logits.reshape(-1, *logits.shape[2:])
