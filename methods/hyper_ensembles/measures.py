"""What an ensemble is judged by: probabilities are meaned, the rest follows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd_jax import metrics

# Below it members are one function: the ensemble has collapsed.
COLLAPSED = 1e-3


def mixed(
  logits: Float[Array, "k n c"], weights: Float[Array, "k"]
) -> Float[Array, "n c"]:
  """Log of the weighted mean of the members' probabilities.

  Args:
    logits: of each member.
    weights: adding up to 1; a member of weight 0 is not in the ensemble.

  Returns:
    Log-probabilities.
  """
  log_p = jax.nn.log_softmax(logits)
  wide = jnp.broadcast_to(weights[:, None, None], log_p.shape)
  return jax.nn.logsumexp(log_p, 0, b=wide)


def basics(
  logits: Float[Array, "k n c"],
  weights: Float[Array, "k"],
  labels: Int[Array, "n"],
) -> dict[str, Float[Array, ""]]:
  """NLL, accuracy and calibration of an ensemble.

  Args:
    logits: of each member.
    weights: of each.
    labels: the true classes.

  Returns:
    "nll", "accuracy", "ece" (a fraction).
  """
  log_p = mixed(logits, weights)
  bins = metrics.calibration_bins(jnp.exp(log_p), labels)
  return {
    "nll": _nll(log_p, labels),
    "accuracy": (log_p.argmax(-1) == labels).mean(),
    "ece": metrics.expected_calibration_error(bins),
  }


def everything(
  logits: Float[Array, "k n c"],
  weights: Float[Array, "k"],
  labels: Int[Array, "n"],
  foreign: Float[Array, "k m c"],
) -> tuple[dict[str, Float[Array, ""]], metrics.Bins]:
  """All measures of an ensemble on clean and on foreign images.

  Args:
    logits: of each member, on test images.
    weights: of each.
    labels: the true classes.
    foreign: logits on images of no class.

  Returns:
    The numbers by name, and the bins of a reliability diagram.
  """
  p = jnp.exp(mixed(logits, weights))
  each = jax.nn.softmax(logits)
  bins = metrics.calibration_bins(p, labels)
  doubt = 1 - p.max(-1)
  strange = 1 - jnp.exp(mixed(foreign, weights)).max(-1)
  wrong = (p.argmax(-1) != labels).astype(jnp.float32)
  parts = metrics.brier_decomposition(p, labels)
  target = jax.nn.one_hot(labels, p.shape[-1])
  brier = jnp.square(p - target).sum(-1)
  variance = jnp.square(each - p[None]).sum(-1)
  member_nll = jax.vmap(lambda x: _nll(jax.nn.log_softmax(x), labels))(logits)
  right = (each.argmax(-1) == labels[None]).mean(-1)
  found = basics(logits, weights, labels) | {
    "adaptive_ece": metrics.adaptive_calibration_error(p, labels),
    "brier": brier.mean(),
    "brier_variance": (weights * variance.mean(-1)).sum(),
    "uncertainty": parts.uncertainty,
    "resolution": parts.resolution,
    "reliability": parts.reliability,
    "member_nll": (weights * member_nll).sum(),
    "member_accuracy": (weights * right).sum(),
    "members": (weights > 0).sum().astype(jnp.float32),
    "aurc": metrics.risk_coverage(doubt, wrong).area,
    "auroc": metrics.auroc(doubt, strange),
    "fpr95": metrics.fpr_at_tpr(doubt, strange),
  }
  if len(logits) > 1:
    found |= diversity(each, weights)
    alike = (found["disagreement"] < COLLAPSED) & (found["members"] > 1)
    found["collapsed"] = alike.astype(jnp.float32)
  return found, bins


def diversity(
  p: Float[Array, "k n c"], weights: Float[Array, "k"]
) -> dict[str, Float[Array, ""]]:
  """How much the members differ, over pairs that are in the ensemble.

  Args:
    p: probabilities of each member.
    weights: of each; pairs with a weight of 0 are left out.

  Returns:
    "disagreement", "kl" and "cosine"; of an ensemble of one member 0, 0, 1.
  """
  k = len(p)
  pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
  measures: dict[str, Callable[..., Any]] = {
    "disagreement": metrics.disagreement,
    "kl": metrics.pairwise_kl,
    "cosine": metrics.cosine_similarity,
  }
  found = {}
  for name, measure in measures.items():
    each = jnp.stack([measure(p[jnp.array(pair)]).mean() for pair in pairs])
    there = jnp.stack(
      [((weights[i] > 0) & (weights[j] > 0)).astype(p.dtype) for i, j in pairs]
    )
    mean = (each * there).sum() / jnp.maximum(there.sum(), 1.0)
    lone = there.sum() == 0
    found[name] = jnp.where(lone, 1.0 if name == "cosine" else 0.0, mean)
  return found


def _nll(log_p, labels):
  return -jnp.take_along_axis(log_p, labels[:, None], -1).mean()
