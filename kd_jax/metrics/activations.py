"""Which coordinates of a representation stand out, and how far: the Q-Score.

Source: Kalibhat et al. 2024 (AAAI), arXiv 2203.01881.

Letters: n examples, r coordinates; h_i a representation, mu_i and sigma_i the
mean and (population) standard deviation of its r coordinates: an example's own,
not a coordinate's over the examples; L_i its highly activating coordinates, A_j
the per cent of examples for which j is one, D the discriminative coordinates.
All of it is dense masks, so that shapes are static.

Sums over coordinates are products with ones: a CPU adds a row up number by
number, each waiting for the one before, and a product many at a time. Large
arrays go through a CPU a few rows at a time, all that is made of them stays in
the cache then; elsewhere they are whole.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax.metrics.mean import Mean

Features = Float[Array | np.ndarray, "n r"]
Number = float | int | np.number | Float[Array | np.ndarray, ""]
# Numbers of a block of rows, and of an array that is taken whole.
_BLOCK, _WHOLE = 2**15, 2**20


def unit_rows(h: Features) -> Float[Array, "n r"]:
  """Rows of length 1; a row of zeros stays, with gradient 0.

  Args:
    h: representations.

  Returns:
    h_i / max(||h_i||_2, 1e-12), at least in float32.
  """
  h = _wide(h)
  return h * jax.lax.rsqrt(jnp.maximum((h * h).sum(-1, keepdims=True), 1e-24))


def highly_active(h: Features, eps: Number = 4.0) -> Bool[Array, "n r"]:
  """L_i = { j : h_ij > mu_i + eps sigma_i }, which no scaling of h_i changes.

  Of r coordinates none is more than sqrt(r - 1) deviations above the mean, and
  averages over places seldom are 4: see what share of examples has none.

  Args:
    h: representations.
    eps: the paper's is 4.

  Returns:
    L as a mask.
  """
  return _by_rows(lambda h: _standing(h, eps)[1], jnp.asarray(h))


def active_counts(
  h: Features,
  eps: Number = 4.0,
  where: Bool[Array | np.ndarray, "n"] | None = None,
) -> Mean:
  """How often each coordinate stands out; adds up over batches and devices.

  Args:
    h: representations of the training set: no augmentation, running statistics
      in batch norm, before any projector.
    eps: as in `highly_active`.
    where: True for the examples that count.

  Returns:
    Sums (r,) and counts (r,): 100 total / count is A.
  """
  h = jnp.asarray(h)
  counted = jnp.ones(len(h), bool) if where is None else jnp.asarray(where)
  counted = counted.astype(jnp.float32)

  def counts(h, counted):
    active = _standing(h, eps)[1].astype(jnp.float32)
    return jnp.matmul(counted, active, precision="highest")[None]

  total = _by_rows(counts, h, counted, fold=lambda parts: parts.sum(0))
  return Mean(total, jnp.full_like(total, counted.sum()))


def discriminative(
  percent: Float[Array | np.ndarray, "r"],
  low: Number = 50.0,
  high: Number = 95.0,
  *,
  drop_silent: bool = True,
) -> Bool[Array, "r"]:
  """D: the coordinates whose A lies between two percentiles of all r of them.

  Below are rare ones, an image's own; above are those of everything.

  Args:
    percent: A.
    low: the lower percentile, inclusive; the paper's is 50.
    high: the upper one; the paper's is 95.
    drop_silent: leave out those that never stand out. Where more than half of
      the A are 0 the percentile 50 is 0 too, and admits them all: no Q changes,
      but D is then mostly of dead ones, and no subset to compress to.

  Returns:
    D as a mask.
  """
  percent = jnp.asarray(percent)
  # Not `percentile`, whose division rounds: the 100th is below the largest.
  at = jnp.stack([jnp.asarray(q / 100, percent.dtype) for q in (low, high)])
  bounds = jnp.quantile(percent, at)
  inside = (percent >= bounds[0]) & (percent <= bounds[1])
  return inside & (percent > 0) if drop_silent else inside


def q_score(
  h: Features,
  chosen: Bool[Array | np.ndarray, "r"],
  *,
  eps: Number = 4.0,
  normalize: bool = True,
  top_if_empty: bool = False,
) -> Float[Array, "n"]:
  """Q: how far what is discriminative stands out of an example, on average.

  Q_i = mean over j in L_i and D of (h_ij - mu_i)  (eq. 1)

  Differentiable through h and mu; the sets are constants.

  Args:
    h: representations.
    chosen: D as a mask.
    eps: as in `highly_active`.
    normalize: divide each h_i by its length first, as the paper does.
    top_if_empty: an example of whose D nothing stands out takes the largest of
      D for its set, so that a penalty moves it (ours; it scores 0 otherwise,
      which is below all others: those exceed eps sigma_i).

  Returns:
    One score an example.
  """
  chosen = jnp.asarray(chosen, bool)

  def scores(h):
    above, taken = _standing(h, eps)
    inside = chosen.astype(above.dtype)
    if top_if_empty:
      taken = _or_largest(taken, above, chosen)
    count = _sums(taken.astype(above.dtype), inside)
    total = _sums(jnp.where(taken, above, jnp.zeros_like(above)), inside)
    q = total / jnp.maximum(count, jnp.ones_like(count))
    return q * _shrink(_wide(h)) if normalize else q

  return _by_rows(scores, jnp.asarray(h))


def _standing(
  h: Features, eps: Number
) -> tuple[Float[Array, "n r"], Bool[Array, "n r"]]:
  """Coordinates less their row's mean, and whether they stand out of it."""
  h = _wide(h)
  ones, r = jnp.ones(h.shape[1], h.dtype), h.shape[1]
  mu = _sums(h, ones) / r
  above = h - mu[:, None]
  held, mu = jax.lax.stop_gradient((above, mu))
  sigma = jnp.sqrt(_sums(held * held, ones) / r)
  # Of a constant row, rounding leaves a little.
  least = jnp.maximum(jnp.asarray(eps, h.dtype) * sigma, 1e-6 * jnp.abs(mu))
  return above, held > least[:, None]


