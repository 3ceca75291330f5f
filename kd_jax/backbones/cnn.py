"""A small convolutional network for images of 8x8 to 28x28."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax.backbones.conv import Conv
from kd_jax.backbones.features import Features, Head
from kd_jax.backbones.norm import BatchNorm


class SmallCNN(nn.Module):
  """3x3 convolutions with batch normalisation and ReLU, pooled and classified.

  The defaults are trained in seconds on a CPU; a student of the same form has
  `widths=(8, 16, 16)`.

  Attributes:
    num_classes: how many logits.
    widths: channels of each layer.
    strides: the step of each layer.
    dtype: the dtype of the activations; parameters, batch statistics and logits
      are float32 whatever it is.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int
  widths: Sequence[int] = (32, 64, 64)
  strides: Sequence[int] = (2, 2, 1)
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
      x: images.
      train: normalise by the batch's statistics and move the running ones
        (`mutable=["batch_stats"]`); else by the running ones.
      where: the rows that enter the batch's statistics; all rows if None.

    Returns:
      The last feature map, its mean over space and the logits.

    Raises:
      ValueError: if `widths` and `strides` differ in length.
    """
    if len(self.widths) != len(self.strides):
      raise ValueError(
        f"{len(self.widths)} widths and {len(self.strides)} strides"
      )
    conv = functools.partial(
      Conv, kernel_size=(3, 3), padding=1, use_bias=False, dtype=self.dtype
    )
    norm = functools.partial(
      BatchNorm,
      use_running_average=not train,
      axis_name=self.axis_name,
      dtype=self.dtype,
    )
    for i, (width, stride) in enumerate(
      zip(self.widths, self.strides, strict=True)
    ):
      x = conv(width, strides=stride, name=f"conv_{i}")(x)
      x = nn.relu(norm(name=f"norm_{i}")(x, where))
    return Head(self.num_classes, self.dtype, name="head")(x)
