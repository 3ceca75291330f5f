"""What a claim's numbers say: paired differences and their interval."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from kd_jax.experiment import Claim


def interval(differences: Sequence[float]) -> tuple[float, float]:
  """The 95 % t interval of the mean of paired differences.

  Args:
    differences: one per seed, at least two.

  Returns:
    Lower and upper end; infinite for fewer than two.
  """
  d = np.asarray(differences, np.float64)
  if d.size < 2:
    return -math.inf, math.inf
  half = stats.t.ppf(0.975, d.size - 1) * d.std(ddof=1) / math.sqrt(d.size)
  return float(d.mean() - half), float(d.mean() + half)


def judge(low: float, high: float, margin: float) -> str:
  """The verdict of an interval: it speaks only where it clears the margin.

  Args:
    low: its lower end.
    high: its upper end.
    margin: what the difference must exceed.

  Returns:
    "holds", "fails" or "undecided".
  """
  if low > margin:
    return "holds"
  return "fails" if high < margin else "undecided"


def decide(
  claim: Claim,
  values: dict[tuple[str, str], Sequence[float]],
  settings_tried: dict[str, int],
) -> dict[str, Any]:
  """Judges one claim over the seeds.

  Args:
    claim: the claim.
    values: (arm, metric) to one number per seed.
    settings_tried: settings tried on validation data, by arm.

  Returns:
    The entry of `claim.json`.
  """
  sides = [claim.treatment]
  treatment = np.asarray(values[claim.treatment], np.float64)
  if isinstance(claim.baseline, tuple):
    sides.append(claim.baseline)
    baseline = np.asarray(values[claim.baseline], np.float64)
  else:
    baseline = np.full(treatment.shape, claim.baseline)
  difference = claim.sign * (treatment - baseline)
  low, high = interval(difference)
  return {
    "name": claim.name,
    "statement": claim.statement,
    "kind": claim.kind,
    "scale": claim.scale,
    "published": claim.published,
    "arms": {
      f"{arm}.{metric}": arm_entry(arm, metric, values, settings_tried)
      for arm, metric in sides
    },
    "margin": claim.margin,
    "diff": _finite(float(difference.mean())),
    "ci95": [_finite(low), _finite(high)],
    "verdict": judge(low, high, claim.margin),
  }


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


def arm_entry(
  arm: str, metric: str, values: Any, settings_tried: Any
) -> dict[str, Any]:
  """One side of a claim: its numbers, their mean and spread."""
  numbers = np.asarray(values[arm, metric], np.float64)
  return {
    "metric": metric,
    "values": numbers.tolist(),
    "mean": float(numbers.mean()),
    "sd": float(numbers.std(ddof=1)) if numbers.size > 1 else None,
    "settings_tried": settings_tried.get(arm, 1),
  }
