"""Scheme (a): few values per weight, by straight-through training.

Sources: Jacob et al. 2018 (arXiv 1712.05877), integers; Courbariaux et al. 2015
(BinaryConnect, arXiv 1511.00363); Rastegari et al. 2016 (BWN and XNOR, arXiv
1603.05279); Li and Liu 2016 (TWN, arXiv 1605.04711). sign(0) is +1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

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


def glorot(shape: tuple[int, ...]) -> float:
  """H = sqrt(1.5 / (fan_in + fan_out)), BinaryConnect's magnitude."""
  window = int(np.prod(shape[:-2], dtype=int))
  return float(np.sqrt(1.5 / (window * (shape[-2] + shape[-1]))))


def hard_sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """clip((x + 1) / 2, 0, 1): the chance of +1."""
  return jnp.clip((x + 1) / 2, 0.0, 1.0)


def stochastic_sign(
  key: Key[Array, ""], w: Float[Array, "..."], high: float
) -> Float[Array, "..."]:
  """+-H, +H with the chance hard_sigmoid(w / H)."""
  plus = jax.random.uniform(key, w.shape) < hard_sigmoid(w / high)
  return jnp.where(plus, high, -high).astype(w.dtype)


def _scaled(name, quantise, parts, include, exclude, **more) -> Transform:
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

  return _scaled(f"int{bits}", quantise, parts, include, exclude)


def bwn(
  *, include: trees.Patterns = "*", exclude: trees.Patterns = ("*head*",)
) -> Transform:
  """One bit: alpha sign(W), filter by filter; the last layer stays float."""

  def quantise(path, w, state, step):
    return binary(w)

  def parts(w, state):
    alpha = jnp.abs(w).mean(_axes(w))
    return {"q": sign(w).astype(jnp.int8), "scale": alpha}

  return _scaled("bwn", quantise, parts, include, exclude)


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

  return _scaled("xnor", quantise, parts, "*", exclude, form="xnor")


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

  return _scaled("twn", quantise, parts, include, exclude)


def binary_connect(
  *,
  stochastic: bool = False,
  include: trees.Patterns = "*",
  exclude: trees.Patterns = ("*head*",),
) -> Transform:
  """+-H with Glorot's H; latent weights are clipped to [-H, H].

  Deterministic networks are tested with their signs, stochastic ones with the
  latent weights: those save nothing, and are left as they are.

  Args:
    stochastic: draws signs anew at each step, +H with hard_sigmoid(w / H).
    include: patterns of the kernels' paths.
    exclude: patterns of what stays float.

  Returns:
    The transform; its optimizer should scale a layer's rate by 1 / H
    (`rates`).
  """

  def init(key, params, found):
    return {"key": jax.random.key_data(key)} if stochastic else {}

  def quantise(path, w, state, step):
    high = glorot(w.shape)
    if not stochastic:
      return straight_through(w, high * sign(w))
    key = jax.random.wrap_key_data(state["key"])
    key = jax.random.fold_in(jax.random.fold_in(key, step), _hash(path))
    return straight_through(w, stochastic_sign(key, w, high))

  def constrain(params, state, step=0):
    found = trees.kernels(params, include, exclude)
    return trees.replace(
      params,
      {
        p: jnp.clip(w, -glorot(w.shape), glorot(w.shape))
        for p, w in found.items()
      },
    )

  def parts(w, state):
    scale = jnp.full(w.shape[-1:], glorot(w.shape), w.dtype)
    return {"q": sign(w).astype(jnp.int8), "scale": scale}

  name = "stochastic_binary" if stochastic else "binary"
  how: dict[str, Any] = {"init": init, "constrain": constrain}
  made = _scaled(name, quantise, parts, include, exclude, **how)
  if not stochastic:
    return made
  return Transform(name, "values", made.init, made.project, constrain=constrain)


def rates(params: PyTree) -> Callable[[PyTree], PyTree]:
  """Multiplies a binary layer's updates by 1 / H, as BinaryConnect does."""
  factors = {p: 1 / glorot(w.shape) for p, w in trees.kernels(params).items()}

  def scale(updates: Mapping[str, Any]) -> PyTree:
    new = {p: f * trees.get(updates, p) for p, f in factors.items()}
    return trees.replace(updates, new)

  return scale


def _hash(path: str) -> int:
  return sum((i + 1) * ord(c) for i, c in enumerate(path)) % 2**31
