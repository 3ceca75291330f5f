"""Gradients of a batch that does not fit, added up over parts of it.

The parts of a batch (micro-batches) go through forward and backward pass one
after the other in one compiled program; the optimizer sees their sum. For terms
with one value per example that is the large batch's gradient, however unevenly
the mask falls on the parts: each one's mean weighs as many examples as it is
of. Three things see a part where they would see the batch:

- batch statistics (BatchNorm): a part is normalised by its own, and the running
  ones move once per part;
- terms that compare an example with the others (contrast, mixing partners): the
  others are those of its part;
- terms with one number per batch: the parts' are averaged.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax import accel
from kd_jax.errors import UsageError

PyTree = Any


def accumulate(
  gradient: Callable[..., tuple[PyTree, PyTree, PyTree]], microbatches: int
) -> Callable[..., tuple[PyTree, PyTree, PyTree]]:
  """Computes a gradient over micro-batches.

  Args:
    gradient: `(state, batch, key, *, axis_name) -> (tree of means over the
      batch's examples that count, model_state, {name: Mean})`.
    microbatches: how many; they must divide each device's part of the batch.

  Returns:
    A function of the same form. Micro-batch m holds the rows whose place is m
    modulo `microbatches`: the same rows on any number of devices.
  """

  def accumulated(state, batch, key, *, axis_name=None):
    parts = jax.tree.map(lambda a: _split(a, microbatches), batch)
    counts = jnp.ones(microbatches)
    if batch.get("where") is not None:
      rows = parts["where"].astype(jnp.float32)
      counts = accel.sum(rows.sum(1), axis_name)
    shares = counts / jnp.maximum(counts.sum(), 1.0)

    def one(model_state, batch):
      now = state.replace(model_state=model_state)
      batch = accel.constrain(batch)
      return gradient(now, batch, key, axis_name=axis_name)

    shapes = jax.eval_shape(
      lambda: gradient(state, jax.tree.map(lambda a: a[0], parts), key)
    )
    found, _, sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(carry, part):
      found, model_state, sums = carry
      share, batch = part
      new, model_state, more = one(model_state, batch)
      found = jax.tree.map(lambda a, b: a + share * b, found, new)
      return (found, model_state, jax.tree.map(jnp.add, sums, more)), None

    start = (found, state.model_state, sums)
    return jax.lax.scan(body, start, (shares, parts))[0]

  return accumulated


def _split(a: jax.Array, microbatches: int) -> jax.Array:
  """Every so many-th row: (b, ...) as (microbatches, b / microbatches, ...)."""
  if a.shape[0] % microbatches:
    raise UsageError(
      f"microbatches is {microbatches}; a device's batch of {a.shape[0]} rows "
      "does not divide into as many parts"
    )
  rows = a.reshape(-1, microbatches, *a.shape[1:])
  return jnp.swapaxes(rows, 0, 1)
