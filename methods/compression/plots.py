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
  """Costs against errors, both on scales of powers, with the frontier.

  Args:
    points: (cost, accuracy) by name.
    title: of the cost.

  Returns:
    The figure.
  """
  figure = report.new_figure(9, 6)
  axes = figure.subplots()
  edge = frontier(points)
  # A network without an error would have no place on such a scale.
  drawn = {n: (x, max(100 * (1 - y), 0.01)) for n, (x, y) in points.items()}
  for name, place in drawn.items():
    best = name in edge
    axes.plot(*place, "o", color="tab:blue" if best else "tab:gray")
    axes.annotate(
      name,
      place,
      xytext=(4, 3),
      textcoords="offset points",
      fontsize=8 if best else 6,
      color="black" if best else "gray",
    )
  axes.plot(
    *zip(*(drawn[n] for n in edge), strict=True),
    color="tab:blue",
    alpha=0.5,
    drawstyle="steps-post",
  )
  axes.set(xscale="log", yscale="log")
  axes.yaxis.set_major_formatter("{x:g}")
  axes.yaxis.set_minor_formatter("{x:g}")
  axes.set(xlabel=title, ylabel="test error, %")
  return figure
