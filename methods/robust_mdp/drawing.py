"""Policies on a grid, robust beside ordinary."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.robust_mdp import problems
from kd_jax.methods.robust_mdp.arms import ARMS
from kd_jax.methods.robust_mdp.config import Config

# (right, down) of each action; gymnasium's cliff has an order of its own.
_LEFT, _DOWN, _RIGHT, _UP = (-1, 0), (0, 1), (1, 0), (0, -1)
ARROWS = {
  "frozen_lake": (_LEFT, _DOWN, _RIGHT, _UP),
  "frozen_lake_8x8": (_LEFT, _DOWN, _RIGHT, _UP),
  "cliff": (_LEFT, _DOWN, _RIGHT, _UP),
  "cliff_walking": (_UP, _RIGHT, _DOWN, _LEFT),
}
COLOURS = {
  "H": "tab:blue",
  "C": "tab:blue",
  "G": "darkgreen",
  "S": "tab:purple",
}


def policies(config: Config, products: Mapping[str, Any]) -> dict[str, Any]:
  """Draws the policies of each grid that the run's arms learned on.

  Args:
    config: the run's configuration.
    products: its products.

  Returns:
    "policy_TASK" to a figure: the exact ordinary policy, the exact robust one
    at the weight nearest to `use_lam`, and the first seed's of the arms there.
  """
  known, by_arm = problems.gather(config)
  found = {}
  for problem in known.values():
    if problem.mdp.layout is None or problem.mdp.name not in ARROWS:
      continue
    arrows = ARROWS[problem.mdp.name]
    arms = [arm for arm, its in by_arm.items() if its is problem]
    panels = _panels(config, problem, arms, products)
    name = problem.key.removeprefix("exact_")
    found[f"policy_{name}"] = grid(problem.mdp.layout, arrows, panels)
  return found


def _panels(config, problem, arms, products) -> dict[str, np.ndarray]:
  """Q by title."""
  exact = products[problem.key]
  lams = np.asarray(problem.lams)
  place = int(np.abs(lams - config.use_lam).argmin())
  panels = {
    "exact, ordinary": exact["ordinary"],
    f"exact, lam {lams[place]:g}": exact["penalised"][place],
  }
  for arm in arms:
    q = np.asarray(products[f"{arm}.learn"]["q"])[0]
    penalised = ARMS[arm].target == "penalised"
    panels[arm] = q[problems.nearest(config, arm, lams[place]) * penalised]
  return {name: np.asarray(q) for name, q in panels.items()}


def grid(
  layout: tuple[str, ...],
  arrows: tuple[tuple[int, int], ...],
  panels: Mapping[str, np.ndarray],
) -> Any:
  """Arrows of the greedy action on every cell, shaded by its value.

  Red where it is not that of the first panel.

  Args:
    layout: the rows of the grid, a letter a cell, in the order of the states.
    arrows: (right, down) of each action.
    panels: Q (S, A) by title; states beyond the cells are not drawn.

  Returns:
    The figure.
  """
  down, across = len(layout), len(layout[0])
  figure = report.new_figure(0.4 * across * len(panels) + 1, 0.4 * down + 1.1)
  row = figure.subplots(1, len(panels), squeeze=False)[0]
  first = None
  for axes, (title, q) in zip(row, panels.items(), strict=True):
    cells = q[: down * across]
    values = cells.max(-1).reshape(down, across)
    axes.imshow(values, cmap="Greys", vmin=0, vmax=1.5 * values.max())
    best = cells.argmax(-1).reshape(down, across)
    first = best if first is None else first
    for i, line in enumerate(layout):
      for j, cell in enumerate(line):
        colour = "black" if best[i, j] == first[i, j] else "tab:red"
        _draw_cell(axes, i, j, cell, np.array(arrows[best[i, j]]), colour)
    axes.set_title(title, fontsize="small")
    axes.set(xticks=[], yticks=[])
  figure.suptitle("red: not the ordinary action", fontsize="small")
  return figure


def _draw_cell(axes, i, j, cell, step, colour):
  if cell in "HGC":
    # On a box: the best cells' shade is that of a letter.
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    how = {"ha": "center", "va": "center", "weight": "bold", "bbox": box}
    axes.text(j, i, cell, color=COLOURS[cell], **how)
    return
  if cell in COLOURS:
    # In the corner that an arrow through the middle leaves free.
    how = {"ha": "left", "va": "top", "fontsize": "x-small"}
    axes.text(j - 0.45, i - 0.45, cell, color=COLOURS[cell], **how)
  x, y = 0.3 * step
  axes.annotate(
    "",
    (j + x, i + y),
    (j - x, i - y),
    arrowprops={"arrowstyle": "->", "color": colour},
  )
