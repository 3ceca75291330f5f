"""Tuning: where each member draws its lambda from, by validation images."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from kd_jax import draws, losses
from kd_jax.datasets import pipeline
from kd_jax.methods.hyper_ensembles import bounds as bounds_
from kd_jax.methods.hyper_ensembles import inputs, learner
from kd_jax.methods.hyper_ensembles import space as space_
from kd_jax.methods.hyper_ensembles.bounds import Bounds
from kd_jax.methods.hyper_ensembles.learner import Member
from kd_jax.methods.hyper_ensembles.networks import Given
from kd_jax.methods.hyper_ensembles.plans import Plan

Data = Mapping[str, Array]
TUNING = 1  # A branch of a step's stream.


def tuning_loss(
  bounds: Bounds,
  plan: Plan,
  member: Member,
  x: Float[Array, "1 b h w c"],
  y: Int[Array, "b"],
  u: Float[Array, "k b n"],
) -> Float[Array, ""]:
  """J_val: cross-entropy of the mean probability, less entropy of lambda.

  Neither L2 nor dropout nor smoothing; batch norms by running statistics.
  Source: Wenzel et al. 2020, eq. 9

  Args:
    bounds: xi, the only argument that a gradient reaches.
    plan: the plan.
    member: its weights.
    x: validation images.
    y: their labels.
    u: uniform numbers that lambda is made of.

  Returns:
    The loss.
  """
  lam = bounds_.draw(bounds, u)
  z = space_.transformed(plan.space, lam, plan.fixed.symmetric)
  logits = plan.net.apply(
    {"params": member.params, **member.model_state},
    x,
    Given(z=z),
    train=False,
  )
  nll = losses.ensemble_cross_entropy(logits, y).mean()
  return nll - plan.config.hyper.tau * bounds_.entropy(bounds).mean()


def tune(
  plan: Plan, member: Member, step: Int[Array, ""], data: Data
) -> Member:
  """One step of the bounds; weights and statistics stay as they are.

  Args:
    plan: the plan.
    member: the member.
    step: training steps taken.
    data: "image", "label" (n,), "val" (tables, V).

  Returns:
    The member with new bounds, clipped to the box.
  """
  size = plan.config.hyper.batch
  rows = jnp.arange(size)
  n = data["val"].shape[1]
  at = pipeline.rows(
    member.seed ^ jnp.uint32(0x7F4A7C15), step, size, n, rows.astype(jnp.uint32)
  )
  at = data["val"][member.table, at]
  x, y = inputs.pixels(plan, data["image"][at])[None], data["label"][at]
  key = draws.stream_key(member.seed, learner.STEP, step)
  u = inputs.uniforms(plan, draws.branch(key, TUNING), rows, "example")
  grads = jax.grad(tuning_loss)(member.bounds, plan, member, x, y, u)
  updates, state = plan.tuner.update(grads, member.tuner)
  new = optax.apply_updates(member.bounds, updates)
  return member.replace(bounds=bounds_.clip(new, plan.space), tuner=state)
