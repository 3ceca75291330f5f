"""Residual networks.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, in the form
that distillation papers use on images of 32x32 and 64x64: a 3x3 stem without
pooling, four stages of basic blocks, global average pooling; and with the
paper's own stem for larger ones, 7x7 in steps of two and a maximum.
Convolutions and norms are made once and handed down, so that a block knows its
width and its stride only.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.norm import BatchNorm


class BasicBlock(nn.Module):
  """Two 3x3 convolutions beside a shortcut.

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
      The activations after the last ReLU.
    """
    y = self.conv(self.width, (3, 3), self.stride, 1, name="conv_0")(x)
    y = nn.relu(self.norm(name="norm_0")(y, where))
    y = self.conv(self.width, (3, 3), 1, 1, name="conv_1")(y)
    y = self.norm(name="norm_1")(y, where)
    if self.stride != 1 or x.shape[-1] != self.width:
      x = self.conv(self.width, (1, 1), self.stride, 0, name="conv_proj")(x)
      x = self.norm(name="norm_proj")(x, where)
    return nn.relu(x + y)


class Bottleneck(nn.Module):
  """A 3x3 convolution between two 1x1 ones, beside a shortcut.

  The step is the 3x3's (the network's "version 1.5", which the usual published
  numbers are of), and the result has `EXPANSION` times as many channels.

  Attributes:
    width: channels of the 3x3 convolution.
    stride: its step.
    conv: makes a convolution of (features, kernel_size, strides, padding).
    norm: makes a norm, which is applied to (activations, where).
  """

  EXPANSION = 4

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
      The activations after the last ReLU.
    """
    out = self.EXPANSION * self.width
    y = self.conv(self.width, (1, 1), 1, 0, name="conv_0")(x)
    y = nn.relu(self.norm(name="norm_0")(y, where))
    y = self.conv(self.width, (3, 3), self.stride, 1, name="conv_1")(y)
    y = nn.relu(self.norm(name="norm_1")(y, where))
    y = self.conv(out, (1, 1), 1, 0, name="conv_2")(y)
    y = self.norm(name="norm_2")(y, where)
    if self.stride != 1 or x.shape[-1] != out:
      x = self.conv(out, (1, 1), self.stride, 0, name="conv_proj")(x)
      x = self.norm(name="norm_proj")(x, where)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A residual network of basic blocks, or of another kind.

  Attributes:
    num_classes: how many logits.
    blocks: blocks of each stage; every stage but the first halves the image.
    width: channels of the first stage; each further stage doubles them.
    block: BasicBlock or Bottleneck.
    large: for images of 224x224: a stem of 7x7 in steps of 2 and a 3x3 maximum
      in steps of 2, rather than of 3x3.
    linear_stem: without the ReLU behind the stem's norm, as in lightly's
      CIFAR-10 benchmark.
    dtype: the dtype of the activations; parameters, batch statistics and logits
      are float32 whatever it is.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int
  blocks: Sequence[int] = (2, 2, 2, 2)
  width: int = 64
  block: Callable[..., nn.Module] = BasicBlock
  large: bool = False
  linear_stem: bool = False
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
      The last feature map (4x4 for images of 32x32), its mean over space and
      the logits.
    """
    conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    size, stride, padding = (7, 2, 3) if self.large else (3, 1, 1)
    stem = conv(self.width, (size, size), stride, padding, name="conv_init")
    x = norm(name="norm_init")(stem(x), where)
    x = x if self.linear_stem else nn.relu(x)
    if self.large:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    for i, count in enumerate(self.blocks):
      for j in range(count):
        x = self.block(
          width=self.width * 2**i,
          stride=2 if i > 0 and j == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"stage_{i}_block_{j}",
        )(x, where)
    return Head(self.num_classes, self.dtype, name="head")(x)


resnet18 = functools.partial(ResNet, blocks=(2, 2, 2, 2))
resnet34 = functools.partial(ResNet, blocks=(3, 4, 6, 3))
# For ImageNet: 25,557,032 parameters at 1,000 classes, as published.
resnet50 = functools.partial(
  ResNet, blocks=(3, 4, 6, 3), block=Bottleneck, large=True
)
# A student of a quarter of the parameters.
resnet18_half = functools.partial(resnet18, width=32)
# For tests: two stages, a projection, seconds to compile.
resnet_tiny = functools.partial(ResNet, blocks=(1, 1), width=4)
