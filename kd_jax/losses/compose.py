"""From per-example terms to the number that is minimised, and to the log."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import Number, blank, lift
from kd_jax.metrics.mean import Mean, mean

Term = Float[Array | np.ndarray, "..."] | Number
Normalize = Literal["count", "weight"]


def combine(
  terms: Mapping[str, Term],
  weights: Mapping[str, Term],
  where: Bool[Array | np.ndarray, "b"] | None = None,
  axis_name: str | None = None,
  normalize: Normalize = "count",
) -> tuple[Float[Array, ""], dict[str, Mean]]:
  """Adds up weighted, masked means of terms.

  Differentiate the scalar on each device and mean the gradients over the
  devices (`accel.mean`): that is the gradient of the mean over the examples of
  all devices, however unevenly the mask falls on them. The scalar itself is
  each device's share; its mean over the devices is the loss.

  Equation: L = sum_k w_k mean_i l_ki, with per-example weights
    sum_i w_ki l_ki / n ("count") or / sum_i w_ki ("weight"), i where it counts
  Source: the means of the papers' objectives, written for uneven masks
  Checked: sums written out; terms and masks that fall unevenly on four devices,
    with their gradients

  Args:
    terms: by name, one value per example (b,), or a scalar where the
      mathematics is one number of the batch, the same on every device. A value
      that does not count may be NaN (the gradient that reaches it is 0; inside
      a term of your own, 0 times infinity is yours to avoid).
    weights: by the same names, a number, a scalar array (a schedule's value)
      or, for a term with one value per example, one weight per example.
    where: True for the examples that count; all of them if None. Scalars are
      taken as they are.
    axis_name: the devices over which examples are counted.
    normalize: what the weighted sum of a term with per-example weights is
      divided by: the number of examples, or the sum of their weights. A single
      weight is a factor in either case.

  Returns:
    The scalar; 0 with zero gradient for terms of which nothing counts. And
    each term as a sum and a count of this device alone: `accel.sum` them, and
    `compute` gives the mean of the term over the examples that count, without
    its weight, whatever kind that is. A scalar has count 1.

  Raises:
    ValueError: naming the term: without a weight, a weight without its term, a
      shape that is neither () nor (b,), or shapes that differ.
  """
  _check_names(terms, weights)
  if normalize not in ("count", "weight"):
    raise ValueError(f"normalize is {normalize!r}; it is count or weight")
  where = None if where is None else jnp.asarray(where)
  values = dict(zip(terms, lift(*terms.values()), strict=True))
  parts, sums, divisors = {}, {}, {}
  total = jnp.zeros_like(next(iter(values.values())), shape=())
  for name, value in values.items():
    weight = jnp.asarray(weights[name], value.dtype)
    _check_shapes(name, value, weight, where)
    if value.ndim == 0:
      parts[name] = mean(value)
      total += weight * value
    else:
      parts[name] = mean(value, where)
      sums[name], divisors[name] = _sum(value, weight, where, normalize)
  # One number per term crosses the devices; the sums stay where they are.
  divisors = accel.sum(divisors, axis_name)
  for name in sums:
    total += accel.axis_size(axis_name) * _ratio(sums[name], divisors[name])
  return total, parts


def _sum(value, weight, where, normalize) -> tuple[jax.Array, jax.Array]:
  """A term's weighted sum on this device, and what it is to be divided by."""
  counts = blank(jnp.ones_like(value), where)
  value = blank(value, where)
  if weight.ndim == 0:
    return weight * value.sum(), counts.sum()
  weight = blank(weight, where)
  divisor = weight if normalize == "weight" else counts
  return (weight * value).sum(), divisor.sum()


def _ratio(x, y):
  """X / y, and 0 with zero gradient where y is 0."""
  zero = y == 0
  ratio = x / jnp.where(zero, jnp.ones_like(y), y)
  return jnp.where(zero, jnp.zeros_like(ratio), ratio)


def _check_names(terms, weights):
  if not terms:
    raise ValueError("there is no term to combine")
  for name in terms:
    if name not in weights:
      raise ValueError(f"term {name!r} has no weight; weights: {list(weights)}")
  for name in weights:
    if name not in terms:
      raise ValueError(f"weight {name!r} has no term; terms: {list(terms)}")


def _check_shapes(name, value, weight, where):
  if value.ndim > 1:
    raise ValueError(
      f"term {name!r} is {value.shape}; a term is () or (b,), one value per "
      "example"
    )
  if weight.ndim and weight.shape != value.shape:
    raise ValueError(
      f"the weight of {name!r} is {weight.shape}, the term is {value.shape}"
    )
  if where is not None and value.ndim and where.shape != value.shape:
    raise ValueError(f"where is {where.shape}, term {name!r} is {value.shape}")
