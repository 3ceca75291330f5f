"""Scheme (a): uniform quantisation, in training and in integers.

A number x is stood for by q = clip(round(x / S) + Z, low, high): x^ = S(q - Z).
Weights: symmetric, a scale per output channel. Activations: unsigned, of a
range that holds 0, so that 0.0 is a number exactly.

Source: Jacob et al. 2018, arXiv 1712.05877; the straight-through gradient is 1
inside the range and 0 outside.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax.methods.compression.protocol import straight_through

Parts = Mapping[str, Any]


def sign(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """The sign, +1 at 0."""
  return jnp.where(x >= 0, jnp.ones_like(x), -jnp.ones_like(x))


def highest(bits: int) -> int:
  """The largest magnitude of symmetric codes: 127 of 8 bits, 1 of 2."""
  return 2 ** (bits - 1) - 1


def scale_of(w: Float[Array, "*k t"], bits: int) -> Float[Array, "t"]:
  """S of each output channel, so that its largest weight is a code."""
  top = jnp.abs(w).max(tuple(range(w.ndim - 1)))
  return jnp.where(top > 0, top, jnp.ones_like(top)) / highest(bits)


def quantize(
  w: Float[Array, "*k t"], scale: Float[Array, "t"], bits: int
) -> Float[Array, "*k t"]:
  """Symmetric codes, as floats."""
  wide = scale.reshape((1,) * (w.ndim - 1) + (-1,))
  top = highest(bits)
  return jnp.clip(jnp.round(w / wide), -top, top)


def dequantize(q: Any, scale: Any) -> Float[Array, "..."]:
  """Codes times their scale, one for all or one per output channel."""
  q, scale = jnp.asarray(q), jnp.asarray(scale)
  if scale.ndim:
    scale = scale.reshape((1,) * (q.ndim - 1) + (-1,))
  return q.astype(scale.dtype) * scale


def fake_weights(
  w: Float[Array, "*k t"], bits: int, scale: Float[Array, "t"] | None = None
) -> Float[Array, "*k t"]:
  """Weights as their codes would give them, with straight-through gradients.

  Args:
    w: latent weights.
    bits: of a code, at least 2.
    scale: S; chosen by the largest weight if None, so that nothing is clipped.

  Returns:
    S q; the gradient is that of w inside the range, 0 outside.
  """
  scale = scale_of(w, bits) if scale is None else scale
  scale = jax.lax.stop_gradient(scale)
  limit = (scale * highest(bits)).reshape((1,) * (w.ndim - 1) + (-1,))
  inside = jnp.clip(w, -limit, limit)
  return straight_through(inside, dequantize(quantize(w, scale, bits), scale))


def range_of(
  low: Float[Array, ""], high: Float[Array, ""], bits: int = 8
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """S and Z of activations between low and high.

  Args:
    low: least value; 0 if it is above.
    high: largest value; 0 if it is below.
    bits: of a code.

  Returns:
    S above 0, and Z, an integer in [0, 2^bits).
  """
  top = 2.0**bits - 1
  low, high = jnp.minimum(low, 0.0), jnp.maximum(high, 0.0)
  scale = (high - low) / top
  scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
  return scale, jnp.clip(jnp.round(-low / scale), 0.0, top)


def encode(
  x: Float[Array, "..."], scale: Any, zero: Any, bits: int = 8
) -> Float[Array, "..."]:
  """Unsigned codes of activations, as floats."""
  return jnp.clip(jnp.round(x / scale) + zero, 0.0, 2.0**bits - 1)


def fake_activations(
  x: Float[Array, "..."],
  low: Float[Array, ""],
  high: Float[Array, ""],
  bits: int = 8,
) -> Float[Array, "..."]:
  """Activations as their codes would give them, straight-through inside.

  Args:
    x: activations.
    low: of the range.
    high: of the range.
    bits: of a code.

  Returns:
    S (q - Z).
  """
  scale, zero = range_of(low, high, bits)
  least, most = -zero * scale, (2.0**bits - 1 - zero) * scale
  q = encode(x, scale, zero, bits)
  return straight_through(jnp.clip(x, least, most), scale * (q - zero))


def _codes(x, parts) -> Int[Array, "..."]:
  """Input codes moved to signed 8 bits: q - 128."""
  q = encode(x, parts["in_scale"], parts["in_zero"])
  return (q - 128).astype(jnp.int8)


def dense(x: Float[Array, "*b m"], parts: Parts) -> Float[Array, "*b n"]:
  """A dense layer on integers.

  The Z terms are expanded so that the product is of 8-bit numbers alone:
  sum (q_x - Z) q_w = sum (q_x - 128) q_w + (128 - Z) sum q_w. Without
  `preferred_element_type` it would overflow in 8 bits, silently.

  Args:
    x: inputs.
    parts: "q" int8 (m, n), "scale" (n,), "in_scale", "in_zero".

  Returns:
    The outputs, float32: S_x S_w times the int32 sums.
  """
  q = jnp.asarray(parts["q"])
  sums = jax.lax.dot_general(
    _codes(x, parts),
    q,
    (((x.ndim - 1,), (0,)), ((), ())),
    preferred_element_type=jnp.int32,
  )
  zero = 128 - jnp.asarray(parts["in_zero"]).astype(jnp.int32)
  sums = sums + zero * q.astype(jnp.int32).sum(0).reshape(
    (1,) * (x.ndim - 1) + (-1,)
  )
  return dequantize(sums, jnp.asarray(parts["scale"]) * parts["in_scale"])


def conv(x: Float[Array, "b h w s"], parts: Parts, how: Any) -> Array:
  """A convolution on integers; padding is the code of 0.0, which is Z.

  Args:
    x: inputs.
    parts: as in `dense`, "q" (kh, kw, s, t).
    how: `network.Geometry`.

  Returns:
    The outputs, float32.
  """
  q = jnp.asarray(parts["q"])
  moved = (jnp.asarray(parts["in_zero"]) - 128).astype(jnp.int8)
  codes = _codes(x, parts)
  pads = [(0, 0, 0), *((a, b, 0) for a, b in how.padding), (0, 0, 0)]
  codes = jax.lax.pad(codes, moved, pads)
  convolve = functools.partial(
    jax.lax.conv_general_dilated,
    window_strides=how.strides,
    padding="VALID",
    rhs_dilation=how.dilation,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=x.shape[-1] // q.shape[-2],
  )

  def whole(codes, q):
    return convolve(codes, q, preferred_element_type=jnp.int32)

  def as_floats(codes, q):
    # GPUs have no such convolution of integers; below 2^24 this is exact.
    codes, q = codes.astype(jnp.float32), q.astype(jnp.float32)
    return convolve(codes, q, precision="highest").astype(jnp.int32)

  sums = jax.lax.platform_dependent(
    codes, q, cuda=as_floats, rocm=as_floats, default=whole
  )
  # Every place sees the whole kernel, so its Z term is the same everywhere.
  zero = 128 - jnp.asarray(parts["in_zero"]).astype(jnp.int32)
  sums = sums + zero * q.astype(jnp.int32).sum((0, 1, 2)).reshape(1, 1, 1, -1)
  return dequantize(sums, jnp.asarray(parts["scale"]) * parts["in_scale"])
