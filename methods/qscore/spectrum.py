"""Label-free measures of a whole representation, not of an example."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Features = Float[Array | np.ndarray, "n r"]


def alpha_req(h: Features) -> Float[Array, ""]:
  """How fast the covariance's eigenvalues fall: minus the slope in logarithms.

  Source: Agrawal et al. 2022 (alpha-ReQ), arXiv 2202.05808

  Args:
    h: representations.

  Returns:
    The exponent of a power law fitted by least squares, to eigenvalues above a
    millionth of the largest.
  """
  h = jnp.asarray(h, jnp.float32)
  values = jnp.square(_singular(h - h.mean(0)[None]))
  kept = values > 1e-6 * values[0]
  y = jnp.log(jnp.where(kept, values, 1.0))
  x = jnp.log(jnp.arange(1, len(values) + 1, dtype=jnp.float32))
  count = jnp.maximum(kept.sum(), 1)
  x -= x.sum(where=kept) / count
  y -= y.sum(where=kept) / count
  above = (x * y).sum(where=kept)
  return -above / jnp.maximum((x * x).sum(where=kept), 1e-12)


def _singular(h: Features) -> Float[Array, "r"]:
  """Singular values, the largest first, from the Gram matrix."""
  h = jnp.asarray(h, jnp.float32)
  gram = jnp.matmul(h.T, h, precision="highest")
  return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[::-1], 0.0))
