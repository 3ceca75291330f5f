"""What may stand in the place of a kernel, and how a layer runs on it.

A kernel is an array, or a dict of one entry, {form: arrays}:

  shared     codes (uint8), centroids (k,): a code's value; code 0 is zero
  scaled     q (int8), scale: integers times a scale, per output channel or one
  quantized  the same with in_scale, in_zero: the layer multiplies integers
  xnor       the same as scaled, and the layer takes the signs of its inputs
  svd        u (m, r), v (r, n)
  cp         a (s, r), b (h, r), c (w, r), d (r, t)
  tucker     s (s, r3), core (h, w, r3, r4), t (r4, t)
  vh         v (h, 1, s, k), h (1, w, k, t)
  hashed     table (k,), seed
  circulant  r (p, q, b), sign (p b,)
  fastfood   s, g, b (n,), perm (n,)
  acdc       a, d (k, n), perm (n,)

Factors may be shared or scaled themselves. `network.run` sends layers here.
Shapes: S input and T output channels, d = kh = kw; activations NHWC.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones.convolution import convolve
from kd_jax.methods.compression import integers, structured, values

Leaf = Any


def form(leaf: Leaf) -> str:
  """The name of a kernel's form, "dense" for an array.

  Args:
    leaf: what stands in the kernel's place.

  Returns:
    The name.
  """
  return next(iter(leaf)) if isinstance(leaf, Mapping) else "dense"


def value(leaf: Leaf) -> Leaf:
  """Makes arrays of shared and scaled weights, also those of factors.

  Args:
    leaf: a kernel, or a factor.

  Returns:
    An array, or the form with arrays inside.
  """
  if not isinstance(leaf, Mapping):
    return jnp.asarray(leaf)
  name = form(leaf)
  parts = leaf[name]
  if name == "shared":
    table = jnp.asarray(parts["centroids"])
    table = jnp.concatenate([jnp.zeros(1, table.dtype), table])
    return table[jnp.asarray(parts["codes"]).astype(jnp.int32)]
  if name == "scaled":
    return integers.dequantize(parts["q"], parts["scale"])
  if name in ("quantized", "xnor"):
    return leaf
  return {name: {k: value(v) for k, v in parts.items()}}


def weights(leaf: Leaf, shape: tuple[int, ...] | None = None) -> Array:
  """The dense kernel that a form stands for.

  Args:
    leaf: a kernel in any form.
    shape: of a dense layer's kernel (m, n), where the form does not say it.

  Returns:
    The kernel.
  """
  leaf = value(leaf)
  if not isinstance(leaf, Mapping):
    return leaf
  name = form(leaf)
  p = leaf[name]
  if name == "xnor" and "latent" in p:  # In training.
    return values.binary(p["latent"])
  if name in ("quantized", "xnor"):
    return integers.dequantize(p["q"], p["scale"])
  if name == "svd":
    return p["u"] @ p["v"]
  if name == "cp":
    return jnp.einsum("ir,jr,sr,rt->ijst", p["b"], p["c"], p["a"], p["d"])
  if name == "tucker":
    return jnp.einsum("ijab,sa,bt->ijst", p["core"], p["s"], p["t"])
  if name == "vh":
    return jnp.einsum("isk,jkt->ijst", p["v"][:, 0], p["h"][0])
  if shape is None:
    raise ValueError(f"the shape of a {name} kernel is needed")
  return structured.explicit(name, p, shape)


def dense(
  leaf: Leaf, x: Float[Array, "*b m"], features: int
) -> Float[Array, "*b n"]:
  """A dense layer without its bias.

  Args:
    leaf: the kernel in any form.
    x: inputs.
    features: n, for the forms that do not say it.

  Returns:
    x W.
  """
  leaf = value(leaf)
  name = form(leaf)
  if name == "dense":
    return x @ leaf
  p = leaf[name]
  if name == "svd":
    return (x @ p["u"]) @ p["v"]
  if name == "quantized":
    return integers.dense(x, p)
  if name == "xnor":
    mean = jnp.abs(x).mean(-1, keepdims=True)
    return values.binary_input(x) @ weights(leaf) * mean
  return structured.apply(name, p, x, features)


def conv(leaf: Leaf, x: Float[Array, "b h w s"], how: Any) -> Array:
  """A convolution without its bias.

  Args:
    leaf: the kernel in any form.
    x: inputs.
    how: `network.Geometry`.

  Returns:
    The outputs.
  """
  leaf = value(leaf)
  name = form(leaf)

  def plain(x, kernel, strides=how.strides, padding=how.padding, groups=1):
    return convolve(
      x, kernel, strides, padding, how.dilation, groups, how.native
    )

  if name == "dense":
    groups = x.shape[-1] // leaf.shape[-2]
    return plain(x, leaf, groups=groups)
  p = leaf[name]
  (low, right) = how.padding
  if name == "tucker":
    x = _pointwise(x, p["s"])
    return _pointwise(plain(x, p["core"]), p["t"])
  if name == "cp":
    r = p["a"].shape[-1]
    x = _pointwise(x, p["a"])
    # Depthwise; on the CPU `convolve` adds shifted copies up.
    b, c = p["b"][:, None, None, :], p["c"][None, :, None, :]
    x = plain(x, b, (how.strides[0], 1), (low, (0, 0)), r)
    x = plain(x, c, (1, how.strides[1]), ((0, 0), right), r)
    return _pointwise(x, p["d"])
  if name == "vh":
    x = plain(x, p["v"], (how.strides[0], 1), (low, (0, 0)))
    return plain(x, p["h"], (1, how.strides[1]), ((0, 0), right))
  if name == "quantized":
    return integers.conv(x, p, how)
  if name == "xnor":
    kh, kw = next(iter(p.values())).shape[:2]
    box = jnp.full((kh, kw, 1, 1), 1 / (kh * kw), x.dtype)
    size = plain(jnp.abs(x).mean(-1, keepdims=True), box)
    return plain(values.binary_input(x), weights(leaf)) * size
  raise ValueError(f"a convolution has no form {name!r}")


def _pointwise(x, matrix):
  """A 1x1 convolution."""
  return jax.lax.dot_general(x, matrix, (((x.ndim - 1,), (0,)), ((), ())))
