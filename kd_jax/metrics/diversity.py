"""How much the members of an ensemble differ, over unordered pairs.

Letters: k members, b examples, c classes. One value per example: mean them, or
keep sums and counts (`metrics.mean`). Two members at least; the Google measures
of the same names say "all ordered pairs" and mean over K(K-1)/2, as here.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Probabilities = Float[Array | np.ndarray, "k b c"]


def disagreement(probabilities: Probabilities) -> Float[Array, "b"]:
  """The share of pairs whose answers differ.

  Args:
    probabilities: p of each member.

  Returns:
    One value per example, from 0 to 1.

  Raises:
    ValueError: for fewer than two members.
  """
  answers = jnp.asarray(probabilities).argmax(-1)
  return _over_pairs(answers, lambda a, b: (a != b).astype(jnp.float32))


def pairwise_kl(probabilities: Probabilities) -> Float[Array, "b"]:
  """The mean of KL(p_i || p_j) over pairs i < j.

  Args:
    probabilities: p of each member; zeros are taken as 1e-20.

  Returns:
    One value per example.

  Raises:
    ValueError: for fewer than two members.
  """
  p = jnp.maximum(jnp.asarray(probabilities, jnp.float32), 1e-20)
  return _over_pairs(p, lambda a, b: (a * jnp.log(a / b)).sum(-1))


def cosine_similarity(probabilities: Probabilities) -> Float[Array, "b"]:
  """The mean cosine between the members' probabilities; 1 is no diversity.

  Args:
    probabilities: p of each member.

  Returns:
    One value per example.

  Raises:
    ValueError: for fewer than two members.
  """
  p = jnp.asarray(probabilities, jnp.float32)
  unit = p / jnp.linalg.norm(p, axis=-1, keepdims=True)
  return _over_pairs(unit, lambda a, b: (a * b).sum(-1))


def _over_pairs(x: Array, fn: Callable[..., Array]) -> Array:
  if len(x) < 2:
    raise ValueError(f"{len(x)} member has nothing to differ from")
  i, j = np.triu_indices(len(x), 1)
  return fn(x[i], x[j]).mean(0)
