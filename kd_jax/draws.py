"""Uniform numbers at the price of a table lookup.

A tabular learner does about ten operations with a sample, a dropout mask one;
JAX's default generator (threefry, built to be unpredictable) spends some forty
on drawing it, and writes it to memory. Here a number is a hash of its place in
the stream, about ten operations that fuse with what uses them (a tabular inner
loop is five times as fast as with `jax.random.uniform`).

A stream's key is threefry's, folded from (seed, stream, step), so that streams
are as independent as JAX's own; only numbers *within* a stream rest on the
hash, whose uniformity and correlations are tested. It is no cryptography.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

# What a seed stands for. It goes up when the same seed comes to draw other
# batches, masks or views: a run that was begun before cannot go on to its bits.
VERSION = 2


def stream_key(
  seed: UInt[Array, ""], stream: int, step: Int[Array, ""]
) -> UInt[Array, "2"]:
  """The key of a stream.

  Args:
    seed: of the run or the member; a traced uint32.
    stream: keeps independent uses within one step apart.
    step: the step.

  Returns:
    Two words that depend on nothing else.
  """
  key = jax.random.fold_in(jax.random.key(seed), stream)
  return jax.random.key_data(jax.random.fold_in(key, step))


def branch(key: UInt[Array, "2"], place: int) -> UInt[Array, "2"]:
  """The key of a part of a stream: a layer's, say.

  Both words move by odd multiples, without a threefry call.

  Args:
    key: of the stream.
    place: which part.

  Returns:
    A key; that of part 0 is the stream's own, moved by one.
  """
  steps = jnp.array([0x9E3779B9, 0x85EBCA6B], jnp.uint32)
  return key + jnp.uint32(place + 1) * steps


def uniforms(
  key: UInt[Array, "2"], place: UInt[Array, "*n"]
) -> Float[Array, "*n"]:
  """Numbers in [0, 1), multiples of 2^-24.

  In a loop over draws of a table use `place = draw * table.size + cell`.

  Args:
    key: of the stream.
    place: which numbers of the stream.

  Returns:
    A number per place; the same place gives the same number.
  """
  bits = _hash(place.astype(jnp.uint32), key)
  return (bits >> 8).astype(jnp.float32) * (1 / 2**24)


def _hash(x: UInt[Array, "*n"], key: UInt[Array, "2"]) -> UInt[Array, "*n"]:
  """Multiply and xor-shift, four rounds.

  The first word shifts the places. The second enters half way: two streams
  whose shifted places overlap still have nothing in common.
  """
  x = x + key[0]
  x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
  x = (x ^ (x >> 15)) + key[1]
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)
