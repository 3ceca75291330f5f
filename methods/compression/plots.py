"""Accuracy against what a network takes: bytes, and time."""

from collections.abc import Mapping
from typing import Any

from kd_jax import report

_AXES = {
  "pareto_bytes": ("bytes", "bytes of the file"),
  "pareto_latency": ("ms_batch_128", "ms at batch 128, on this device"),
  "pareto_macs": ("macs", "multiply-adds of an image"),
}


def plots(run: Any) -> Mapping[str, Any]:
  """A figure for each currency that the run has numbers of.

  Args:
    run: a finished run.

  Returns:
    Figures by name.
  """
  found = {}
  for name, (metric, title) in _AXES.items():
    points = {
      arm: (run.metrics[f"{arm}.{metric}"], run.metrics[f"{arm}.test_accuracy"])
      for arm in run.config.arms
      if run.metrics.get(f"{arm}.{metric}")
      and f"{arm}.test_accuracy" in run.metrics
    }
    if points:
      found[name] = pareto(points, title)
  return found


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
  """What no other point is better than in both: less, and more accurate.

  Args:
    points: (cost, accuracy) by name.

  Returns:
    Their names, the cheapest first.
  """
  found: list[str] = []
  best = float("-inf")
  for name in sorted(points, key=lambda n: (points[n][0], -points[n][1])):
    if points[name][1] > best:
      found.append(name)
      best = points[name][1]
  return found


def pareto(points: Mapping[str, tuple[float, float]], title: str) -> Any:
  """Costs against accuracies, with the frontier.

  Args:
    points: (cost, accuracy) by name.
    title: of the cost.

  Returns:
    The figure.
  """
  figure = report.new_figure(8, 5)
  axes = figure.subplots()
  edge = frontier(points)
  for name, (x, y) in points.items():
    colour = "tab:blue" if name in edge else "tab:gray"
    axes.plot(x, 100 * y, "o", color=colour)
    axes.annotate(
      name, (x, 100 * y), xytext=(4, 3), textcoords="offset points", fontsize=7
    )
  axes.plot(
    [points[n][0] for n in edge],
    [100 * points[n][1] for n in edge],
    color="tab:blue",
    alpha=0.5,
    drawstyle="steps-post",
  )
  axes.set_xscale("log")
  axes.set(xlabel=title, ylabel="test accuracy, %")
  return figure
