"""Scheme (a): structural matrices, of fewer parameters than entries.

x is a row, y = x W with W (m, n). Inputs that are shorter than a transform are
padded with zeros, outputs that are longer are cut.

Sources: Chen et al. 2015 (HashedNets, arXiv 1504.04788); Cheng et al. 2015
(circulant projections, arXiv 1502.03436); Yang et al. 2015 (Adaptive Fastfood,
arXiv 1412.7149); Moczulski et al. 2016 (ACDC, arXiv 1511.05946).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

Parts = Mapping[str, Any]


def mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
  """The finalizer of MurmurHash3 (A. Appleby): scrambles 32 bits."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def hashes(
  m: int, n: int, k: int, seed: Any
) -> tuple[Int[Array, "m n"], Float[Array, "m n"]]:
  """Bucket h(i, j) and sign xi(i, j) of each entry, computed, never stored.

  Args:
    m: rows.
    n: columns.
    k: buckets.
    seed: of the layer.

  Returns:
    Buckets 0 to k - 1, and +-1.
  """
  flat = jax.lax.iota(jnp.uint32, m * n).reshape(m, n)
  seed = jnp.asarray(seed, jnp.uint32)
  bucket = mix(flat ^ mix(seed)) % jnp.uint32(k)
  coin = mix(flat ^ mix(seed + jnp.uint32(0x9E3779B9))) >> 31
  return bucket.astype(jnp.int32), 1.0 - 2.0 * coin.astype(jnp.float32)


def hashed_matrix(
  table: Float[Array, "k"], seed: Any, m: int, n: int
) -> Float[Array, "m n"]:
  """V_ij = xi(i, j) w[h(i, j)]; the gradient sums over a bucket's entries."""
  bucket, coin = hashes(m, n, table.shape[0], seed)
  return coin * table[bucket]


def circulant(
  r: Float[Array, "p q b"], sign: Float[Array, "m"], x: Float[Array, "*l m"]
) -> Float[Array, "*l n"]:
  """Blocks R of b x b with first row r: R_ij = r_(j-i mod b); y = R (D x).

  With one block this is the survey's circulant matrix; the layer computes
  x D R^T, by FFT: R x = irfft(conj(rfft(r)) rfft(x)).

  Args:
    r: first rows, of p input and q output blocks.
    sign: the diagonal of D, +-1, p b of them.
    x: inputs, padded with zeros to p b.

  Returns:
    The outputs, q b of them.
  """
  p, q, b = r.shape
  x = _padded(x, p * b) * sign.reshape((1,) * (x.ndim - 1) + (-1,))
  x = jnp.fft.rfft(x.reshape(*x.shape[:-1], p, b))
  y = jnp.einsum("...pf,pqf->...qf", x, jnp.conj(jnp.fft.rfft(r)))
  y = jnp.fft.irfft(y, b)
  return y.reshape(*y.shape[:-2], q * b)


def hadamard(x: Float[Array, "*l n"]) -> Float[Array, "*l n"]:
  """Multiplies by the +-1 Walsh-Hadamard matrix, n a power of two."""
  n = x.shape[-1]
  lead, size = x.shape[:-1], 1
  while size < n:
    x = x.reshape(*lead, n // (2 * size), 2, size)
    a, b = x[..., 0, :], x[..., 1, :]
    x = jnp.stack([a + b, a - b], -2)
    size *= 2
  return x.reshape(*lead, n)


def fastfood(parts: Parts, x: Float[Array, "*l m"]) -> Float[Array, "*l n"]:
  """Y = S H G P H B x / n, with learned diagonals S, G, B; P is fixed.

  Fastfood's 1 / (sigma sqrt(n)) is 1 / n here, at sigma = sqrt(n), so that H
  twice keeps lengths; S absorbs any other.

  Args:
    parts: "s", "g", "b" (n,), "perm" (n,), n a power of two.
    x: inputs, padded with zeros to n.

  Returns:
    The outputs, n of them.
  """
  s, g, b = (jnp.asarray(parts[k]) for k in "sgb")
  n = s.shape[0]

  def diagonal(d, x):
    return x * d.reshape((1,) * (x.ndim - 1) + (-1,))

  x = hadamard(diagonal(b, _padded(x, n)))
  x = hadamard(diagonal(g, x[..., jnp.asarray(parts["perm"])]))
  return diagonal(s, x) / n


def dct(x: Float[Array, "*l n"]) -> Float[Array, "*l n"]:
  """The orthonormal DCT-II by FFT: even places, odd ones backwards, a turn."""
  n = x.shape[-1]
  v = jnp.concatenate([x[..., ::2], x[..., 1::2][..., ::-1]], -1)
  turn = np.exp(-1j * np.pi * np.arange(n) / (2 * n)).astype(np.complex64)
  y = (jnp.fft.fft(v) * turn.reshape((1,) * (x.ndim - 1) + (-1,))).real
  return y * _orthonormal(n, x.ndim)


def idct(y: Float[Array, "*l n"]) -> Float[Array, "*l n"]:
  """Undoes `dct`."""
  n = y.shape[-1]
  y = y / _orthonormal(n, y.ndim)
  turn = np.exp(1j * np.pi * np.arange(n) / (2 * n)).astype(np.complex64)
  back = jnp.concatenate([jnp.zeros_like(y[..., :1]), y[..., :0:-1]], -1)
  v = (y - 1j * back) * turn.reshape((1,) * (y.ndim - 1) + (-1,))
  v = jnp.fft.ifft(v).real.astype(y.dtype)
  half = (n + 1) // 2
  x = jnp.zeros_like(v)
  return (
    x.at[..., ::2]
    .set(v[..., :half])
    .at[..., 1::2]
    .set(v[..., half:][..., ::-1])
  )


def _orthonormal(n, ndim):
  scale = np.full(n, np.sqrt(2 / n), np.float32)
  scale[0] = np.sqrt(1 / n)
  return scale.reshape((1,) * (ndim - 1) + (-1,))


def acdc(parts: Parts, x: Float[Array, "*l m"]) -> Float[Array, "*l n"]:
  """K layers y = IDCT(d * DCT(a * x)), a fixed permutation between them.

  The paper puts a ReLU between layers, too; here they are linear, so that the
  stack stands in for one matrix.

  Args:
    parts: "a", "d" (K, n), "perm" (n,).
    x: inputs, padded with zeros to n.

  Returns:
    The outputs, n of them.
  """
  a, d = jnp.asarray(parts["a"]), jnp.asarray(parts["d"])
  x = _padded(x, a.shape[-1])
  wide = (1,) * (x.ndim - 1) + (-1,)
  for i in range(a.shape[0]):
    if i:
      x = x[..., jnp.asarray(parts["perm"])]
    x = idct(d[i].reshape(wide) * dct(a[i].reshape(wide) * x))
  return x


def _padded(x, n):
  if x.shape[-1] > n:
    raise ValueError(f"{x.shape[-1]} inputs for a transform of {n}")
  return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n - x.shape[-1])])


