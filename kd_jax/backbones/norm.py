"""Batch normalisation whose statistics are sums over the rows that count.

Sums and counts, not means, cross the devices: so that padded rows which fall
unevenly on them (all of one device's, say) leave the statistics those of the
whole batch. flax's layer means the devices' means.

The gradient in training is written down (`jax.custom_vjp`: reverse mode of any
order): it takes two passes over the activations and keeps them alone.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax import accel


class BatchNorm(nn.Module):
  """Normalises each channel over the rows that count and over space.

  Parameters are `scale` and `bias`, running statistics `mean` and `var` in the
  collection "batch_stats", all float32 as is what is computed; the variance is
  the biased one (PyTorch's running variance is the unbiased one: a factor of
  n/(n-1) over n = rows x places).

  Attributes:
    use_running_average: normalise by the running statistics (evaluation).
    axis_name: the axis to gather statistics over; this device's alone if None.
    momentum: how much of the running statistics a batch leaves.
    epsilon: added to the variance.
    dtype: the dtype of the result; that of the input if None.
    use_scale: whether there is a `scale`; it is 1 otherwise.
    use_bias: whether there is a `bias`; it is 0 otherwise.
  """

  use_running_average: bool
  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: Any = None
  use_scale: bool = True
  use_bias: bool = True

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b *space c"],
    where: Bool[Array, "b"] | None = None,
  ) -> Float[Array, "b *space c"]:
    """Normalises; in training also moves the running statistics.

    Args:
      x: activations, channels last.
      where: the rows whose values enter the statistics; all rows if None.

    Returns:
      The normalised activations, padded rows among them.

    Raises:
      ValueError: if `where` has not one entry per row.
    """
    if where is not None and where.shape != x.shape[:1]:
      raise ValueError(f"where is {where.shape}, x is {x.shape}")
    size = x.shape[-1:]
    scale, bias = jnp.ones(size), jnp.zeros(size)
    if self.use_scale:
      scale = self.param("scale", nn.initializers.ones, size, jnp.float32)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, size, jnp.float32)
    mean = self.variable("batch_stats", "mean", jnp.zeros, size, jnp.float32)
    var = self.variable("batch_stats", "var", jnp.ones, size, jnp.float32)
    if self.use_running_average:
      spread = jax.lax.rsqrt(var.value + self.epsilon)
      y = _scaled(x, scale * spread, bias, mean.value)
    else:
      # While the parameters are made no axis is bound.
      axis_name = None if self.is_initializing() else self.axis_name
      *use, count = statistics(x, where, axis_name)
      if not self.is_initializing():
        self._move(mean, use[0], count)
        self._move(var, use[1], count)
      spread = jax.lax.rsqrt(use[1] + self.epsilon)
      y = _normalised(axis_name, x, scale, bias, where, use[0], spread, count)
    return y.astype(self.dtype or x.dtype)

  def _move(self, running, value, count):
    # A batch without a row that counts says nothing.
    rate = jnp.where(count > 0, 1 - self.momentum, 0.0)
    running.value = running.value + rate * (value - running.value)


def _scaled(x, factor, bias, mean):
  """(x - mean) factor + bias, in float32."""
  wide = (1,) * (x.ndim - 1) + (-1,)
  y = x.astype(jnp.float32) - mean.reshape(wide)
  return y * factor.reshape(wide) + bias.reshape(wide)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _normalised(axis_name, x, scale, bias, where, mean, spread, count):
  """Scaled by the statistics of `x` itself.

  The gradient in `x` is the whole one, through the statistics as well; nothing
  but `x` is kept for it, and it takes two passes over the activations.

  Args:
    axis_name: the axis that the statistics were gathered over, or None.
    x: activations, channels last.
    scale: of each channel.
    bias: of each channel.
    where: the rows that entered the statistics, or None.
    mean: of each channel.
    spread: one over each channel's standard deviation.
    count: how many values the statistics are made of.

  Returns:
    The normalised activations, in float32.
  """
  del axis_name, where, count
  return _scaled(x, scale * spread, bias, mean)


def _forth(axis_name, x, scale, bias, where, mean, spread, count):
  kept = x, scale, where, mean, spread, count
  return _normalised(axis_name, x, scale, bias, *kept[2:]), kept


def _back(axis_name, kept, dy):
  x, scale, where, mean, spread, count = kept
  axes, wide = tuple(range(x.ndim - 1)), (1,) * (x.ndim - 1) + (-1,)
  x = x.astype(jnp.float32)
  # Not of x - mean, which the compiler would keep from the way forth.
  first = dy.sum(axes)
  second = ((dy * x).sum(axes) - mean * first) * spread
  # Every row of every device was normalised by the same statistics.
  shifts = accel.sum((first, second), axis_name)
  shift, slope = (s / jnp.maximum(count, 1.0) for s in shifts)
  slope = slope * spread
  through = x * slope.reshape(wide) + (shift - mean * slope).reshape(wide)
  if where is not None:
    rows = where.reshape((-1,) + (1,) * (x.ndim - 1))
    through = jnp.where(rows, through, 0.0)
  dx = (dy - through) * (scale * spread).reshape(wide)
  # Statistics are arguments so as not to be computed twice; `dx` holds theirs.
  nothing = [jnp.zeros_like(v) for v in kept[-3:]]
  return dx.astype(kept[0].dtype), second, first, None, *nothing


_normalised.defvjp(_forth, _back)


def statistics(
  x: Float[Array, "b *space c"],
  where: Bool[Array, "b"] | None,
  axis_name: str | None,
) -> tuple[Float[Array, "c"], Float[Array, "c"], Float[Array, ""]]:
  """Mean and biased variance of each channel, in float32.

  Args:
    x: activations, channels last.
    where: the rows that count; all of them if None.
    axis_name: the axis to gather over, or None.

  Returns:
    The means, the variances, and how many values each is made of. Without a
    row that counts: zeros.
  """
  x = x.astype(jnp.float32)
  places = x[0, ..., 0].size
  count = jnp.float32(x.shape[0] * places)
  if where is not None:
    x = jnp.where(where.reshape((-1,) + (1,) * (x.ndim - 1)), x, 0.0)
    count = where.sum(dtype=jnp.float32) * places
  axes = tuple(range(x.ndim - 1))
  sums = accel.sum((x.sum(axes), (x * x).sum(axes), count), axis_name)
  first, second, count = sums
  divisor = jnp.maximum(count, 1.0)
  mean = first / divisor
  # Rounding may take the difference below zero.
  return mean, jnp.maximum(second / divisor - mean**2, 0.0), count
