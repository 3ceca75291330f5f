"""Batch ensembles: K members that share a kernel, as flax.linen layers.

Member k's kernel is W * r_k s_k^T and is never built:
y_k = ((x_k * r_k) W) * s_k + b_k. Source: Wen et al. 2020, arXiv 2002.06715.
With `members=1, fast=False` a layer is an ordinary one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from kd_jax.backbones.conv import Init
from kd_jax.methods.hyper_ensembles import fast as fast_
from kd_jax.methods.hyper_ensembles import penalty, shared


class Nu(NamedTuple):
  """L2 coefficients of a layer; either axis may be 1.

  Attributes:
    kernel: of the kernel.
    bias: of the bias.
  """

  kernel: Float[Array, "k b"]
  bias: Float[Array, "k b"]


class DenseBatchEnsemble(nn.Module):
  """A dense layer of K members.

  Parameters: `kernel` (c, f), `r` (k, c), `s` (k, f), `bias` (k, f); their
  number is c f + K (c + 2 f).

  Attributes:
    features: outputs of each member.
    members: K.
    use_bias: whether each member has a bias.
    fast: whether there are fast weights.
    fast_init: see `fast.fast_init`.
    kernel_init: initializer of the kernel.
    dtype: of the computation; that of inputs and parameters if None.
  """

  features: int
  members: int
  use_bias: bool = True
  fast: bool = True
  fast_init: float = -0.5
  kernel_init: Init = fast_.he_normal
  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "k b c"], nu: Nu | None = None
  ) -> Float[Array, "m b f"]:
    """Applies the members to their own inputs, or to shared ones.

    Args:
      x: inputs; k is 1 where members share them.
      nu: with it the L2 penalty is sown as "l2" (`mutable=["l2"]`).

    Returns:
      Outputs of each member.

    Raises:
      ValueError: if there is no member axis.
    """
    fast_.check_members(x, self.members, 3)
    own = _Own(self, (x.shape[-1], self.features))
    x, kernel, r, s, bias = own.promoted(x)
    own.sow(nu)
    return _shifted(shared.dense(x, kernel, r, s), bias)


class ConvBatchEnsemble(nn.Module):
  """A convolution of K members, channels last, by the suite's convolution.

  Parameters: `kernel` (*kernel_size, c, f), `r` (k, c), `s` (k, f), `bias`
  (k, f).

  Attributes:
    features: output channels of each member.
    kernel_size: one extent per space axis.
    members: K.
    strides: one step for all space axes.
    padding: "SAME", "VALID", or zeros at either end of every space axis.
    use_bias: whether each member has a bias.
    fast: whether there are fast weights.
    fast_init: see `fast.fast_init`.
    kernel_init: initializer of the kernel.
    dtype: of the computation; that of inputs and parameters if None.
  """

  features: int
  kernel_size: Sequence[int]
  members: int
  strides: int = 1
  padding: str | int = "SAME"
  use_bias: bool = True
  fast: bool = True
  fast_init: float = -0.5
  kernel_init: Init = fast_.he_normal
  dtype: Any = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "k b *space c"], nu: Nu | None = None
  ) -> Float[Array, "m b *out f"]:
    """Applies the members to their own inputs, or to shared ones.

    Args:
      x: inputs; k is 1 where members share them.
      nu: with it the L2 penalty is sown as "l2" (`mutable=["l2"]`).

    Returns:
      Outputs of each member.

    Raises:
      ValueError: if there is no member axis.
    """
    size = tuple(self.kernel_size)
    fast_.check_members(x, self.members, len(size) + 3)
    own = _Own(self, (*size, x.shape[-1], self.features))
    x, kernel, r, s, bias = own.promoted(x)
    own.sow(nu)
    how = {"strides": self.strides, "padding": self.padding}
    return _shifted(shared.convolution(x, kernel, r, s, **how), bias)


class _Own:
  """The parameters of a batch-ensemble layer."""

  def __init__(self, layer: nn.Module, shape: tuple[int, ...]):
    k, (c, f) = layer.members, shape[-2:]
    init = fast_.fast_init(layer.fast_init)
    self.layer = layer
    self.kernel = layer.param("kernel", layer.kernel_init, shape, jnp.float32)
    self.r = self.s = self.bias = None
    if layer.fast:
      self.r = layer.param("r", init, (k, c), jnp.float32)
      self.s = layer.param("s", init, (k, f), jnp.float32)
    if layer.use_bias:
      zeros = nn.initializers.zeros
      self.bias = layer.param("bias", zeros, (k, f), jnp.float32)

  def promoted(self, x):
    own = (x, self.kernel, self.r, self.s, self.bias)
    return promote_dtype(*own, dtype=self.layer.dtype)

  def sow(self, nu: Nu | None) -> None:
    """The kernel is penalised, fast weights are not (the published runs)."""
    if nu is None:
      return
    value = penalty.plain_l2(self.kernel, nu.kernel)
    if self.bias is not None:
      value += penalty.member_l2(self.bias, nu.bias)
    self.layer.sow("l2", "value", value)


def _shifted(y, bias):
  return y if bias is None else y + fast_.wide(bias, y.ndim)
