"""Means kept as a sum and a count, so that uneven batches add up exactly.

A step returns `{name: Mean}`. Adding two of them, over steps or over devices,
gives the mean over the union of their examples; the division comes last, on
the host (`compute`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Mean(NamedTuple):
  """A sum over examples and how many there were.

  Attributes:
    total: the sum of the values that count; float32, a scalar, or in an
      evaluation of many runs at once one sum a seed.
    count: how many counted, or the sum of their weights; likewise.
  """

  total: Float[Array, "*seeds"]
  count: Float[Array, "*seeds"]


def mean(
  values: Float[Array | np.ndarray, "*b"],
  where: Bool[Array | np.ndarray, "*b"] | None = None,
) -> Mean:
  """Sums `values` and counts them.

  Args:
    values: one value per example, of any shape.
    where: True for the examples that count; all of them if None. A value that
      does not count may be anything, NaN included.

  Returns:
    The sum and the count, in float32.

  Raises:
    ValueError: if the two shapes differ.
  """
  values = jnp.asarray(values, jnp.float32)
  if where is None:
    return Mean(values.sum(), jnp.asarray(values.size, jnp.float32))
  if where.shape != values.shape:
    raise ValueError(f"where is {where.shape}, values are {values.shape}")
  kept = jnp.where(where, values, 0.0)
  return Mean(kept.sum(), where.sum(dtype=jnp.float32))


def accuracy(
  logits: Float[Array | np.ndarray, "b c"],
  labels: Int[Array | np.ndarray, "b"],
  where: Bool[Array | np.ndarray, "b"] | None = None,
) -> Mean:
  """Top-1 accuracy; of equal logits the first class is the answer.

  Args:
    logits: class scores.
    labels: the true classes.
    where: True for the examples that count.

  Returns:
    Sum and count of correct answers.
  """
  return mean((logits.argmax(-1) == labels).astype(jnp.float32), where)


def merge(a: Mapping[str, Mean], b: Mapping[str, Mean]) -> dict[str, Mean]:
  """Adds two sets of metrics name by name.

  Args:
    a: metrics of some examples.
    b: metrics of the same names of other examples.

  Returns:
    The metrics of their union.
  """
  return jax.tree.map(jnp.add, dict(a), dict(b))


def compute(metrics: Mapping[str, Mean]) -> dict[str, float | list[float]]:
  """Divides each sum by its count, on the host.

  Args:
    metrics: sums and counts.

  Returns:
    Plain numbers, or a list of one number a seed; NaN where nothing counted.
  """
  host = jax.device_get(dict(metrics))
  found = {}
  for name, m in host.items():
    count = np.asarray(m.count, np.float64)
    shape = np.broadcast(m.total, count).shape
    found[name] = np.divide(
      m.total, count, out=np.full(shape, np.nan), where=count != 0
    ).tolist()
  return found
