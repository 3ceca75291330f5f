"""The residual networks of CIFAR, and those of the distillation benchmark.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2;
Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020
(the benchmark: projections in the shortcuts, and the widths of "32x4").
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones import Features
from kd_jax.methods.compression.convolutional import convolution


class CifarResNet(nn.Module):
  """ResNet-20, 56, 110: 6 n + 2 layers.

  Where a stage begins the shortcut takes every second pixel and zeros for new
  channels (option A), without parameters: 269,722, 853,018 and 1,727,962 in
  all. In the benchmark it is a 1x1 convolution and a norm.

  Attributes:
    num_classes: how many logits.
    depth: 6 n + 2.
    widths: of the first convolution and of the three stages.
    projected: whether shortcuts that change shape have parameters.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 10
  depth: int = 20
  widths: Sequence[int] = (16, 16, 32, 64)
  projected: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )

    def conv(width, stride, name):
      return convolution(width, 3, stride, 1, use_bias=False, name=name)

    x = nn.relu(norm(name="norm")(conv(self.widths[0], 1, "conv")(x), where))
    for i, (before, width) in enumerate(itertools.pairwise(self.widths)):
      for j in range((self.depth - 2) // 6):
        stride, name = 2 if i and not j else 1, f"block_{i}_{j}"
        y = conv(width, stride, f"{name}_conv_0")(x)
        y = nn.relu(norm(name=f"{name}_norm_0")(y, where))
        y = norm(name=f"{name}_norm_1")(
          conv(width, 1, f"{name}_conv_1")(y), where
        )
        # By the declared widths: channels may have been cut since.
        if self.projected and not j and (stride == 2 or before != width):
          x = convolution(
            width, 1, stride, use_bias=False, name=f"{name}_conv_proj"
          )(x)
          x = norm(name=f"{name}_norm_proj")(x, where)
        elif stride == 2:
          side = (width - before) // 2
          # A slice by name: JAX 0.7 indexes by a gather, which ties nothing.
          x = jax.lax.slice(x, (0,) * 4, x.shape, (1, 2, 2, 1))
          x = jnp.pad(x, ((0, 0),) * 3 + ((side, side),))
        x = nn.relu(x + y)
    return backbones.Head(self.num_classes, name="head")(x)
