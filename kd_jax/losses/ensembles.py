"""Losses of several members that answer the same question.

Letters: k members, b batch, c classes; z logits, p probabilities, y labels.
Members stand on a leading axis of their own. What is averaged is always
probabilities: never logits, never weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax.losses.inputs import Number, blank, lift, per_row

Labels = Int[Array | np.ndarray, "b"]
Mask = Bool[Array | np.ndarray, "b"]


def gibbs_cross_entropy(
  logits: Float[Array | np.ndarray, "k b c"],
  labels: Labels,
  *,
  smoothing: Number | Float[Array | np.ndarray, "..."] = 0.0,
  where: Mask | None = None,
) -> Float[Array, "b"]:
  """Mean over the members of each one's cross-entropy.

  What an ensemble is trained with: each member is paid for itself.

  Equation: l_i = -1/K sum_k sum_c t_kic log p_kic,
    t_ki = (1 - e_ki) onehot(y_i) + e_ki / C
  Source: Wenzel et al. 2020, arXiv 2006.13570, eq. 8
  Checked: optax's cross-entropy, member by member; a loop with smoothing

  Args:
    logits: z of each member.
    labels: y, from 0 to c - 1.
    smoothing: e, a number or one for each member and example (what broadcasts
      to (k, b)).
    where: True for the examples that count.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the shapes do not fit together.
  """
  z, y, _ = _checked(logits, labels, where)
  log_p = jax.nn.log_softmax(z)
  seen = jnp.take_along_axis(log_p, y[None, :, None], -1)[..., 0]
  e = jnp.asarray(smoothing, z.dtype)
  if e.ndim not in (0, 2):
    raise ValueError(f"smoothing is {e.shape}; a number or (k, b) is needed")
  losses = -((1 - e) * seen + e * log_p.mean(-1))
  return blank(losses.mean(0), where)


def ensemble_cross_entropy(
  logits: Float[Array | np.ndarray, "k b c"],
  labels: Labels,
  *,
  where: Mask | None = None,
) -> Float[Array, "b"]:
  """Cross-entropy of the members' mean probability.

  What an ensemble is judged by, and what hyperparameters are tuned on. At most
  the Gibbs cross-entropy (Jensen).

  Equation: l_i = -log 1/K sum_k p_ki(y_i)
  Source: Wenzel et al. 2020, arXiv 2006.13570, eq. 9
  Checked: optax's and NumPy's cross-entropy of the mean probability

  Args:
    logits: z of each member.
    labels: y, from 0 to c - 1.
    where: True for the examples that count.

  Returns:
    One value per example; 0 where not counted.

  Raises:
    ValueError: if the shapes do not fit together.
  """
  z, y, k = _checked(logits, labels, where)
  log_p = jax.nn.log_softmax(z)
  seen = jnp.take_along_axis(log_p, y[None, :, None], -1)[..., 0]
  losses = jnp.log(jnp.asarray(k, z.dtype)) - jax.nn.logsumexp(seen, 0)
  return blank(losses, where)


def brier(
  probabilities: Float[Array | np.ndarray, "b c"],
  labels: Labels,
  *,
  where: Mask | None = None,
) -> Float[Array, "b"]:
  """Squared distance of a forecast to what happened, summed over the classes.

  Equation: l_i = sum_c (p_ic - onehot(y_i)_c)^2
  Source: Brier 1950, Verification of Forecasts Expressed in Terms of
    Probability
  Checked: a loop in float64

  Args:
    probabilities: p; rows add up to 1 (not checked).
    labels: y, from 0 to c - 1.
    where: True for the examples that count.

  Returns:
    One value per example, from 0 to 2; 0 where not counted.

  Raises:
    ValueError: if shapes differ.
  """
  per_row(len(probabilities), labels=labels, where=where)
  (p,) = lift(probabilities)
  p, y = blank(p, where), blank(jnp.asarray(labels), where)
  target = jax.nn.one_hot(y, p.shape[-1], dtype=p.dtype)
  return blank(jnp.square(p - target).sum(-1), where)


def _checked(logits, labels, where):
  """Lifted and blanked logits and labels, and how many members there are."""
  k, b, _ = logits.shape
  per_row(b, labels=labels, where=where)
  (z,) = lift(logits)
  z = jnp.moveaxis(blank(jnp.moveaxis(z, 1, 0), where), 0, 1)
  return z, blank(jnp.asarray(labels), where), k
