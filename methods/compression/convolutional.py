"""Small networks of 3x3 convolutions, for what schemes say about norms."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones import Conv, Features

# LeCun's normal values, as flax's layers have: the schemes' papers say nothing.
INIT = nn.initializers.lecun_normal()
ZERO = nn.initializers.zeros


def convolution(
  width: int,
  size: int,
  stride: int = 1,
  padding: Any = "VALID",
  groups: int = 1,
  **how: Any,
) -> Conv:
  """A convolution with a square kernel.

  Args:
    width: channels that come out.
    size: the kernel's extent.
    stride: its step.
    padding: as `backbones.Conv`.
    groups: as there.
    **how: further fields.

  Returns:
    The layer.
  """
  return Conv(
    width,
    (size, size),
    stride,
    padding,
    groups=groups,
    kernel_init=INIT,
    bias_init=ZERO,
    **how,
  )


class CNN(nn.Module):
  """Convolutions with ReLU, pooled in between; with norms or without.

  Attributes:
    num_classes: how many logits.
    widths: channels of each convolution; each but the last is pooled.
    norms: whether a norm stands between a convolution and its ReLU.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 10
  widths: Sequence[int] = (8, 16, 32)
  norms: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )
    for i, width in enumerate(self.widths):
      x = convolution(
        width, 3, padding=1, use_bias=not self.norms, name=f"conv_{i}"
      )(x)
      if self.norms:
        x = norm(name=f"norm_{i}")(x, where)
      x = nn.relu(x)
      if i + 1 < len(self.widths):
        x = nn.max_pool(x, (2, 2), (2, 2))
    return backbones.Head(self.num_classes, name="head")(x)


class XnorCNN(nn.Module):
  """Blocks in XNOR-Net's order: norm, signs, convolution, pooling.

  The step `xnor` makes the signs; after a norm inputs have both. The first
  convolution and the classifier stay float. As it stands it is the float
  network that `xnor` is compared with.

  Attributes:
    num_classes: how many logits.
    widths: channels of each convolution.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 10
  widths: Sequence[int] = (32, 64, 64)
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )
    x = convolution(
      self.widths[0], 3, padding=1, use_bias=False, name="conv_0"
    )(x)
    x = nn.relu(norm(name="norm_0")(x, where))
    for i, width in enumerate(self.widths[1:], 1):
      x = norm(name=f"norm_{i}")(x, where)
      x = convolution(width, 3, padding=1, use_bias=False, name=f"conv_{i}")(x)
      x = nn.max_pool(x, (2, 2), (2, 2))
    x = nn.relu(norm(name="norm_last")(x, where))
    return backbones.Head(self.num_classes, name="head")(x)
