"""Hyper-batch ensembles: members whose weights are functions of lambda.

W_k(lambda) = W * (r_k s_k^T) + [D * (u_k v_k^T)] * e(lambda)^T and
b_k(lambda) = b_k + d_k * e'(lambda), with a lambda of each member and example.
Source: Wenzel et al. 2020, arXiv 2006.13570, eq. 7. Without fast weights and
with one member: a self-tuning network (MacKay et al. 2019, arXiv 1903.03088).
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from kd_jax.backbones.conv import Init
from kd_jax.methods.hyper_ensembles import fast as fast_
from kd_jax.methods.hyper_ensembles import penalty, shared
from kd_jax.methods.hyper_ensembles.layers import Nu


class Embedding(nn.Module):
  """e(lambda): linear without bias, or through hidden layers of tanh.

  Attributes:
    features: its outputs.
    scale: standard deviation of the last layer's initial weights; tiny, or
      lambda's noise swamps the first steps.
    hidden: widths of hidden layers, which have biases.
  """

  features: int
  scale: float = 1e-4
  hidden: Sequence[int] = ()

  @nn.compact
  def __call__(self, z: Float[Array, "k b m"]) -> Float[Array, "k b f"]:
    """Embeds.

    Args:
      z: lambda, transformed to a fixed range.

    Returns:
      e, one number for each output.
    """
    for width in self.hidden:
      z = nn.tanh(nn.Dense(width)(z))
    return nn.Dense(self.features, use_bias=False, kernel_init=self._tiny)(z)

  def _tiny(self, key, shape, dtype=jnp.float32):
    return self.scale * fast_.gaussian(key, shape).astype(dtype)


class DenseHyperBatchEnsemble(nn.Module):
  """A dense layer of K members that know their hyperparameters.

  Attributes:
    features: outputs of each member.
    members: K.
    use_bias: whether each member has a bias, and one that e' scales.
    fast: whether there are fast weights.
    tied: whether u = r and v = s; one product then serves W and D.
    fast_init: see `fast.fast_init`.
    regularize_fast: whether the L2 penalty is of W * r s^T and D * u v^T, or of
      W and D alone (the published runs).
    embed_scale: `Embedding.scale`.
    embed_hidden: `Embedding.hidden`.
    kernel_init: initializer of W and D.
    dtype: of the computation; that of inputs and parameters if None.
  """

  features: int
  members: int
  use_bias: bool = True
  fast: bool = True
  tied: bool = True
  fast_init: float = -0.75
  regularize_fast: bool = False
  embed_scale: float = 1e-4
  embed_hidden: Sequence[int] = ()
  kernel_init: Init = fast_.he_normal
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "k b c"],
    z: Float[Array, "m n h"],
    nu: Nu | None = None,
  ) -> Float[Array, "o b f"]:
    """Applies each member with the weights of each example's lambda.

    Args:
      x: inputs; k is 1 where members share them.
      z: transformed lambda of each member and example; either axis may be 1.
      nu: with it the exact L2 penalty is sown as "l2" (`mutable=["l2"]`).

    Returns:
      Outputs of each member.

    Raises:
      ValueError: if there is no member axis.
    """
    fast_.check_members(x, self.members, 3)
    own = _Own(self, (x.shape[-1], self.features), z)
    y = own.apply(x, shared.dense)
    own.sow(nu)
    return y


class ConvHyperBatchEnsemble(nn.Module):
  """A convolution of K members that know their hyperparameters.

  Attributes:
    features: output channels of each member.
    kernel_size: one extent per space axis.
    members: K.
    strides: one step for all space axes.
    padding: "SAME", "VALID", or zeros at either end of every space axis.
    use_bias: whether each member has a bias, and one that e' scales.
    fast: whether there are fast weights.
    tied: whether u = r and v = s; one convolution then serves W and D.
    fast_init: see `fast.fast_init`.
    regularize_fast: as in the dense layer.
    embed_scale: `Embedding.scale`.
    embed_hidden: `Embedding.hidden`.
    kernel_init: initializer of W and D.
    dtype: of the computation; that of inputs and parameters if None.
  """

  features: int
  kernel_size: Sequence[int]
  members: int
  strides: int = 1
  padding: str | int = "SAME"
  use_bias: bool = True
  fast: bool = True
  tied: bool = True
  fast_init: float = -0.75
  regularize_fast: bool = False
  embed_scale: float = 1e-4
  embed_hidden: Sequence[int] = ()
  kernel_init: Init = fast_.he_normal
  dtype: Any = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "k b *space c"],
    z: Float[Array, "m n h"],
    nu: Nu | None = None,
  ) -> Float[Array, "o b *out f"]:
    """Applies each member with the weights of each example's lambda.

    Args:
      x: inputs; k is 1 where members share them.
      z: transformed lambda of each member and example; either axis may be 1.
      nu: with it the exact L2 penalty is sown as "l2" (`mutable=["l2"]`).

    Returns:
      Outputs of each member.

    Raises:
      ValueError: if there is no member axis.
    """
    size = tuple(self.kernel_size)
    fast_.check_members(x, self.members, len(size) + 3)
    own = _Own(self, (*size, x.shape[-1], self.features), z)
    how = {"strides": self.strides, "padding": self.padding}
    y = own.apply(x, functools.partial(shared.convolution, **how))
    own.sow(nu)
    return y


class _Own:
  """The parameters of a hyper-batch layer, and its arithmetic."""

  def __init__(self, layer: nn.Module, shape: tuple[int, ...], z):
    k, (c, f) = layer.members, shape[-2:]
    init = fast_.fast_init(layer.fast_init)
    zeros = nn.initializers.zeros
    make = layer.param
    self.layer, self.features = layer, f
    self.w = make("kernel", layer.kernel_init, shape, jnp.float32)
    self.d = make("delta", layer.kernel_init, shape, jnp.float32)
    self.r = self.s = self.u = self.v = self.bias = self.shift = None
    if layer.fast:
      self.r = make("r", init, (k, c), jnp.float32)
      self.s = make("s", init, (k, f), jnp.float32)
      self.u, self.v = self.r, self.s
      if not layer.tied:
        self.u = make("u", init, (k, c), jnp.float32)
        self.v = make("v", init, (k, f), jnp.float32)
    if layer.use_bias:
      self.bias = make("bias", zeros, (k, f), jnp.float32)
      self.shift = make("bias_delta", zeros, (k, f), jnp.float32)
    heads = Embedding(
      f * (1 + layer.use_bias),
      layer.embed_scale,
      layer.embed_hidden,
      name="embedding",
    )
    self.e = heads(z)

  def apply(self, x, product):
    """The members' outputs; `product` is one of `shared`."""
    names = ("w", "d", "r", "s", "u", "v", "bias", "shift", "e")
    own = promote_dtype(
      x, *(getattr(self, n) for n in names), dtype=self.layer.dtype
    )
    x, w, d, r, s, u, v, bias, shift, e = own
    e1, e2 = e[..., : self.features], e[..., self.features :]
    if r is None or self.layer.tied:
      outs = None if s is None else jnp.concatenate([s, s], -1)
      y = product(x, jnp.concatenate([w, d], -1), r, outs)
      first, second = jnp.split(y, 2, -1)
    else:
      first, second = product(x, w, r, s), product(x, d, u, v)
    y = first + fast_.by_member(second, e1)
    if bias is None:
      return y
    return y + fast_.wide(bias[:, None, :] + e2 * shift[:, None, :], y.ndim)

  def sow(self, nu: Nu | None) -> None:
    if nu is None:
      return
    f = self.features
    if self.layer.regularize_fast and self.r is not None:
      norms = penalty.fast_columns(
        self.w, self.d, self.r, self.s, self.u, self.v
      )
    else:
      norms = penalty.columns(self.w, self.d)
    value = penalty.hyper_l2(norms, self.e[..., :f], nu.kernel)
    if self.bias is not None:
      norms = penalty.Norms(
        self.bias * self.bias, self.bias * self.shift, self.shift * self.shift
      )
      value += penalty.hyper_l2(norms, self.e[..., f:], nu.bias)
    self.layer.sow("l2", "value", value)
