"""Scheme (a): few values per weight, by straight-through training.

Sources: Jacob et al. 2018 (arXiv 1712.05877), integers; Rastegari et al. 2016
(BWN and XNOR, arXiv 1603.05279); Li and Liu 2016 (TWN, arXiv 1605.04711).
sign(0) is +1. BinaryConnect has latent weights of its own: `binary_connect`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.errors import UsageError
from kd_jax.methods.compression import integers, trees
from kd_jax.methods.compression.integers import sign
from kd_jax.methods.compression.protocol import Transform, straight_through

PyTree = Any


def _axes(w):
  return tuple(range(w.ndim - 1))


def _wide(v, w):
  return v.reshape((1,) * (w.ndim - 1) + (-1,))


@jax.custom_vjp
def binary(w: Float[Array, "*k t"]) -> Float[Array, "*k t"]:
  """W~ = alpha sign(W), alpha = mean |W| of each filter.

  The gradient is XNOR-Net's: dL/dW_i = dL/dW~_i (1/n + alpha 1{|W_i| < 1}).
  """
  return _wide(jnp.abs(w).mean(_axes(w)), w) * sign(w)


def _binary_fwd(w):
  return binary(w), w


def _binary_bwd(w, g):
  n = w[..., 0].size
  alpha = _wide(jnp.abs(w).mean(_axes(w)), w)
  return (g * (1 / n + alpha * (jnp.abs(w) < 1)),)


binary.defvjp(_binary_fwd, _binary_bwd)


@jax.custom_vjp
def binary_input(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """sign(x), with the gradient 1{|x| < 1}."""
  return sign(x)


binary_input.defvjp(
  lambda x: (sign(x), x),
  lambda x, g: (g * (jnp.abs(x) < 1),),
)


def ternary_parts(
  w: Float[Array, "*k t"], per_filter: bool = True
) -> tuple[Float[Array, "*k t"], Float[Array, "t"]]:
  """T in {-1, 0, 1} by Delta = 0.7 mean |W|, alpha = mean |W| above it.

  Args:
    w: weights.
    per_filter: whether Delta and alpha are of each filter or of the layer.

  Returns:
    The signs and alpha of each filter.
  """
  size = jnp.abs(w)
  axes = _axes(w) if per_filter else tuple(range(w.ndim))
  delta = 0.7 * size.mean(axes, keepdims=True)
  big = size > delta
  count = jnp.maximum(big.sum(axes), 1).astype(w.dtype)
  alpha = jnp.where(big, size, 0.0).sum(axes) / count
  return jnp.where(big, sign(w), 0.0), jnp.broadcast_to(alpha, w.shape[-1:])


def scaled(name, quantise, parts, include, exclude, **more) -> Transform:
  """A transform that shows the network other values than it trains.

  Args:
    name: its name.
    quantise: (path, latent, state, step) to what the network sees.
    parts: latent to {"q", "scale"}.
    include: patterns.
    exclude: patterns.
    **more: fields of `Transform`, or "form" of the finished kernel.

  Returns:
    The transform.
  """
  finished = more.pop("form", "scaled")
  made = more.pop("init", lambda key, params, found: {})

  def init(key, params):
    found = trees.kernels(params, include, exclude)
    if not found:
      raise UsageError(f"{name}: no kernel's path matches")
    return params, made(key, params, found)

  def project(params, state, step=0):
    found = trees.kernels(params, include, exclude)
    new = {p: quantise(p, w, state, step) for p, w in found.items()}
    return trees.replace(params, new)

  def finalize(params, state):
    found = trees.kernels(params, include, exclude)
    new = {p: {finished: parts(w, state)} for p, w in found.items()}
    return trees.replace(params, new)

  return Transform(name, "values", init, project, finalize=finalize, **more)


def integer(
  bits: int = 8, *, include: trees.Patterns = "*", exclude: trees.Patterns = ()
) -> Transform:
  """Weights as symmetric integers per output channel, trained through it.

  Without training it is post-training quantisation.

  Args:
    bits: of a code, 2 to 8.
    include: patterns of the kernels' paths.
    exclude: patterns of what stays as it is.

  Returns:
    The transform.

  Raises:
    UsageError: for other bits.
  """
  if not 2 <= bits <= 8:
    raise UsageError(f"int{bits}: a code has 2 to 8 bits; bwn has one")

  def parts(w, state):
    scale = integers.scale_of(w, bits)
    return {
      "q": integers.quantize(w, scale, bits).astype(jnp.int8),
      "scale": scale,
    }

  def quantise(path, w, state, step):
    return integers.fake_weights(w, bits)

  return scaled(f"int{bits}", quantise, parts, include, exclude)


def bwn(
  *, include: trees.Patterns = "*", exclude: trees.Patterns = ("*head*",)
) -> Transform:
  """One bit: alpha sign(W), filter by filter; the last layer stays float."""

  def quantise(path, w, state, step):
    return binary(w)

  def parts(w, state):
    alpha = jnp.abs(w).mean(_axes(w))
    return {"q": sign(w).astype(jnp.int8), "scale": alpha}

  return scaled("bwn", quantise, parts, include, exclude)


def xnor(*, first: str, exclude: trees.Patterns = ("*head*",)) -> Transform:
  """One bit for weights and inputs; the first and last layers stay float.

  I * W ~ (sign(I) * sign(W)) K alpha, K the mean |I| of each place's window.

  Args:
    first: the path of the first layer's kernel.
    exclude: patterns of what stays float beside it.

  Returns:
    The transform; a binary layer gets {"xnor": ...}, which `forms` runs with
    signs of its inputs.
  """
  exclude = [first, *([exclude] if isinstance(exclude, str) else exclude)]

  def parts(w, state):
    alpha = jnp.abs(w).mean(_axes(w))
    return {"q": sign(w).astype(jnp.int8), "scale": alpha}

  def quantise(path, w, state, step):
    return {"xnor": {"latent": w}}

  return scaled("xnor", quantise, parts, "*", exclude, form="xnor")


def ternary(
  *,
  per_filter: bool = True,
  include: trees.Patterns = "*",
  exclude: trees.Patterns = ("*head*",),
) -> Transform:
  """Ternary weights with a scale; the last layer stays float.

  Args:
    per_filter: whether Delta and alpha are of each filter or of the layer.
    include: patterns of the kernels' paths.
    exclude: patterns of what stays float.

  Returns:
    The transform; the gradient goes straight through.
  """

  def quantise(path, w, state, step):
    t, alpha = ternary_parts(w, per_filter)
    return straight_through(w, t * _wide(alpha, w))

  def parts(w, state):
    t, alpha = ternary_parts(w, per_filter)
    return {"q": t.astype(jnp.int8), "scale": alpha}

  return scaled("twn", quantise, parts, include, exclude)
