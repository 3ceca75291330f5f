"""Linear probes on frozen representations, over many subsets of coordinates.

Coordinates are standardised by the training set; a subset multiplies them by a
mask, which leaves a penalised probe as if the others were not there: a solve a
subset, with one Gram matrix for all. (`metrics.fit_probe` is the logistic one.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Features = Float[Array | np.ndarray, "n r"]
Labels = Int[Array | np.ndarray, "n"]


class Probe(NamedTuple):
  """A linear classifier.

  Attributes:
    weight: on standardised coordinates.
    bias: of each class.
    mean: of each coordinate on the training set.
    scale: its standard deviation; 1 where it has none.
  """

  weight: Float[Array, "r c"]
  bias: Float[Array, "c"]
  mean: Float[Array, "r"]
  scale: Float[Array, "r"]

  def logits(self, h: Features) -> Float[Array, "n c"]:
    """What it says about representations."""
    x = (jnp.asarray(h) - self.mean[None]) / self.scale[None]
    return jnp.matmul(x, self.weight, precision="highest") + self.bias[None]


class Normal(NamedTuple):
  """The normal equations of a ridge probe, for all subsets.

  Attributes:
    gram: X^T X / n of the standardised training set.
    cross: X^T Y / n, Y the classes as unit vectors less their means.
    bias: those means.
    mean: of each coordinate.
    scale: of each coordinate.
  """

  gram: Float[Array, "r r"]
  cross: Float[Array, "r c"]
  bias: Float[Array, "c"]
  mean: Float[Array, "r"]
  scale: Float[Array, "r"]


def moments(h: Features) -> tuple[Float[Array, "r"], Float[Array, "r"]]:
  """Mean and spread of each coordinate; a spread of 0 becomes 1.

  Args:
    h: the training set's representations.

  Returns:
    Both.
  """
  h = jnp.asarray(h, jnp.float32)
  spread = h.std(0)
  # Of a constant, rounding leaves a little.
  flat = spread <= 1e-6 * jnp.abs(h).max(0)
  return h.mean(0), jnp.where(flat, jnp.ones_like(spread), spread)


def normal(h: Features, labels: Labels, classes: int) -> Normal:
  """Gathers what a ridge probe needs of the training set.

  Args:
    h: its representations.
    labels: its classes.
    classes: how many there are.

  Returns:
    The normal equations.
  """
  mean, scale = moments(h)
  x = (jnp.asarray(h, jnp.float32) - mean[None]) / scale[None]
  y = jax.nn.one_hot(jnp.asarray(labels), classes)
  n = float(len(x))
  return Normal(
    gram=jnp.matmul(x.T, x, precision="highest") / n,
    cross=jnp.matmul(x.T, y - y.mean(0)[None], precision="highest") / n,
    bias=y.mean(0),
    mean=mean,
    scale=scale,
  )


def ridge(
  equations: Normal, mask: Bool[Array | np.ndarray, "r"], l2: float
) -> Probe:
  """The ridge probe of a subset: (X^T X / n + l2 I) W = X^T Y / n.

  Args:
    equations: of the training set.
    mask: the coordinates it may read.
    l2: the penalty, in units of a standardised coordinate's variance.

  Returns:
    The probe; its weights are 0 outside of the mask.
  """
  m = jnp.asarray(mask, jnp.float32)
  gram = equations.gram * m[:, None] * m[None]
  gram += jnp.diag(l2 * m + (1 - m))
  factor = jax.scipy.linalg.cho_factor(gram)
  weight = jax.scipy.linalg.cho_solve(factor, equations.cross * m[:, None])
  return Probe(weight, equations.bias, equations.mean, equations.scale)


def margin(
  logits: Float[Array, "n c"],
) -> Float[Array, "n"]:
  """By how much the answer's logit exceeds the next one's.

  Args:
    logits: of a probe with two classes or more.

  Returns:
    The margin.
  """
  top = jax.lax.top_k(logits, 2)[0]
  return top[:, 0] - top[:, 1]
