"""MobileNetV2 for images of 32x32, as the distillation benchmark has it.

Sandler et al., MobileNetV2, CVPR 2018: a 1x1 convolution to 6 times as many
channels, a depthwise 3x3, and a linear 1x1 back, beside a shortcut where
nothing changes shape. The benchmark takes half of the channels ("mobile_half"),
expands in the first block too, and has 1,280 channels before the classifier
whatever the width.
"""

import functools
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones import Features
from kd_jax.methods.compression.convolutional import convolution

# Of each group of blocks: expansion, channels, blocks, the first one's step.
GROUPS = (
  (1, 16, 1, 1),
  (6, 24, 2, 1),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


class MobileNetV2(nn.Module):
  """MobileNetV2; 812,836 parameters at 100 classes and half of the channels.

  Attributes:
    num_classes: how many logits.
    width: what the channels are multiplied by.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int = 100
  width: float = 0.5
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w 3"], *, train: bool, where: Any = None
  ) -> Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )

    def layer(x, channels, size, stride, name, groups=1):
      how = {"groups": groups, "use_bias": False, "name": name}
      y = convolution(channels, size, stride, size // 2, **how)(x)
      return norm(name=f"{name}_norm")(y, where)

    # Blocks go by the declared widths: channels may have been cut since.
    before = int(STEM * self.width)
    x = nn.relu(layer(x, before, 3, 2, "conv"))
    for i, (expansion, channels, count, first) in enumerate(GROUPS):
      for j in range(count):
        stride, name = 1 if j else first, f"block_{i}_{j}"
        out, wide = int(channels * self.width), expansion * before
        y = nn.relu(layer(x, wide, 1, 1, f"{name}_up"))
        y = nn.relu(layer(y, wide, 3, stride, f"{name}_depth", wide))
        y = layer(y, out, 1, 1, f"{name}_down")
        x = x + y if stride == 1 and before == out else y
        before = out
    x = nn.relu(layer(x, LAST, 1, 1, "conv_last"))
    return backbones.Head(self.num_classes, name="head")(x)
