"""The figures of a finished run: what was selected, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.kd3 import data as tables

Rows = Sequence[Mapping[str, Any]]
GRID = (6, 12)


def plots(run: Any) -> dict[str, Any]:
  """Draws what there is to see of a run.

  Args:
    run: a finished run: `config`, `metrics`, `products`, `rows()` and `data`.

  Returns:
    Figures by file stem: "arms", and "selection" and "kept_and_thrown" if the
    method itself was among the arms and selected anything.
  """
  names = ("teacher", *run.config.arms)
  if run.config.teacher.file:  # A given teacher is not evaluated anew.
    names = run.config.arms
  found = {"arms": arms(run.metrics, names)}
  rows = [
    row for row in run.rows() if row["kind"] == "epoch" and row["arm"] == "kd3"
  ]
  if rows:
    share = run.metrics.get("web.share_relevant")
    found["selection"] = selection(rows, share)
    config = run.config
    web = tables.load(config.data, config.seed, run.data, lambda line: None).web
    found["kept_and_thrown"] = kept_and_thrown(
      web["image"], run.products["kd3.student"], int(run.metrics["web.images"])
    )
  return found


def arms(metrics: Mapping[str, float], names: Sequence[str]) -> Any:
  """Bars of test accuracy, as the images are and in changed styles.

  Args:
    metrics: "arm.metric" to number.
    names: the arms, in order.

  Returns:
    The figure.
  """
  figure = report.new_figure(max(6.0, 1.5 + 1.1 * len(names)), 4)
  axes = figure.subplots()
  kinds = {
    "test images": "test_accuracy",
    "in another image's style": "test_styled_accuracy",
    "in the web's style": "test_shifted_accuracy",
    # What is measured without original images.
    "as the teacher": "test_agreement",
  }
  kinds = {
    label: metric
    for label, metric in kinds.items()
    if f"{names[0]}.{metric}" in metrics
  }
  if len(kinds) > 1:
    kinds.pop("as the teacher")
  width = 0.8 / len(kinds)
  lowest = 1.0
  for i, (label, metric) in enumerate(kinds.items()):
    heights = [metrics[f"{name}.{metric}"] for name in names]
    lowest = min(lowest, *heights)
    axes.bar(np.arange(len(names)) + i * width, heights, width, label=label)
  axes.set_xticks(np.arange(len(names)) + 0.4 - width / 2, names, rotation=20)
  axes.set_ylim(max(0.0, lowest - 0.1), 1.0)
  axes.set_ylabel("share of images")
  axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(kinds))
  return figure


def selection(rows: Rows, pool_share: float | None) -> Any:
  """How the selection changed: classes, thresholds, images, relevance.

  Args:
    rows: the epochs' records.
    pool_share: the share of relevant images on the whole web, if known.

  Returns:
    The figure, of four panels.
  """
  figure = report.new_figure(10, 6)
  panels = figure.subplots(2, 2).ravel()
  epochs = np.arange(1, len(rows) + 1)
  titles = {
    "n_c": "images per predicted class",
    "tau_c": "threshold per class",
    "kept": "images kept per class",
  }
  for axes, (name, title) in zip(panels, titles.items(), strict=False):
    values = np.array([row[name] for row in rows])
    for c in range(values.shape[1]):
      axes.plot(epochs, values[:, c], label=f"class {c}")
    axes.set_title(title)
  if len(rows[0]["n_c"]) <= 10:
    panels[0].legend(fontsize="small")
  _shares(panels[3], epochs, rows, pool_share)
  for axes in panels:
    axes.set_xlabel("epoch")
  return figure


def _shares(axes, epochs, rows, pool_share):
  axes.plot(epochs, [row["alpha"] for row in rows], label="alpha (teacher)")
  if "share_relevant" in rows[0]:
    shares = [row["share_relevant"] for row in rows]
    axes.plot(epochs, shares, label="relevant, of the selected")
  if pool_share is not None:
    axes.axhline(pool_share, color="grey", ls=":", label="relevant, of the web")
  axes.set_ylim(0, 1)
  axes.set_title("who selects, and what")
  axes.legend(fontsize="small")


def kept_and_thrown(
  images: np.ndarray, product: Mapping[str, Any], count: int
) -> Any:
  """Images of the last selection beside images that it left.

  Args:
    images: the web's column.
    product: the student's.
    count: how many images are on the web.

  Returns:
    The figure.
  """
  rows = np.asarray(product["web"])[np.asarray(product["order"])]
  front = int(product["front"])
  parts = {"kept": rows[:front], "thrown": rows[front:count]}
  figure = report.new_figure(10, 3)
  for axes, (name, part) in zip(
    figure.subplots(1, 2), parts.items(), strict=True
  ):
    axes.imshow(_grid(images, part), cmap="gray", vmin=0, vmax=255)
    axes.set_title(f"{name} ({len(part)} images, the last selection)")
    axes.set_axis_off()
  return figure


def _grid(images, rows):
  down, across = GRID
  _, h, w, c = images.shape
  canvas = np.zeros((down, across, h, w, c), np.uint8)
  chosen = images[rows[: down * across]]
  canvas.reshape(-1, h, w, c)[: len(chosen)] = chosen
  whole = canvas.transpose(0, 2, 1, 3, 4).reshape(down * h, across * w, c)
  return whole[..., 0] if c == 1 else whole
