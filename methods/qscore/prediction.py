"""Does a score say which examples a probe gets right? AUROC, AUPRC and risk.

Positive is *right*: chance AUPRC is then the accuracy, beside which it must be
read (with wrong as positive the paper's 91 would be about 40).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax import metrics
from kd_jax.methods.qscore.discovery import Discovery

Correct = Bool[Array | np.ndarray, "n"]


class QScoreReport(NamedTuple):
  """What the score says about a set of examples.

  Attributes:
    accuracy: the share that is right: the AUPRC of chance.
    auroc: how often the score puts a right one above a wrong one.
    auprc: its average precision for right ones.
    lift: auprc less accuracy: what may be compared between encoders.
    area: mean risk over all coverages, the lowest scores left out first; small
      is good, and 1 - accuracy is chance.
    mean_right: the mean score of right examples.
    mean_wrong: that of wrong ones.
    empty: the share whose score is 0, because nothing of D stands out.
    active: how many coordinates stand out of an example, on average.
    own_right: how many of D stand out of a right one, on average.
    own_wrong: of a wrong one.
  """

  accuracy: Float[Array, ""]
  auroc: Float[Array, ""]
  auprc: Float[Array, ""]
  lift: Float[Array, ""]
  area: Float[Array, ""]
  mean_right: Float[Array, ""]
  mean_wrong: Float[Array, ""]
  empty: Float[Array, ""]
  active: Float[Array, ""]
  own_right: Float[Array, ""]
  own_wrong: Float[Array, ""]


def report(
  h: Float[Array | np.ndarray, "n r"], found: Discovery, correct: Correct
) -> QScoreReport:
  """Scores examples and compares with what a probe got right.

  Args:
    h: their representations.
    found: what was discovered on the training set.
    correct: whether a probe is right about each.

  Returns:
    The report.
  """
  correct = jnp.asarray(correct)
  q = metrics.q_score(h, found.chosen, eps=found.eps)
  active = metrics.highly_active(h, found.eps)
  own = (active & found.chosen[None]).sum(-1).astype(jnp.float32)
  judged = judge(q, correct)
  return QScoreReport(
    accuracy=correct.mean(),
    mean_right=_mean(q, correct),
    mean_wrong=_mean(q, ~correct),
    empty=(own == 0).mean(),
    active=active.sum(-1).astype(jnp.float32).mean(),
    own_right=_mean(own, correct),
    own_wrong=_mean(own, ~correct),
    **judged,
  )


def judge(
  score: Float[Array, "n"], correct: Correct
) -> dict[str, Float[Array, ""]]:
  """The ranking measures of one score.

  Args:
    score: larger is more likely right.
    correct: whether a probe is.

  Returns:
    "auroc", "auprc", "lift" and "area".
  """
  correct = jnp.asarray(correct)
  ap = metrics.average_precision(score, correct)
  wrong = (~correct).astype(jnp.float32)
  return {
    "auroc": metrics.roc_auc(score, correct),
    "auprc": ap,
    "lift": ap - correct.mean(),
    "area": metrics.risk_coverage(-score, wrong).area,
  }


def judge_all(
  scores: Mapping[str, Float[Array, "n"]], correct: Correct
) -> dict[str, Float[Array, ""]]:
  """The ranking measures of several scores.

  Args:
    scores: by name.
    correct: whether a probe is right.

  Returns:
    "NAME_auroc" and "NAME_lift".
  """
  stacked = jnp.stack(list(scores.values()))
  judged = jax.lax.map(lambda score: judge(score, correct), stacked)
  return {
    f"{name}_{k}": judged[k][place]
    for place, name in enumerate(scores)
    for k in ("auroc", "lift")
  }


def class_share(
  h: Float[Array | np.ndarray, "n r"],
  found: Discovery,
  labels: Int[Array | np.ndarray, "n"],
  classes: int,
) -> Float[Array, "r"]:
  """Of the class for which a coordinate stands out most, the share it does.

  The paper's figure 1 shows coordinates of D that stand out of more than 80 per
  cent of one class.

  Args:
    h: representations.
    found: the threshold.
    labels: their classes.
    classes: how many there are.

  Returns:
    One share a coordinate.
  """
  active = metrics.highly_active(h, found.eps).astype(jnp.float32)
  member = jnp.asarray(labels)[:, None] == jnp.arange(classes)[None]
  member = member.astype(jnp.float32)
  hits = jnp.matmul(member.T, active, precision="highest")
  return (hits / jnp.maximum(member.sum(0), 1.0)[:, None]).max(0)


def _mean(values, where):
  return values.sum(where=where) / jnp.maximum(where.sum(), 1)
