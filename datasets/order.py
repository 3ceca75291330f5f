"""The order of examples: a pure function of (seed, step), without tables.

Positions of a run are numbered 0, 1, 2, ...; step s of batch size B owns the
positions s * B to s * B + B - 1, and position p belongs to epoch p // n. Within
an epoch the place p % n is sent to a row by a keyed bijection of {0 .. n - 1},
so that each epoch visits each row exactly once, and a batch may straddle the
edge of two epochs.

The bijection is a Feistel network over the next power of four, walked along its
cycle until it lands below n (J. Black and P. Rogaway, "Ciphers with arbitrary
finite domains", CT-RSA 2002, method 2). The same lines run on the devices
(`rows`) and on the host (`host_rows`), with equal results.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

_ROUNDS = 8  # With 4, orders of 7 rows are visibly uneven (chi-squared).
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: spreads small counters.
# Two bits of domain for each bit of a half; 16 elements at least, because on 4
# a network of one-bit halves reaches few orders.
_POWERS = 4 ** np.arange(2, 16, dtype=np.uint32)


def rows(
  seed: Any,
  step: Any,
  batch_size: int,
  n: Any,
  slots: Int[Array, "b"] | None = None,
) -> Int[Array, "b"]:
  """Rows of the data set that a step's batch is made of.

  Args:
    seed: the run's seed; may be traced.
    step: steps taken so far; may be traced. Exact for every step below 2**31:
      positions are never formed, only their epoch and place.
    batch_size: rows in the global batch.
    n: rows in the data set, from 1 to 2**30; may be traced.
    slots: the places in the global batch that are wanted; all of them if None.

  Returns:
    One row number per slot, int32.
  """
  if slots is None:
    slots = jnp.arange(batch_size, dtype=jnp.uint32)
  return _rows(jnp, seed, step, batch_size, n, slots)


def host_rows(
  seed: int,
  step: int,
  batch_size: int,
  n: int,
  slots: Int[np.ndarray, "b"] | None = None,
) -> Int[np.ndarray, "b"]:
  """The same rows as `rows` gives, computed by NumPy.

  Args:
    seed: the run's seed.
    step: steps taken so far.
    batch_size: rows in the global batch.
    n: rows in the data set.
    slots: the places in the global batch that are wanted; all of them if None.

  Returns:
    One row number per slot, int32.
  """
  if slots is None:
    slots = np.arange(batch_size, dtype=np.uint32)
  # NumPy warns when a scalar wraps around; here all arithmetic is modulo 2**32.
  with np.errstate(over="ignore"):
    return _rows(np, seed, step, batch_size, n, slots)


def _rows(xp: ModuleType, seed, step, batch_size, n, slots):
  seed, step, n, slots = (
    xp.asarray(x).astype(xp.uint32) for x in (seed, step, n, slots)
  )
  epoch, place = _divide(xp, step, batch_size, n)
  place = place + slots
  epoch, place = epoch + place // n, place % n
  return _permute(xp, seed, epoch, place, n).astype(xp.int32)


def _divide(xp, step, batch_size, n):
  """`divmod(step * batch_size, n)` without the product, which overflows."""
  whole, rest = step // n, step % n
  quotient, remainder = xp.uint32(0), xp.uint32(0)
  # Horner's rule over the bits of the batch size.
  for bit in bin(batch_size)[2:]:
    for times, more, left in (
      (1, quotient, remainder),
      (int(bit), whole, rest),
    ):
      if times:
        remainder = remainder + left
        carry = (remainder >= n).astype(xp.uint32)
        quotient = quotient + more + carry
        remainder = remainder - carry * n
  return quotient, remainder


def _permute(xp, seed, epoch, place, n):
  """Sends each place of its epoch to a row below n."""
  bits = xp.uint32(2) + (n > xp.asarray(_POWERS)).sum().astype(xp.uint32)
  mask = (xp.uint32(1) << bits) - xp.uint32(1)
  key = mix(xp, mix(xp, seed + xp.uint32(_GOLDEN)) + epoch)
  keys = [mix(xp, key + xp.uint32(i * _GOLDEN % 2**32)) for i in range(_ROUNDS)]

  def encrypt(x):
    left, right = x >> bits, x & mask
    for k in keys:
      left, right = right, left ^ (mix(xp, right ^ k) & mask)
    return (left << bits) | right

  def walk(x):
    return xp.where(x >= n, encrypt(x), x)

  # The cycle through a place below n comes back below n, so the walk ends.
  x = encrypt(place)
  if xp is np:
    while (x >= n).any():
      x = walk(x)
    return x
  return jax.lax.while_loop(lambda x: (x >= n).any(), walk, x)


def mix(xp: ModuleType, x: Any) -> Any:
  """Scrambles 32 bits (the finalizer of MurmurHash3, A. Appleby).

  Args:
    xp: `jax.numpy` or NumPy.
    x: uint32 numbers.

  Returns:
    The numbers scrambled, one to one.
  """
  x = (x ^ (x >> xp.uint32(16))) * xp.uint32(0x85EBCA6B)
  x = (x ^ (x >> xp.uint32(13))) * xp.uint32(0xC2B2AE35)
  return x ^ (x >> xp.uint32(16))
