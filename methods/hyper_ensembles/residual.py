"""ResNet-20 and WRN-28-10, as single, batch or hyper-batch ensembles.

Six groups of L2: the first convolution, the three stages, the last layer's
kernel and its bias. Batch norms are one for all members: shared scale and
shift, shared statistics over all of their activations.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones import BatchNorm
from kd_jax.methods.hyper_ensembles.networks import Given, Kit

GROUPS = ("conv_init", "stage_0", "stage_1", "stage_2", "kernel", "bias")


class ResNet(nn.Module):
  """Three stages of basic blocks for images of 32x32.

  Source: He et al. 2016; Zagoruyko and Komodakis 2016, arXiv 1605.07146, in the
    form of the published baselines: no dropout, no biases of convolutions, a
    projection taken from the block's input x where shapes differ

  Attributes:
    num_classes: how many logits.
    kit: which layers.
    blocks: of each stage; (depth - 4) / 6, and (depth - 2) / 6 of version 1.
    width: the stages have 16, 32 and 64 times as many channels.
    version: 2 is pre-activation, 1 is convolution, norm, ReLU.
    axis_name: the axis that batch statistics are gathered over, or None.
  """

  num_classes: int
  kit: Kit = Kit()
  blocks: int = 4
  width: int = 10
  version: int = 2
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "k b h w c"], given: Given, *, train: bool
  ) -> Float[Array, "m b n"]:
    """Applies the network.

    Args:
      x: images.
      given: lambda in its forms.
      train: normalise by the batch's statistics and move the running ones.

    Returns:
      Logits.
    """
    norm = functools.partial(self._norm, train=train)
    conv = functools.partial(self._conv, given=given)
    x = conv(x, 16, 3, 1, "conv_init", 0)
    if self.version == 1:
      x = nn.relu(norm(x, "norm_init"))
    block = self._block_1 if self.version == 1 else self._block_2
    for stage in range(3):
      channels = 16 * self.width * 2**stage
      for j in range(self.blocks):
        stride = 2 if stage and not j else 1
        x = block(x, channels, stride, f"stage_{stage}_{j}", stage, conv, norm)
    if self.version == 2:
      x = nn.relu(norm(x, "norm_last"))
    x = x.mean((2, 3))
    dense = self.kit.dense(self.num_classes, "dense")
    return dense(x, given, 4, 5).astype(jnp.float32)

  def _conv(self, x, features, size, stride, name, group, given):
    how = {"strides": stride, "padding": size // 2, "use_bias": False}
    return self.kit.conv(features, size, name, **how)(x, given, group)

  def _norm(self, x, name, train):
    layer = BatchNorm(
      use_running_average=not train, axis_name=self.axis_name, name=name
    )
    return layer(x.reshape(-1, *x.shape[2:])).reshape(x.shape)

  def _block_2(self, x, channels, stride, name, stage, conv, norm):
    y = nn.relu(norm(x, f"{name}_norm_0"))
    y = conv(y, channels, 3, stride, f"{name}_conv_0", stage + 1)
    y = nn.relu(norm(y, f"{name}_norm_1"))
    y = conv(y, channels, 3, 1, f"{name}_conv_1", stage + 1)
    if stride > 1 or x.shape[-1] != channels:
      x = conv(x, channels, 1, stride, f"{name}_conv_proj", stage + 1)
    return x + y

  def _block_1(self, x, channels, stride, name, stage, conv, norm):
    y = conv(x, channels, 3, stride, f"{name}_conv_0", stage + 1)
    y = nn.relu(norm(y, f"{name}_norm_0"))
    y = conv(y, channels, 3, 1, f"{name}_conv_1", stage + 1)
    y = norm(y, f"{name}_norm_1")
    if stride > 1 or x.shape[-1] != channels:
      x = conv(x, channels, 1, stride, f"{name}_conv_proj", stage + 1)
    return nn.relu(x + y)
