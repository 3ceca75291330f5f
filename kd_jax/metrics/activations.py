"""Which coordinates of a representation stand out, and how far: the Q-Score.

Source: Kalibhat et al. 2024 (AAAI), arXiv 2203.01881.

Letters: n examples, r coordinates; h_i a representation, mu_i and sigma_i the
mean and (population) standard deviation of its r coordinates: an example's own,
not a coordinate's over the examples; L_i its highly activating coordinates, A_j
the per cent of examples for which j is one, D the discriminative coordinates.
All of it is dense masks, so that shapes are static.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax.metrics.mean import Mean

Features = Float[Array | np.ndarray, "n r"]
Number = float | int | np.number | Float[Array | np.ndarray, ""]


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
  h = _wide(h)
  mu = h.mean(-1, keepdims=True)
  return h > mu + jnp.asarray(eps, h.dtype) * h.std(-1, keepdims=True)


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
  active = highly_active(h, eps)
  counted = jnp.ones(len(active), bool) if where is None else jnp.asarray(where)
  total = (active & counted[:, None]).sum(0, dtype=jnp.float32)
  count = counted.sum(dtype=jnp.float32)
  return Mean(total, jnp.full_like(total, count))


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
  h = unit_rows(h) if normalize else _wide(h)
  chosen = jnp.asarray(chosen, bool)
  taken = highly_active(h, eps) & chosen[None]
  if top_if_empty:
    inside = jnp.where(chosen[None], h, jnp.full((), -jnp.inf, h.dtype))
    best = jnp.argmax(inside, -1)
    top = jax.nn.one_hot(best, h.shape[1], dtype=bool) & chosen[None]
    taken = jnp.where(taken.any(-1, keepdims=True), taken, top)
  above = jnp.where(taken, h - h.mean(-1, keepdims=True), jnp.zeros_like(h))
  count = taken.sum(-1).astype(h.dtype)
  return above.sum(-1) / jnp.maximum(count, jnp.ones_like(count))


def _wide(h: Features) -> Float[Array, "n r"]:
  h = jnp.asarray(h)
  return h.astype(jnp.promote_types(h.dtype, jnp.float32))
