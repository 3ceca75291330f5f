"""Two views of an example are pulled together, those of others pushed apart.

Letters: b batch (pairs on this device), n pairs on all devices, d embedding,
u an embedding, T temperature.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import accel
from kd_jax.losses.inputs import (
  Number,
  blank,
  lift,
  per_row,
  same_shape,
  temperature_like,
)
from kd_jax.losses.norms import l2_normalize

# Far below any similarity, yet finite: a row of nothing but minus infinities
# would have NaN for a gradient.
_NEVER = -1e30


def nt_xent(
  first: Float[Array | np.ndarray, "b d"],
  second: Float[Array | np.ndarray, "b d"],
  *,
  temperature: Number,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  axis_name: str | None = None,
  normalize: bool = True,
) -> Float[Array, "b"]:
  """Cross-entropy of finding an embedding's partner among all embeddings.

  The 2n embeddings of all devices are candidates for each other, except for
  the one itself. Embeddings that are all the same give log(2n - 1), one pair
  alone gives 0.

  Equation: l_i = mean over r in {i, i'} of
    log sum_{q != r} exp(u_r . u_q / T) - u_i . u_i' / T
  Source: Chen et al. 2020, arXiv 2002.05709, eq. 1
  Checked: a loop over anchors in float64; identical embeddings, log(2n - 1);
    numeric gradients; four devices and one

  Args:
    first: u_i, one view of each example.
    second: u_i', the other view.
    temperature: T > 0.
    where: True for the pairs that count; others are no candidates either.
    axis_name: the devices whose embeddings are candidates. Each device gives
      the values of its own pairs. Reduced by `combine`, the mean of the
      devices' gradients is the gradient of one device with all the pairs.
    normalize: whether embeddings are divided by their lengths, as the paper
      does; a zero embedding stays zero, with gradient 0. False compares them
      as they are.

  Returns:
    The mean of a pair's two cross-entropies; 0 where not counted.

  Raises:
    ValueError: if shapes differ or the temperature is not positive.
  """
  same_shape(first=first, second=second)
  per_row(len(first), where=where)
  first, second = (blank(u, where) for u in lift(first, second))
  if normalize:
    first, second = l2_normalize(first), l2_normalize(second)
  t = temperature_like(temperature, first)
  counts = jnp.ones(len(first), bool) if where is None else jnp.asarray(where)
  anchors = jnp.concatenate([first, second])
  candidates = jnp.concatenate(accel.all_gather((first, second), axis_name))
  logits = jnp.matmul(anchors, candidates.T, precision="highest") / t
  allowed = _allowed(counts, axis_name)
  logits = jnp.where(allowed, logits, jnp.full_like(logits, _NEVER))
  spread = jax.nn.logsumexp(logits, -1).reshape(2, -1).mean(0)
  return blank(spread - (first * second).sum(-1) / t, where)


def _allowed(counts, axis_name):
  """Which candidates an anchor has: those that count, without itself."""
  every = accel.all_gather(counts, axis_name)
  n = len(every)
  row = accel.axis_index(axis_name) * len(counts) + jnp.arange(len(counts))
  own = jnp.concatenate([row, n + row])
  others = own[:, None] != jnp.arange(2 * n)[None, :]
  return others & jnp.concatenate([every, every])[None, :]
