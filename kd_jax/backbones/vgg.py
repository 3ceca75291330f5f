"""VGG with batch normalisation for images of 32x32 and 64x64.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015, in the form that distillation papers use on small
images: five blocks, global average pooling, one linear layer. Initial values
are those papers': convolutions N(0, 2 / (k k out)), the linear layer N(0, .01).
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.norm import BatchNorm
from kd_jax.backbones.wide import kernel_normal

_LARGE = 64  # From this height on the fourth block is pooled, too.


class VGG(nn.Module):
  """Blocks of 3x3 convolutions, each with norm and ReLU, pooled in between.

  Attributes:
    num_classes: how many logits.
    blocks: channels of each block's convolutions. A block is followed by a 2x2
      maximum, but for the last, and the one before it on images below 64
      pixels: 32x32 and 64x64 both end in 4x4.
    dtype: the dtype of the activations; parameters, batch statistics and logits
      are float32 whatever it is.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int
  blocks: Sequence[Sequence[int]]
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
      x: images, whose sides the pooling must divide (8; 16 from 64 pixels on).
      train: normalise by the batch's statistics and move the running ones
        (`mutable=["batch_stats"]`); else by the running ones.
      where: the rows that enter the batch's statistics; all rows if None.

    Returns:
      The last feature map, its mean over space and the logits.
    """
    conv = functools.partial(
      Conv,
      kernel_size=(3, 3),
      padding=1,
      dtype=self.dtype,
      kernel_init=kernel_normal,
      bias_init=nn.initializers.zeros,
    )
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    pooled = len(self.blocks) - (1 if x.shape[1] >= _LARGE else 2)
    for i, widths in enumerate(self.blocks):
      for j, width in enumerate(widths):
        x = conv(width, name=f"block_{i}_conv_{j}")(x)
        x = nn.relu(norm(name=f"block_{i}_norm_{j}")(x, where))
      if i < pooled:
        x = nn.max_pool(x, (2, 2), (2, 2))
    return Head(
      self.num_classes,
      self.dtype,
      kernel_init=nn.initializers.normal(0.01),
      bias_init=nn.initializers.zeros,
      name="head",
    )(x)


def _vgg(*counts: int):
  widths = (64, 128, 256, 512, 512)
  blocks = tuple((w,) * n for w, n in zip(widths, counts, strict=True))
  return functools.partial(VGG, blocks=blocks)


vgg8 = _vgg(1, 1, 1, 1, 1)
vgg11 = _vgg(1, 1, 2, 2, 2)
vgg13 = _vgg(2, 2, 2, 2, 2)
vgg16 = _vgg(2, 2, 3, 3, 3)
vgg19 = _vgg(2, 2, 4, 4, 4)
