"""A linear probe that needs no learning rate.

Features are standardised, so that their scale (methods differ by a factor of a
hundred) decides nothing, and softmax regression with an L2 penalty is solved by
L-BFGS for a path of penalties; a part of the training rows chooses among them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

# What CLIP's paper sweeps: 45 values over these decades.
PENALTIES = tuple(float(x) for x in np.logspace(-6, 5, 45))


class Probe(NamedTuple):
  """A linear classifier of standardised features.

  Attributes:
    mean: subtracted from features.
    scale: what they are multiplied by then.
    weight: of each class.
    bias: of each class.
    penalty: the one that was chosen.
  """

  mean: Float[Array, "d"]
  scale: Float[Array, "d"]
  weight: Float[Array, "d c"]
  bias: Float[Array, "c"]
  penalty: Float[Array, ""]

  def logits(
    self, features: Float[Array | np.ndarray, "b d"]
  ) -> Float[Array, "b c"]:
    """Class scores.

    Args:
      features: rows as the probe was fitted on.

    Returns:
      The logits.
    """
    x = (features - self.mean[None]) * self.scale[None]
    return jnp.matmul(x, self.weight, precision="highest") + self.bias[None]


def fit_probe(
  features: Float[Array | np.ndarray, "n d"],
  labels: Int[Array | np.ndarray, "n"],
  *,
  classes: int,
  penalties: Sequence[float] = PENALTIES,
  steps: int = 100,
) -> Probe:
  """Fits a probe, with the penalty that is best on every fifth row.

  Args:
    features: training features.
    labels: their classes, from 0.
    classes: c.
    penalties: L2 weights to choose from; the objective is the mean
      cross-entropy plus penalty / 2n |weight|^2.
    steps: of L-BFGS for each.

  Returns:
    The probe of all rows at the chosen penalty.
  """
  x = jnp.asarray(features, jnp.float32)
  y = jnp.asarray(labels)
  mean, std = x.mean(0), x.std(0)
  scale = jnp.where(std > 1e-6, 1 / jnp.maximum(std, 1e-6), 0.0)
  x = (x - mean[None]) * scale[None]
  held = jnp.arange(len(x)) % 5 == 4
  # From the strongest on, each from where the last one ended.
  path = jnp.asarray(sorted(penalties, reverse=True), jnp.float32)
  start = jnp.zeros((x.shape[1] + 1, classes))
  fit = 1.0 - held.astype(jnp.float32)

  def one(w, penalty):
    w = _solve(w, x, y, fit, penalty, steps)
    scores = jnp.matmul(x, w[:-1], precision="highest") + w[-1][None]
    right = (scores.argmax(-1) == y) & held
    return w, (right.sum(), w)

  _, (right, found) = jax.lax.scan(one, start, path)
  best = right.argmax()
  w = _solve(found[best], x, y, jnp.ones_like(fit), path[best], steps)
  return Probe(mean, scale, w[:-1], w[-1], path[best])


def _solve(w, x, y, keep, penalty, steps):
  """Minimises the penalised cross-entropy of the rows that are kept."""
  n = keep.sum()

  def loss(w):
    logits = jnp.matmul(x, w[:-1], precision="highest") + w[-1][None]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return (keep * each).sum() / n + penalty / (2 * n) * (w[:-1] ** 2).sum()

  # Kept fixed: a step of length one, which L-BFGS's scaling makes right, halved
  # until the loss falls.
  tx = optax.lbfgs(
    memory_size=10,
    linesearch=optax.scale_by_backtracking_linesearch(
      max_backtracking_steps=8, store_grad=True
    ),
  )
  value_and_grad = optax.value_and_grad_from_state(loss)

  def body(carry, _):
    w, state = carry
    value, grad = value_and_grad(w, state=state)
    updates, state = tx.update(
      grad, state, w, value=value, grad=grad, value_fn=loss
    )
    return (optax.apply_updates(w, updates), state), None

  return jax.lax.scan(body, (w, tx.init(w)), None, length=steps)[0][0]