def apply(
  name: str, parts: Parts, x: Float[Array, "*l m"], features: int
) -> Float[Array, "*l n"]:
  """A dense layer on a structural matrix.

  Args:
    name: "hashed", "circulant", "fastfood" or "acdc".
    parts: its arrays.
    x: inputs.
    features: n.

  Returns:
    x W.
  """
  if name == "hashed":
    table = jnp.asarray(parts["table"])
    matrix = hashed_matrix(table, parts["seed"], x.shape[-1], features)
    return x @ matrix
  if name == "circulant":
    r, sign = jnp.asarray(parts["r"]), jnp.asarray(parts["sign"])
    return circulant(r, sign, x)[..., :features]
  if name == "fastfood":
    return fastfood(parts, x)[..., :features]
  if name == "acdc":
    return acdc(parts, x)[..., :features]
  raise ValueError(f"there is no form {name!r} of a dense kernel")


def explicit(
  name: str, parts: Parts, shape: tuple[int, int]
) -> Float[Array, "m n"]:
  """The matrix itself: the layer applied to the unit vectors."""
  return apply(name, parts, jnp.eye(shape[0]), shape[1])


def create(
  name: str, key: Key[Array, ""], m: int, n: int, amount: float
) -> dict[str, Array]:
  """New parameters, of the size of a dense layer's (He).

  Args:
    name: the form.
    key: draws them.
    m: inputs.
    n: outputs.
    amount: of "hashed" the part of m n that is kept, of "circulant" the block
      size, of "acdc" how many layers; not used by "fastfood".

  Returns:
    The arrays.
  """
  size = max(m, n)
  one, two, three, four = jax.random.split(key, 4)
  std = np.sqrt(2 / m).astype(np.float32)
  if name == "hashed":
    table = std * jax.random.normal(one, (max(1, round(amount * m * n)),))
    return {"table": table, "seed": jax.random.bits(two, (), jnp.uint32)}
  if name == "circulant":
    b = max(1, min(round(amount), size))
    p, q = -(-m // b), -(-n // b)
    r = std * jax.random.normal(one, (p, q, b))
    return {"r": r, "sign": jax.random.rademacher(two, (p * b,), jnp.float32)}
  if name == "fastfood":
    width = 2 ** int(size - 1).bit_length()
    # H twice over n keeps lengths; zeros of the padding take some away.
    grown = np.sqrt(2 * width / m).astype(np.float32)
    return {
      "s": jnp.full(width, grown),
      "g": jax.random.normal(one, (width,)),
      "b": jax.random.rademacher(two, (width,), jnp.float32),
      "perm": jax.random.permutation(three, width).astype(jnp.int32),
    }
  layers = max(1, round(amount))
  near_one = 1 + 0.1 * jax.random.normal(one, (2, layers, size))
  grown = np.float32(np.sqrt(2 * size / m))
  return {
    "a": near_one[0].at[0].mul(grown),
    "d": near_one[1],
    "perm": jax.random.permutation(four, size).astype(jnp.int32),
  }
