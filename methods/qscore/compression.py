"""How much of a representation a probe can do without.

Coordinates in the order of A; a window inside this order is kept, its lower end
sliding up from the rarest and its upper one down from the most common, as in
the paper. Beside it as many random ones, either end of the order, principal
components and the largest weights of the full probe (which needs labels).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax import metrics
from kd_jax.methods.qscore import probes

# How the lower and the upper end share what is cut: 45 per cent are then the
# band from 50 to 95.
LOWER_SHARE = 0.9
KINDS = ("middle", "lower", "upper", "weights")


class Study(NamedTuple):
  """Accuracies of probes on subsets, by the size of the subset (m).

  Attributes:
    kept: the sizes as shares of r.
    full: of the probe that reads everything.
    middle: the window between rare and common.
    random: of each random draw.
    lower: the rarest.
    upper: the most common.
    weights: the largest weights of the full probe.
    pca: the largest principal components.
  """

  kept: Float[Array, "m"]
  full: Float[Array, ""]
  middle: Float[Array, "m"]
  random: Float[Array, "m s"]
  lower: Float[Array, "m"]
  upper: Float[Array, "m"]
  weights: Float[Array, "m"]
  pca: Float[Array, "m"]


def window(
  percent: Float[Array | np.ndarray, "r"], size: int
) -> Bool[Array, "r"]:
  """The discriminative subset of a size.

  Args:
    percent: A.
    size: how many coordinates to keep.

  Returns:
    A mask of exactly so many. Equal A are taken in the order of their places,
    so that a block of silent ones is cut first and not admitted as a whole.
  """
  place = jnp.argsort(jnp.argsort(jnp.asarray(percent), stable=True))
  first = int(LOWER_SHARE * (len(percent) - size))
  return (place >= first) & (place < first + size)


def subsets(
  percent: Float[Array | np.ndarray, "r"],
  importance: Float[Array | np.ndarray, "r"],
  sizes: Sequence[int],
  key: Any,
  draws: int,
) -> tuple[Bool[Array, "m k r"], Bool[Array, "m s r"]]:
  """The masks of every kind and size.

  Args:
    percent: A.
    importance: of each coordinate to the full probe.
    sizes: how many coordinates to keep.
    key: draws the random ones, the same order for every size.
    draws: how many random subsets of each size.

  Returns:
    Masks in the order of `KINDS`, and the random ones.
  """
  up = jnp.argsort(jnp.argsort(jnp.asarray(percent), stable=True))
  heavy = jnp.argsort(jnp.argsort(-jnp.asarray(importance), stable=True))
  r = len(percent)
  order = jax.vmap(lambda k: jax.random.permutation(k, r))(
    jax.random.split(key, draws)
  )
  kinds = [
    jnp.stack([window(percent, m), up < m, up >= r - m, heavy < m])
    for m in sizes
  ]
  return jnp.stack(kinds), jnp.stack([order < m for m in sizes])


def study(
  train: Float[Array | np.ndarray, "n r"],
  labels: Int[Array | np.ndarray, "n"],
  test: Float[Array | np.ndarray, "t r"],
  test_labels: Int[Array | np.ndarray, "t"],
  percent: Float[Array | np.ndarray, "r"],
  key: Any,
  *,
  classes: int,
  kept: Sequence[float],
  draws: int = 4,
  l2: float = 1e-2,
  normalize: bool = True,
) -> Study:
  """Ridge probes on every subset, from one Gram matrix.

  Args:
    train: representations to learn from.
    labels: their classes.
    test: representations to judge by.
    test_labels: their classes.
    percent: A of the training set.
    key: draws the random subsets.
    classes: how many there are.
    kept: shares of r to keep.
    draws: random subsets of each size; the paper's are 4.
    l2: see `probes.ridge`.
    normalize: divide each representation by its length, as the score does.

  Returns:
    The accuracies.
  """
  train, test = (_rows(h, normalize) for h in (train, test))
  equations = probes.normal(train, labels, classes)
  everything = jnp.ones(train.shape[1], bool)
  full = probes.ridge(equations, everything, l2)
  x = (test - equations.mean[None]) / equations.scale[None]
  y = jnp.asarray(test_labels)

  def accuracy(solved, mask, inputs):
    weight = probes.ridge(solved, mask, l2).weight
    logits = jnp.matmul(inputs, weight, precision="highest")
    return ((logits + solved.bias[None]).argmax(-1) == y).mean()

  sizes = [max(1, round(share * train.shape[1])) for share in kept]
  importance = jnp.square(full.weight).sum(-1)
  kinds, drawn = subsets(percent, importance, sizes, key, draws)
  masks = jnp.concatenate([kinds, drawn], 1)
  m, k, r = masks.shape
  found = jax.lax.map(
    lambda mask: accuracy(equations, mask, x), masks.reshape(m * k, r)
  ).reshape(m, k)
  turned, basis = principal(equations)
  largest = jnp.arange(r)[None] < jnp.asarray(sizes)[:, None]
  components = jnp.matmul(x, basis, precision="highest")
  pca = jax.lax.map(lambda mask: accuracy(turned, mask, components), largest)
  return Study(
    kept=jnp.asarray(kept, jnp.float32),
    full=accuracy(equations, everything, x),
    random=found[:, len(KINDS) :],
    pca=pca,
    **{kind: found[:, i] for i, kind in enumerate(KINDS)},
  )


def principal(
  equations: probes.Normal,
) -> tuple[probes.Normal, Float[Array, "r r"]]:
  """Normal equations in the basis of principal components.

  Args:
    equations: of the training set.

  Returns:
    The same for components, the largest variance first, and the basis.
  """
  values, vectors = jnp.linalg.eigh(equations.gram)
  basis = vectors[:, ::-1]
  cross = jnp.matmul(basis.T, equations.cross, precision="highest")
  return equations._replace(gram=jnp.diag(values[::-1]), cross=cross), basis


def _rows(h, normalize):
  return metrics.unit_rows(h) if normalize else jnp.asarray(h, jnp.float32)
