"""Two views of an example are pulled together, those of others pushed apart.

Letters: b batch (pairs on this device), n pairs on all devices (or keys of a
queue), d embedding, u an embedding, q a query, k a key, T temperature.
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
  alone gives 0. This is solo-learn's and VISSL's scale, too; google's code adds
  a pair's two cross-entropies: twice this one.

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


def info_nce_batch(
  queries: Float[Array | np.ndarray, "b d"],
  keys: Float[Array | np.ndarray, "b d"],
  *,
  temperature: Number,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  axis_name: str | None = None,
  normalize: bool = True,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Finding a query's key among the keys of the batch (MoCo v3).

  One direction: the method adds ctr(q_1, k_2) and ctr(q_2, k_1). The factor 2T
  is the paper's; divide by it for the plain cross-entropy (CLIP's, CPC's).

  Equation: l_i = 2T (log sum_j exp(q_i . k_j / T) - q_i . k_i / T)
  Source: Chen, Xie and He 2021, arXiv 2104.02057, eq. 1 and algorithm 1
  Checked: a loop in float64; optax's cross-entropy; numeric gradients; four
    devices and one

  Args:
    queries: q, the online network's predictions of one view.
    keys: k, the momentum network's projections of the other view.
    temperature: T > 0.
    where: True for the pairs that count; others are no candidates either.
    axis_name: the devices whose keys are candidates.
    normalize: whether both are divided by their lengths first.
    stop_target_gradient: whether the keys are constants.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ or the temperature is not positive.
  """
  same_shape(queries=queries, keys=keys)
  per_row(len(queries), where=where)
  q, k = _unit(queries, keys, where, normalize, stop_target_gradient)
  t = temperature_like(temperature, q)
  counts = jnp.ones(len(q), bool) if where is None else jnp.asarray(where)
  candidates, allowed = accel.all_gather((k, counts), axis_name)
  logits = jnp.matmul(q, candidates.T, precision="highest") / t
  logits = jnp.where(allowed[None], logits, jnp.full_like(logits, _NEVER))
  spread = jax.nn.logsumexp(logits, -1)
  return blank(2 * t * spread - 2 * (q * k).sum(-1), where)


def info_nce_queue(
  queries: Float[Array | np.ndarray, "b d"],
  keys: Float[Array | np.ndarray, "b d"],
  queue: Float[Array | np.ndarray, "n d"],
  *,
  temperature: Number,
  where: Bool[Array | np.ndarray, "b"] | None = None,
  queue_where: Bool[Array | np.ndarray, "n"] | None = None,
  normalize: bool = True,
  stop_target_gradient: bool = True,
) -> Float[Array, "b"]:
  """Finding a query's key among itself and a queue of older keys (MoCo v1, v2).

  One direction, as the paper has it; "v2+" means this one and the one with the
  views exchanged, each with a queue of its own; the authors' notebook for CIFAR
  adds the two, with one queue. Keys of the same batch are no negatives.

  Equation: l_i = log(exp(q_i . k_i / T) + sum_j exp(q_i . n_j / T))
    - q_i . k_i / T
  Source: He et al. 2020, arXiv 1911.05722, eq. 1
  Checked: a loop in float64; optax's cross-entropy of class 0; numeric
    gradients; four devices and one

  Args:
    queries: q, the online network's projections of one view.
    keys: k, the momentum network's projections of the other view.
    queue: n, keys of earlier batches, the same on every device. They are taken
      as they are, as negatives, and are constants.
    temperature: T > 0.
    where: True for the examples that count.
    queue_where: True for the places of the queue that hold a key.
    normalize: whether queries and keys are divided by their lengths first.
    stop_target_gradient: whether the keys are constants.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ or the temperature is not positive.
  """
  same_shape(queries=queries, keys=keys)
  per_row(len(queries), where=where)
  if queue.shape[1:] != queries.shape[1:]:
    raise ValueError(f"queue is {queue.shape}, queries are {queries.shape}")
  if queue_where is not None and queue_where.shape != queue.shape[:1]:
    raise ValueError(
      f"queue_where is {queue_where.shape}, queue is {queue.shape}"
    )
  q, k = _unit(queries, keys, where, normalize, stop_target_gradient)
  # A place that holds no key may hold anything.
  old = jax.lax.stop_gradient(blank(lift(queue)[0], queue_where))
  t = temperature_like(temperature, q)
  own = (q * k).sum(-1) / t
  logits = jnp.matmul(q, old.T, precision="highest") / t
  if queue_where is not None:
    held = jnp.asarray(queue_where)[None]
    logits = jnp.where(held, logits, jnp.full_like(logits, _NEVER))
  every = jnp.concatenate([own[:, None], logits], 1)
  return blank(jax.nn.logsumexp(every, -1) - own, where)


def _unit(queries, keys, where, normalize, stop):
  """Queries and keys, lifted, blanked, normalised, the keys stopped."""
  q, k = (blank(u, where) for u in lift(queries, keys))
  if normalize:
    q, k = l2_normalize(q), l2_normalize(k)
  return q, jax.lax.stop_gradient(k) if stop else k


def _allowed(counts, axis_name):
  """Which candidates an anchor has: those that count, without itself."""
  every = accel.all_gather(counts, axis_name)
  n = len(every)
  row = accel.axis_index(axis_name) * len(counts) + jnp.arange(len(counts))
  own = jnp.concatenate([row, n + row])
  others = own[:, None] != jnp.arange(2 * n)[None, :]
  return others & jnp.concatenate([every, every])[None, :]
