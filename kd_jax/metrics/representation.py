"""What a representation is worth, and whether it has collapsed.

Letters: n rows of a bank, q queries, b rows, d dimensions of an embedding, c
classes, k neighbours or outputs.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax import accel

Rows = Float[Array | np.ndarray, "b d"]
Mask = Bool[Array | np.ndarray, "b"]
_BLOCK = 256


def knn_scores(
  bank: Float[Array | np.ndarray, "n d"],
  labels: Int[Array | np.ndarray, "n"],
  queries: Float[Array | np.ndarray, "q d"],
  *,
  classes: int,
  neighbours: int = 20,
  temperature: float = 0.07,
) -> Float[Array, "q c"]:
  """Votes of the nearest neighbours, weighted by exp(cosine / T).

  Settings in use: 20 and .07 (DINO, solo-learn), 200 and .1 (MoCo's notebook,
  lightly's CIFAR-10). The answer is the argmax; of equal votes the first class.

  Args:
    bank: features whose labels are known.
    labels: their classes, from 0.
    queries: features to classify.
    classes: c.
    neighbours: k; all of the bank if it has fewer.
    temperature: T > 0.

  Returns:
    A score per class, divided by the largest vote there can be.

  Source: Wu et al. 2018, arXiv 1805.01978, section 3.4.
  """
  bank, queries = (_unit(jnp.asarray(x, jnp.float32)) for x in (bank, queries))
  labels = jnp.asarray(labels)
  k = min(neighbours, bank.shape[0])

  def block(rows):
    cosine = jnp.matmul(rows, bank.T, precision="highest")
    near, index = jax.lax.top_k(cosine, k)
    votes = jnp.exp((near - 1.0) / temperature)
    chosen = jax.nn.one_hot(labels[index], classes)
    return jnp.einsum("qk,qkc->qc", votes, chosen, precision="highest")

  q, d = queries.shape
  size = min(_BLOCK, q)
  padded = jnp.pad(queries, ((0, -q % size), (0, 0)))
  found = jax.lax.map(block, padded.reshape(-1, size, d))
  return found.reshape(-1, classes)[:q]


def spread(
  embedding: Rows,
  *,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """Standard deviation of embeddings on the sphere, times sqrt(d).

  1 where directions are even over the sphere, 0 where all are the same: the
  collapse that SimSiam's paper watches.

  Args:
    embedding: rows.
    where: True for the rows that count.
    axis_name: the devices whose rows make the statistics.

  Returns:
    The mean over dimensions.

  Source: Chen and He 2021, arXiv 2011.10566, figure 2.
  """
  z = _unit(jnp.asarray(embedding, jnp.float32))
  return deviation(z, where=where, axis_name=axis_name) * z.shape[-1] ** 0.5


def deviation(
  embedding: Rows,
  *,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """Standard deviation of each dimension, as it is; the mean over dimensions.

  Args:
    embedding: rows.
    where: True for the rows that count.
    axis_name: the devices whose rows make the statistics.

  Returns:
    0 where embeddings are all the same.
  """
  z = jnp.asarray(embedding, jnp.float32)
  keep = jnp.ones(len(z)) if where is None else jnp.asarray(where, jnp.float32)
  z = jnp.where(keep[:, None] > 0, z, 0.0)
  total, count = accel.sum((z.sum(0), keep.sum()), axis_name)
  count = jnp.maximum(count, 1.0)
  away = jnp.where(keep[:, None] > 0, z - (total / count)[None], 0.0)
  squares = accel.sum((away * away).sum(0), axis_name)
  return jnp.sqrt(squares / count).mean()


def information(
  logits: Float[Array | np.ndarray, "b k"],
  *,
  where: Mask | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """What outputs tell about the image: entropy of the mean less mean entropy.

  0 for either collapse: one output for all images, or all outputs alike for
  each. 1 where every image has an output of its own, and all are used alike.

  Args:
    logits: of k outputs, already divided by a temperature.
    where: True for the rows that count.
    axis_name: the devices whose rows make the mean.

  Returns:
    In units of log k.
  """
  log_p = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32))
  p = jnp.exp(log_p)
  keep = jnp.ones(len(p)) if where is None else jnp.asarray(where, jnp.float32)
  own = -(p * log_p).sum(-1)
  sums = (keep @ p, keep @ own, keep.sum())
  total, inside, count = accel.sum(sums, axis_name)
  count = jnp.maximum(count, 1.0)
  mean = total / count
  whole = -(mean * jnp.log(jnp.maximum(mean, 1e-30))).sum()
  return (whole - inside / count) / np.log(p.shape[-1])


def effective_rank(features: Rows) -> Float[Array, ""]:
  """How many directions features spread over: exp of their spectrum's entropy.

  Of singular values about the mean; from 1 to the number of dimensions.

  Args:
    features: rows, all of them.

  Returns:
    The rank; 1 where all rows are the same.

  Source: Roy and Vetterli 2007; Garrido et al. 2023, arXiv 2210.02885, eq. 1.
  """
  x = jnp.asarray(features, jnp.float32)
  x = x - x.mean(0, keepdims=True)
  x = x.T if x.shape[0] < x.shape[1] else x
  gram = jnp.matmul(x.T, x, precision="highest")
  values = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram), 0.0))
  total = values.sum()
  p = values / jnp.where(total > 0, total, 1.0)
  return jnp.exp(-(p * jnp.log(jnp.maximum(p, 1e-30))).sum())


def _unit(x):
  """Rows divided by their lengths; zero stays zero."""
  squares = (x * x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))
