"""Wide residual networks for images of 32x32 and 64x64.

Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016: pre-activation
blocks in three groups. Initial values are those of the authors' code and of the
distillation papers that built on it: convolutions N(0, 2 / (k k out)).
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.norm import BatchNorm

# Kaiming normal by the outputs' count.
kernel_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class WideBlock(nn.Module):
  """Norm, ReLU and 3x3 convolution, twice, beside a shortcut.

  Attributes:
    width: output channels.
    stride: the step of the first convolution.
    conv: makes a convolution of (features, kernel_size, strides, padding).
    norm: makes a norm, which is applied to (activations, where).
  """

  width: int
  stride: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], where: Bool[Array, "b"] | None = None
  ) -> Float[Array, "b h2 w2 d"]:
    """Applies the block.

    Args:
      x: activations.
      where: the rows that enter the batch's statistics; all rows if None.

    Returns:
      The activations, before the next block's norm.
    """
    y = nn.relu(self.norm(name="norm_0")(x, where))
    if x.shape[-1] != self.width:
      # The projection sees the activated input.
      x = self.conv(self.width, (1, 1), self.stride, 0, name="conv_proj")(y)
    y = self.conv(self.width, (3, 3), self.stride, 1, name="conv_0")(y)
    y = nn.relu(self.norm(name="norm_1")(y, where))
    return x + self.conv(self.width, (3, 3), 1, 1, name="conv_1")(y)


class WideResNet(nn.Module):
  """A wide residual network, WRN-depth-widen.

  Attributes:
    num_classes: how many logits.
    depth: layers with weights on the longest path, 6 n + 4.
    widen: k; the groups have 16 k, 32 k and 64 k channels.
    dtype: the dtype of the activations; parameters, batch statistics and logits
      are float32 whatever it is.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int
  depth: int = 28
  widen: int = 10
  dtype: Any = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "b h w c"],
    *,
    train: bool,
    where: Bool[Array, "b"] | None = None,
  ) -> Features:
    """Applies the network.

    Args:
      x: images of any size.
      train: normalise by the batch's statistics and move the running ones
        (`mutable=["batch_stats"]`); else by the running ones.
      where: the rows that enter the batch's statistics; all rows if None.

    Returns:
      The activations after the last norm and ReLU (8x8 for images of 32x32),
      their mean over space and the logits.

    Raises:
      ValueError: if `depth` is not 6 n + 4.
    """
    count, rest = divmod(self.depth - 4, 6)
    if rest or count < 1:
      raise ValueError(f"depth is {self.depth}; it is 6 n + 4: 10, 16, 22 ...")
    conv = functools.partial(
      Conv, use_bias=False, dtype=self.dtype, kernel_init=kernel_normal
    )
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    x = conv(16, (3, 3), 1, 1, name="conv_init")(x)
    for i in range(3):
      for j in range(count):
        x = WideBlock(
          width=16 * self.widen * 2**i,
          stride=2 if i > 0 and j == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"group_{i}_block_{j}",
        )(x, where)
    x = nn.relu(norm(name="norm_last")(x, where))
    zeros = nn.initializers.zeros
    return Head(self.num_classes, self.dtype, bias_init=zeros, name="head")(x)
