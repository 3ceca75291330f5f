"""Predictions of trained members on clean, corrupted and foreign images."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import augment
from kd_jax.methods.hyper_ensembles import (
  corruptions,
  inputs,
  learner,
  measures,
)
from kd_jax.methods.hyper_ensembles.plans import Plan

PyTree = Any
# Images that a convolutional network sees at once.
CHUNK = 250
# Members whose predictions are made at once, of a network without convolutions.
TOGETHER = 64


def all_logits(
  plan: Plan, members: PyTree, x: Array, samples: int = 0
) -> Array:
  """Logits of stacked networks, each of one member or more.

  Args:
    plan: the plan.
    members: stacked, n of them.
    x: images, (b, h, w, c), in [0, 1] or bytes.
    samples: further lambdas drawn of each member.

  Returns:
    (n k, b, c).
  """
  x = inputs.pixels(plan, x)
  if plan.config.model == "mlp":
    logits = jax.lax.map(
      lambda m: learner.predict(plan, m, x, samples=samples),
      members,
      batch_size=TOGETHER,
    )
  else:
    logits = jax.lax.map(
      lambda m: _in_chunks(plan, m, x, samples=samples), members
    )
  return logits.reshape(-1, *logits.shape[2:])


def _in_chunks(plan, member, x, samples):
  n = len(x)
  size = min(CHUNK, n)
  pad = -n % size
  wide = jnp.pad(x, ((0, pad), (0, 0), (0, 0), (0, 0)))
  parts = jax.lax.map(
    lambda part: learner.predict(plan, member, part, samples=samples),
    wide.reshape(-1, size, *x.shape[1:]),
  )
  whole = jnp.moveaxis(parts, 0, 1)
  return whole.reshape(whole.shape[0], -1, whole.shape[-1])[:, :n]


def fare(
  plan: Plan,
  members: PyTree,
  weights: Float[Array, "k"],
  table: Array,
  data: Mapping[str, Any],
  samples: int = 0,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Everything about an ensemble of one seed.

  Args:
    plan: the plan.
    members: stacked networks.
    weights: of their members.
    table: the seed's place.
    data: of `Tables.test`.
    samples: further lambdas drawn of each member.

  Returns:
    Numbers by name; and for figures "confidence", "correct", "count" (the bins
    of the reliability diagram) and of each corruption and severity "c_nll",
    "c_accuracy", "c_ece" (kinds, 5).
  """
  rows = data["test"][table]
  labels, x = data["label"][rows], augment.to_float(data["image"][rows])

  def logits(images):
    return all_logits(plan, members, images, samples)

  clean, foreign, worse = _by_set(logits, x, table, data)
  found, bins = measures.everything(clean, weights, labels, foreign)
  kinds = worse.shape[0] // len(corruptions.SEVERITIES)
  each = jax.lax.map(lambda z: measures.basics(z, weights, labels), worse)
  figures = {f"c_{k}": v.reshape(kinds, -1) for k, v in each.items()}
  found |= {name: value.mean() for name, value in figures.items()}
  return found, {**bins._asdict(), **figures}


def _by_set(logits, x, table, data):
  """Logits on clean, foreign and corrupted images, by one copy of the network.

  The corruptions are the same for every arm: of the seed's place and the kind.
  """
  makers = [
    lambda key, x, s: x,
    lambda key, x, s: corruptions.glued(x),
    *corruptions.KINDS.values(),
  ]
  levels = jnp.array(corruptions.SEVERITIES)
  kinds = len(corruptions.KINDS) if data["corrupted"] is None else 0
  which = [0, 1, *(2 + i for i in range(kinds) for _ in levels)]
  severities = jnp.concatenate([jnp.zeros(2, int), jnp.tile(levels, kinds)])
  key = jax.random.fold_in(jax.random.key(3), table)

  def one(at):
    kind, severity = at
    own = jax.random.fold_in(key, kind)
    return logits(jax.lax.switch(kind, makers, own, x, severity))

  found = jax.lax.map(one, (jnp.array(which), severities))
  foreign, worse = found[1], found[2:]
  if data["foreign"] is not None:
    foreign = logits(data["foreign"])
  if data["corrupted"] is not None:
    given = data["corrupted"]
    worse = jax.lax.map(logits, given.reshape(-1, *given.shape[2:]))
  return found[0], foreign, worse
