"""The order of examples: a pure function of (seed, step), without tables.

Positions of a run are numbered 0, 1, 2, ...; step s of batch size B owns the
positions s * B to s * B + B - 1, and position p belongs to epoch p // n. Within
an epoch the place p % n is sent to a row by a keyed bijection of {0 .. n - 1},
so that each epoch visits each row exactly once, and a batch may straddle the
edge of two epochs.

The bijection is a Feistel network whose halves are digits below a, a * a being
the next square (16 at least), walked along its cycle until it lands below n (J.
Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002,
methods 2 and 3). Over the next power of four, where halves are bits, a walk
takes up to four times as many turns, and a batch waits for its longest. The
same lines run on the devices (`rows`) and on the host (`host_rows`), with equal
results.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

# With 4, orders of 7 rows are visibly uneven (chi-squared); with 8, which rows
# of 13 to 16 follow each other is, by a hundredth.
_ROUNDS = 10
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: spreads small counters.
_DIGITS = 4  # At least: a network of halves below 2 reaches few orders.


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
  digits = _root(xp, n)
  key = mix(xp, mix(xp, seed + xp.uint32(_GOLDEN)) + epoch)
  keys = [mix(xp, key + xp.uint32(i * _GOLDEN % 2**32)) for i in range(_ROUNDS)]

  def encrypt(left, right):
    for k in keys:
      left, right = right, left + _scaled(xp, mix(xp, right ^ k), digits)
      right = right - xp.where(right >= digits, digits, xp.uint32(0))
    return left, right

  def outside(halves):
    return halves[0] * digits + halves[1] >= n

  def walk(halves):
    out = outside(halves)
    further = zip(encrypt(*halves), halves, strict=True)
    return tuple(xp.where(out, new, old) for new, old in further)

  # The cycle through a place below n comes back below n, so the walk ends.
  halves = encrypt(place // digits, place % digits)
  if xp is np:
    while outside(halves).any():
      halves = walk(halves)
  else:
    halves = jax.lax.while_loop(lambda x: outside(x).any(), walk, halves)
  return halves[0] * digits + halves[1]


def _root(xp, n):
  """The least number whose square is no less than n."""
  # Of a rounded root's neighbours, whatever the rounding was.
  low = xp.sqrt(n.astype(xp.float32)).astype(xp.uint32) - xp.uint32(1)
  below = [(low + xp.uint32(i)) ** 2 < n for i in range(3)]
  root = low + sum(x.astype(xp.uint32) for x in below)
  return xp.maximum(root, xp.uint32(_DIGITS))


def _scaled(xp, x, digits):
  """`x * digits >> 32`, the product of 48 bits never formed: below `digits`."""
  high, low = x >> xp.uint32(16), x & xp.uint32(0xFFFF)
  return (high * digits + (low * digits >> xp.uint32(16))) >> xp.uint32(16)


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
