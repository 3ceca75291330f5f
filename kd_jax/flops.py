"""Model FLOPs by formula: 2 per multiply-add of convolutions and products.

Counted on the traced program, nothing is compiled or run. What the compiler
reports instead counts the body of a loop once, whatever its length. Elementwise
work, decompositions and random bits are not counted, as is usual where a rate
is set against a device's peak.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr


def count(fn: Callable[..., Any], *args: Any, trips: int | None = None) -> int:
  """Floating point operations of `fn(*args)`.

  Zeros that a stride puts between the rows of a convolution's gradient are not
  work; zeros of the padding are counted, as in every published number. Of the
  branches of a `cond` the dearest counts. Inside `shard_map` every device's
  work counts.

  Args:
    fn: a function of arrays; a train step, say, before it is lifted.
    *args: arrays, or their shapes (`jax.ShapeDtypeStruct`).
    trips: how often a `while` loop runs, where the program does not say so.

  Returns:
    The count.

  Raises:
    ValueError: for a `while` loop with products in it if `trips` is None; for a
      kernel, whose work its author alone knows.
  """
  return _walk(jax.make_jaxpr(fn)(*args).jaxpr, trips)


def forward(
  module: nn.Module, input_shape: tuple[int, ...], **kwargs: Any
) -> int:
  """Floating point operations of a module's forward pass.

  Args:
    module: any linen module of one float32 array.
    input_shape: that array's shape, the batch included.
    **kwargs: keyword arguments of its `__call__` (`train=False`).

  Returns:
    The count; half of it are multiply-adds.

  Raises:
    ValueError: as `count`.
  """
  x = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  variables = jax.eval_shape(lambda k, x: module.init(k, x, **kwargs), key, x)
  return count(lambda v, x: module.apply(v, x, **kwargs), variables, x)


def _walk(jaxpr: Jaxpr, trips: int | None) -> int:
  total = 0
  for eqn in jaxpr.eqns:
    name = eqn.primitive.name
    if name == "conv_general_dilated":
      total += _conv(eqn)
    elif name == "dot_general":
      total += _dot(eqn)
    else:
      total += _inner(name, eqn.params, trips)
  return total


def _conv(eqn):
  kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
  features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
  # The input's dilation is the stride of the convolution that this one is the
  # gradient of: one place in so many holds a number.
  zeros = math.prod(eqn.params["lhs_dilation"])
  return 2 * math.prod(out) * (math.prod(kernel) // features) // zeros


def _dot(eqn):
  (contracted, _), _ = eqn.params["dimension_numbers"]
  left = eqn.invars[0].aval.shape
  out = eqn.outvars[0].aval.shape
  return 2 * math.prod(out) * math.prod(left[i] for i in contracted)


def _inner(name, params, trips):
  """What the programs inside an equation cost."""
  bodies = [body for value in params.values() for body in _programs(value)]
  if name == "cond":
    return max(_walk(body, trips) for body in bodies)
  total = sum(_walk(body, trips) for body in bodies)
  if name == "pallas_call":
    raise ValueError("a pallas_call's work is not in the program: give its own")
  if name == "while" and total:
    if trips is None:
      raise ValueError(
        "a while loop's length is not in the program: give trips"
      )
    return total * trips
  if name == "scan":
    return total * params["length"]
  return total * params["mesh"].size if name == "shard_map" else total


def _programs(value):
  if isinstance(value, ClosedJaxpr):
    return [value.jaxpr]
  if isinstance(value, Jaxpr):
    return [value]
  if isinstance(value, (tuple, list)):
    return [program for entry in value for program in _programs(entry)]
  return []