def _or_largest(
  taken: Bool[Array, "n r"],
  above: Float[Array, "n r"],
  chosen: Bool[Array, "r"],
) -> Bool[Array, "n r"]:
  """Of a row of whose D nothing is taken the largest coordinate of D."""
  own = taken & chosen[None]
  inside = jnp.where(chosen[None], above, jnp.full((), -jnp.inf, above.dtype))
  best = jax.nn.one_hot(jnp.argmax(inside, -1), above.shape[1], dtype=bool)
  return jnp.where(own.any(-1, keepdims=True), own, best)


def _sums(
  x: Float[Array, "n r"], weight: Float[Array, "r"]
) -> Float[Array, "n"]:
  return jnp.matmul(x, weight, precision="highest")


def _shrink(h: Float[Array, "n r"]) -> Float[Array, "n"]:
  """One over the length of each row."""
  squares = _sums(h * h, jnp.ones(h.shape[1], h.dtype))
  return jax.lax.rsqrt(jnp.maximum(squares, 1e-24))


def _by_rows(
  fn: Callable[..., Array],
  *columns: Array,
  fold: Callable[[Array], Array] = lambda rows: rows,
) -> Array:
  """A function of rows, on a CPU of a few of them at a time if they are many.

  Args:
    fn: from rows of the columns to an array with an axis for blocks or rows.
    *columns: arrays of as many rows.
    fold: of all that `fn` gave, one after the other on this axis.

  Returns:
    What `fold` gives.
  """
  n, r = columns[0].shape
  most = max(1, _BLOCK // r)
  # What is left over is copied, all of it: better a block that divides.
  size = next((m for m in range(most, most // 4, -1) if n % m == 0), most)
  if n * r <= _WHOLE or n < size:
    return fold(fn(*columns))

  def blocks(*columns):
    end = n - n % size
    parts = [x[:end].reshape(-1, size, *x.shape[1:]) for x in columns]
    found = jax.lax.map(lambda part: fn(*part), parts)
    found = found.reshape(-1, *found.shape[2:])
    if end < n:
      rest = fn(*(x[end:] for x in columns))
      found = jnp.concatenate([found, rest])
    return fold(found)

  return jax.lax.platform_dependent(
    *columns, cpu=blocks, default=lambda *columns: fold(fn(*columns))
  )


def _wide(h: Features) -> Float[Array, "n r"]:
  h = jnp.asarray(h)
  return h.astype(jnp.promote_types(h.dtype, jnp.float32))
