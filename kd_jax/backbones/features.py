"""What every network of this folder returns."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones.conv import Init, bias_uniform, kernel_uniform


class Features(NamedTuple):
  """A network's answer, and what it was made from.

  Attributes:
    feature_map: the last activations before pooling, in the network's dtype.
    pooled: their mean over space, float32.
    logits: class scores, float32.
  """

  feature_map: Float[Array, "b h w c"]
  pooled: Float[Array, "b c"]
  logits: Float[Array, "b k"]


class Head(nn.Module):
  """Global average pooling and one linear layer.

  Its parameters are `kernel` (c, k) and `bias` (k): the classifier that another
  network can borrow.

  Attributes:
    num_classes: how many logits.
    dtype: the dtype of the linear layer; logits are float32 whatever it is.
    kernel_init: initializer of the kernel.
    bias_init: initializer of the bias; U(+-1/sqrt(c)) if None.
  """

  num_classes: int
  dtype: Any = jnp.float32
  kernel_init: Init = kernel_uniform
  bias_init: Init | None = None

  @nn.compact
  def __call__(self, feature_map: Float[Array, "b h w c"]) -> Features:
    """Pools and classifies.

    Args:
      feature_map: activations, channels last.

    Returns:
      The map, its mean over space and the logits.
    """
    pooled = feature_map.mean((1, 2), dtype=jnp.float32)
    fan_in, k = pooled.shape[-1], self.num_classes
    kernel = self.param("kernel", self.kernel_init, (fan_in, k), jnp.float32)
    bias_init = self.bias_init or bias_uniform(fan_in)
    bias = self.param("bias", bias_init, (k,), jnp.float32)
    logits = pooled.astype(self.dtype) @ kernel.astype(self.dtype)
    logits = logits.astype(jnp.float32) + bias[None]
    return Features(feature_map, pooled, logits)
