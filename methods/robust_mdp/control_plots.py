"""What the networks' policies are worth on each of the dynamics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.robust_mdp.control import ARMS, SHIFTS

# What is drawn: the metric before the shift's name, and the panel's title.
PANELS = {"at": "value from upright", "fell": "share of episodes that fall"}


def figures(per_seed: Mapping[str, Sequence[float]]) -> dict[str, Any]:
  """Draws a bar an arm and shift, with its seeds as dots.

  Args:
    per_seed: "arm.metric" to one value a seed.

  Returns:
    "control" to the figure; nothing where a run has no such arm.
  """
  arms = [a for a in ARMS if f"{a}.final_at_nominal" in per_seed]
  if not arms:
    return {}
  figure = report.new_figure(10, 4)
  panels = figure.subplots(1, len(PANELS))
  for axes, (metric, title) in zip(panels, PANELS.items(), strict=True):
    for i, arm in enumerate(arms):
      values = np.array(
        [per_seed[f"{arm}.final_{metric}_{shift}"] for shift in SHIFTS]
      )
      x = np.arange(len(SHIFTS)) + i / (len(arms) + 1)
      axes.bar(x, values.mean(1), 1 / (len(arms) + 1), label=arm, alpha=0.6)
      axes.plot(x, values, "k.", markersize=3)
    axes.set_xticks(
      np.arange(len(SHIFTS)), list(SHIFTS), rotation=40, ha="right"
    )
    axes.set_title(title)
  panels[0].legend()
  return {"control": figure}
