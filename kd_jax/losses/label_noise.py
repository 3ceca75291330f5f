"""Likelihood of labels that are wrong in a known or learned way.

Letters: b batch, c classes; z logits, y labels, Q the transition from the true
class to the label that is seen.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax.losses.inputs import blank, lift, per_row


def noisy_nll(
  logits: Float[Array | np.ndarray, "b c"],
  transition: Float[Array | np.ndarray, "c c"],
  labels: Int[Array | np.ndarray, "b"],
  *,
  where: Bool[Array | np.ndarray, "b"] | None = None,
) -> Float[Array, "b"]:
  """Negative log-likelihood of labels that were changed at random.

  The model predicts the true class, `transition` says what is seen of it. Both
  are trained: the gradient flows into the transition too, except into entries
  that are exactly 0, which stay what they are.

  Equation: l_i = -log (softmax(z_i) Q)_{y_i}
  Source: Chen et al. 2021 (CVPR), Learning Student Networks in the Wild; the
    forward correction of Patrini et al. 2017, arXiv 1609.03683, theorem 2
  Checked: a loop in float64; optax's cross-entropy (identity); a uniform
    transition; numeric gradients

  Args:
    logits: z, for the true class.
    transition: Q; row k holds the probabilities of each label when the class
      is k. Not negative, rows adding up to 1 (not checked: it may be traced).
    labels: y, from 0 to c - 1; others give NaN. A label whose column of the
      transition is all 0 is impossible and gives infinity.
    where: True for the examples that count.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  b, c = logits.shape
  per_row(b, labels=labels, where=where)
  if transition.shape != (c, c):
    raise ValueError(
      f"transition is {transition.shape}, logits are {logits.shape}: "
      f"{(c, c)} is needed"
    )
  z, q = lift(logits, transition)
  z, y = blank(z, where), blank(jnp.asarray(labels), where)
  # A negative index would count from the end; out of range, `take` gives NaN.
  seen = jnp.take(q, jnp.where(y < 0, c, y), axis=1).T
  nll = jax.nn.logsumexp(z, -1) - jax.nn.logsumexp(z, -1, b=seen)
  return blank(nll, where)
