"""The figures of a finished run: what was learned, and what collapsed."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax import report
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import recipes, views
from kd_jax.methods.ssl.learners import LEARNERS

Rows = Sequence[Mapping[str, Any]]
_MONITORS = {
  "z_spread": "spread of projections on the sphere (0 is collapsed)",
  "z_std": "deviation of projections as they are",
  "agreement": "cosine of two views",
  "information": "what prototypes tell (0 is collapsed)",
  "online_accuracy": "online probe, training images",
}


def plots(run: Any) -> dict[str, Any]:
  """Draws what there is to see of a run.

  Args:
    run: a finished run: `config`, `metrics`, `rows()` and `data`.

  Returns:
    Figures by file stem: "arms" (if there are labels), "monitors", "views".
  """
  found = {"monitors": monitors(run.rows()), "views": shown(run)}
  if any(name.endswith("test_knn") for name in run.metrics):
    found["arms"] = arms(run.metrics, run.config.arms)
  return found


def arms(metrics: Mapping[str, float], names: Sequence[str]) -> Any:
  """Bars of test accuracy: neighbours, probes.

  Args:
    metrics: "arm.metric" to number.
    names: the arms, in order.

  Returns:
    The figure.
  """
  figure = report.new_figure(max(6.0, 1.5 + 0.9 * len(names)), 4.5)
  axes = figure.subplots()
  kinds = {
    "nearest neighbours": "test_knn",
    "linear probe": "test_probe",
    "linear probe, SGD": "test_linear",
    "online probe": "test_online",
  }
  kinds = {
    label: metric
    for label, metric in kinds.items()
    if any(f"{name}.{metric}" in metrics for name in names)
  }
  width = 0.8 / len(kinds)
  lowest = 1.0
  for i, (label, metric) in enumerate(kinds.items()):
    heights = [metrics.get(f"{name}.{metric}", np.nan) for name in names]
    lowest = min(lowest, np.nanmin(heights))
    axes.bar(np.arange(len(names)) + i * width, heights, width, label=label)
  places = np.arange(len(names)) + 0.4 - width / 2
  axes.set_xticks(places, names, rotation=40, ha="right")
  axes.set_ylim(max(0.0, lowest - 0.05), 1.0)
  axes.set_ylabel("test accuracy")
  axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
  return figure


def monitors(rows: Rows) -> Any:
  """The collapse monitors over steps, a line an arm.

  Args:
    rows: rows of `metrics.jsonl`.

  Returns:
    The figure, a panel each.
  """
  rows = [r for r in rows if r["kind"] == "train" and r["phase"] == "pretrain"]
  known = [m for m in _MONITORS if any(m in row for row in rows)]
  figure = report.new_figure(11, 3.2 * -(-len(known) // 2) or 3)
  panels = np.ravel(figure.subplots(-(-len(known) // 2) or 1, 2))
  for axes, metric in zip(panels, known, strict=False):
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
      if row.get(metric) is not None:
        lines.setdefault(row["arm"], []).append((row["step"], row[metric]))
    for arm, points in lines.items():
      axes.plot(*zip(*points, strict=True), label=arm)
    axes.set_title(_MONITORS[metric], fontsize="medium")
    axes.set_xlabel("step")
  for axes in panels[len(known) :]:
    axes.set_axis_off()
  if known:
    panels[0].legend(fontsize="small")
  return figure


def shown(run: Any) -> Any:
  """Views of some training images, as the first step of an arm saw them.

  Args:
    run: the run; its first arm's views are drawn.

  Returns:
    The figure: a row an image, itself first.
  """
  config = run.config
  found = tables.load(config, run.data, lambda line: None)
  column = found.train["image"]
  images = np.asarray(getattr(column, "array", column)[:6])
  trained = [
    arm for arm in config.arms if LEARNERS[recipes.learner_of(arm)].trains
  ]
  name = recipes.settings(config, (trained or list(config.arms))[0]).views
  groups = views.make(
    config.data,
    name,
    jax.random.key(config.seed),
    jax.numpy.asarray(images),
    jax.numpy.arange(len(images)),
  )
  every = [np.asarray(view) for group in groups for view in group]
  figure = report.new_figure(1.2 * (1 + len(every)), 1.2 * len(images))
  panels = figure.subplots(len(images), 1 + len(every))
  for row, image in enumerate(images):
    columns = [image / 255.0, *(_pixels(config.data, v[row]) for v in every)]
    for axes, pixels in zip(panels[row], columns, strict=True):
      grey = pixels.shape[-1] == 1
      axes.imshow(
        pixels[..., 0] if grey else pixels,
        cmap="gray" if grey else None,
        vmin=0,
        vmax=1,
      )
      axes.set_axis_off()
  return figure


def _pixels(data, x):
  """Back from normalised ones."""
  return np.clip(x * np.array(data.std) + np.array(data.mean), 0, 1)
