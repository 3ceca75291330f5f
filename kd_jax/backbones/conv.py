"""The convolution, the one place from which every network takes it.

Initial values are PyTorch's defaults: the published numbers of most methods
were made with them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from kd_jax.backbones.convolution import convolve

Init = Callable[..., jax.Array]

# Kaiming uniform with a = sqrt(5), that is U(+-1/sqrt(fan_in)).
kernel_uniform: Init = nn.initializers.variance_scaling(
  1 / 3, "fan_in", "uniform"
)


def bias_uniform(fan_in: int) -> Init:
  """An initializer of biases, U(+-1/sqrt(fan_in)).

  Args:
    fan_in: how many inputs one output sees.

  Returns:
    A function of (key, shape, dtype).
  """

  def init(key, shape, dtype=jnp.float32):
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Conv(nn.Module):
  """A convolution over channels-last arrays, of one to three space axes.

  Attributes:
    features: output channels.
    kernel_size: one extent per space axis.
    strides: one step for all space axes, or one for each.
    padding: "SAME" or "VALID"; or one number, the zeros at either end of every
      space axis (at stride 2 "SAME" pads an even axis at its far end only,
      PyTorch's `padding=1` at both).
    dilation: the distance between the kernel's taps, for all space axes or
      each.
    groups: channels and features are divided into so many groups that do not
      see each other; as many as channels is a depthwise convolution.
    use_bias: whether a bias is added.
    dtype: the dtype of the computation; the inputs' and parameters' common one
      if None. Parameters are float32.
    kernel_init: initializer of the kernel, whose shape is
      (*kernel_size, channels over groups, features).
    bias_init: initializer of the bias; U(+-1/sqrt(fan_in)) if None.
  """

  features: int
  kernel_size: Sequence[int]
  strides: int | Sequence[int] = 1
  padding: str | int = "SAME"
  dilation: int | Sequence[int] = 1
  groups: int = 1
  use_bias: bool = True
  dtype: Any = None
  kernel_init: Init = kernel_uniform
  bias_init: Init | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out f"]:
    """Convolves.

    Args:
      x: inputs, channels last.

    Returns:
      The outputs, channels last.

    Raises:
      ValueError: if `x` has not one axis for each of `kernel_size`, one for the
        batch and one for the channels, or if `groups` does not divide the
        channels and features.
    """
    size = tuple(self.kernel_size)
    if x.ndim != len(size) + 2:
      raise ValueError(f"x is {x.shape}, for a kernel of {size}")
    if x.shape[-1] % self.groups or self.features % self.groups:
      raise ValueError(
        f"{x.shape[-1]} channels and {self.features} features are not divided "
        f"by {self.groups} groups"
      )
    shape = (*size, x.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
    bias = self._bias(shape) if self.use_bias else None
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
    y = convolve(
      x, kernel, self.strides, self.padding, self.dilation, self.groups
    )
    if bias is None:
      return y
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))

  def _bias(self, shape):
    *window, features = shape
    init = self.bias_init or bias_uniform(math.prod(window))
    return self.param("bias", init, (features,), jnp.float32)
