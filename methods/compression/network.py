"""Applies any linen module to parameters that are not what it declares.

Dense, Conv (flax's and ours), our Head and BatchNorm are caught at the call: if
a kernel has another shape than the module would make (channels were removed) or
another form (`forms`), the layer runs on what is there. A norm whose parameters
and statistics are gone (folded) hands its input on. All else of the module is
its own Python, so that residual sums, reshapes and branches need no rewriting.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import canonicalize_padding
from jaxtyping import Array

from kd_jax import backbones
from kd_jax.backbones import Head
from kd_jax.methods.compression import forms, ranges

PyTree = Any
LAYERS = (nn.Dense, nn.Conv, backbones.Conv)
NORMS = (nn.BatchNorm, backbones.BatchNorm)
Watch = Callable[[nn.Module, Array, Array], None]


class Geometry(NamedTuple):
  """How a convolution moves, without its kernel.

  Attributes:
    strides: a step for each space axis.
    padding: zeros before and behind, for each.
    dilation: the distance between taps, for each.
    native: whether the compiler's convolution is taken everywhere.
  """

  strides: tuple[int, int]
  padding: tuple[tuple[int, int], tuple[int, int]]
  dilation: tuple[int, int] = (1, 1)
  native: bool = False


def run(
  module: nn.Module, *, native: bool = False, watch: Watch | None = None
) -> Callable[..., Any]:
  """A module's `apply` that takes compressed parameters.

  Args:
    module: any linen module.
    native: every convolution of ours by the compiler (to read the program).
    watch: told of (layer, its input, its output) at each call.

  Returns:
    `apply(variables, *args, **kwargs)`, as `module.apply`.
  """

  def apply(variables, *args, **kwargs):
    with caught(native=native, watch=watch):
      return module.apply(variables, *args, **kwargs)

  return apply


@contextlib.contextmanager
def caught(*, native: bool = False, watch: Watch | None = None):
  """Within it, layers of any module run on the parameters that are there.

  Args:
    native: as in `run`.
    watch: as in `run`.

  Yields:
    Nothing.
  """

  def intercept(next_fun, args, kwargs, context):
    module = context.module
    if context.method_name != "__call__" or module.is_initializing():
      return next_fun(*args, **kwargs)
    y = _call(module, next_fun, args, kwargs, native)
    if watch is not None and isinstance(module, (*LAYERS, *NORMS, Head)):
      watch(module, args[0], y)
    return y

  with nn.intercept_methods(intercept):
    yield


def _call(module, next_fun, args, kwargs, native):
  if isinstance(module, NORMS):
    if module.scope.has_variable("batch_stats", "mean"):
      return next_fun(*args, **kwargs)
    return args[0]
  if isinstance(module, Head):
    return _head(module, next_fun, args[0])
  if not isinstance(module, LAYERS):
    return next_fun(*args, **kwargs)
  x, leaf = args[0], module.scope.get_variable("params", "kernel")
  # flax's convolution is slow in a loop on a CPU, and `convolve` is not.
  ours = native if isinstance(module, backbones.Conv) else _common(module, x)
  if forms.form(leaf) == "fake":
    x, leaf = ranges.observe(module.scope, x, leaf["fake"])
    ours = True
  if not ours and _declared(module, x, leaf):
    return next_fun(*args, **kwargs)
  if isinstance(module, nn.Dense):
    y = forms.dense(leaf, x, module.features)
  else:
    y = forms.conv(leaf, x, geometry(module, x, leaf, native))
  return _biased(module, y)


def _common(module, x) -> bool:
  """Whether it is a convolution of flax's that the forms can run."""
  return (
    isinstance(module, nn.Conv)
    and x.ndim == 4
    and module.dtype in (None, jnp.float32)
    and module.mask is None
    and module.padding not in ("CIRCULAR", "REFLECT", "CAUSAL")
    and module.input_dilation in (None, 1, (1, 1))
  )


def _biased(module, y):
  if not module.scope.has_variable("params", "bias"):
    return y
  bias = jnp.asarray(module.scope.get_variable("params", "bias"))
  return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def _head(module, next_fun, x):
  leaf = module.scope.get_variable("params", "kernel")
  if forms.form(leaf) == "dense":
    return next_fun(x)
  pooled = seen = x.mean((1, 2), dtype=jnp.float32)
  if forms.form(leaf) == "fake":
    seen, leaf = ranges.observe(module.scope, pooled, leaf["fake"])
  logits = _biased(module, forms.dense(leaf, seen, module.num_classes))
  return backbones.Features(x, pooled, logits)


def _declared(module, x, leaf) -> bool:
  """Whether the kernel is the one that the module would make itself."""
  if forms.form(leaf) != "dense":
    return False
  folded = module.scope.has_variable("params", "bias")
  if folded and not module.use_bias:
    return False
  if isinstance(module, nn.Dense):
    return leaf.shape == (x.shape[-1], module.features)
  groups = (
    module.feature_group_count if isinstance(module, nn.Conv) else module.groups
  )
  per_group = x.shape[-1] // groups
  return leaf.shape[-2:] == (per_group, module.features) and (
    x.shape[-1] % groups == 0
  )


def extents(module: nn.Module) -> tuple[int, ...]:
  """A convolution's extents along space."""
  size = module.kernel_size
  return (size,) if isinstance(size, int) else tuple(size)


def geometry(
  module: nn.Module, x: Array, leaf: Any, native: bool = False
) -> Geometry:
  """What a convolution module says about its movement.

  Args:
    module: flax's or ours, of two space axes.
    x: its input.
    leaf: its kernel.
    native: whether the compiler's convolution is wanted.

  Returns:
    The geometry, with the padding in numbers.

  Raises:
    ValueError: for what the forms cannot do (other than two space axes, padding
      by wrapping around).
  """
  del leaf
  size = extents(module)
  if len(size) != 2:
    raise ValueError(f"a kernel of {len(size)} space axes has no such form")
  dilation = (
    module.kernel_dilation if isinstance(module, nn.Conv) else module.dilation
  )
  strides, dilation = _pair(module.strides), _pair(dilation)
  padding: Any = module.padding
  if isinstance(module, nn.Conv) or not isinstance(padding, str):
    padding = canonicalize_padding(padding, 2)
  if isinstance(padding, str):
    if padding not in ("SAME", "VALID"):
      raise ValueError(f"padding {padding!r} has no compressed form")
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padding = jax.lax.padtype_to_pads(x.shape[1:3], reach, strides, padding)
  low, right = ((int(a), int(b)) for a, b in padding)
  return Geometry(strides, (low, right), dilation, native)


def _pair(value: Any) -> tuple[int, int]:
  if value is None:
    return (1, 1)
  return (value, value) if isinstance(value, int) else tuple(value)
