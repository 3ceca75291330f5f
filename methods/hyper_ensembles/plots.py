"""Figures of a finished run: calibration, corruption, and where lambda went."""

import warnings
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.hyper_ensembles import corruptions, measures, plans
from kd_jax.methods.hyper_ensembles.arms import ARMS, NAMES, of_arm
from kd_jax.methods.hyper_ensembles.data import CORRUPTIONS


def plots(run: Any) -> dict[str, Any]:
  """The figures; and a warning if an ensemble's members do not differ.

  Args:
    run: a finished run.

  Returns:
    Figures by name: for each regime "reliability" (diagrams of its arms) and
    "severity" (box plots over kinds of corruption and seeds); "bounds" of what
    tuned itself.
  """
  warn_of_collapse(run.metrics)
  products = run.products
  arms = [a for a in run.config.arms if f"{a}.final" in products]
  found = {}
  for regime in dict.fromkeys(NAMES[a][0] for a in arms):
    own = [a for a in arms if NAMES[a][0] == regime]
    finals = {a: products[f"{a}.final"] for a in own}
    suffix = f"_{regime}" if regime else ""
    found[f"reliability{suffix}"] = reliability(finals)
    found[f"severity{suffix}"] = severity(finals)
  tuned = [a for a in arms if ARMS[NAMES[a][1]].kind in ("hyper", "stn")]
  if tuned:
    found["bounds"] = bounds(run.config, products, tuned)
  return found


def warn_of_collapse(metrics: Any) -> None:
  """Warns of ensembles that are one function.

  Args:
    metrics: of a run, "arm.metric" to value.
  """
  for name, value in metrics.items():
    arm, _, metric = name.rpartition(".")
    if metric == "collapsed" and value > 0:
      warnings.warn(
        f"{arm}: members answer alike (disagreement below "
        f"{measures.COLLAPSED:g}) in {100 * value:.0f} % of the seeds: it is a "
        "single network at the price of an ensemble",
        stacklevel=2,
      )


def reliability(finals: Any) -> Any:
  """Accuracy against confidence, all seeds in one diagram for each arm.

  Args:
    finals: products of "final" by arm, with the bins.

  Returns:
    The figure; bars are shaded by how many answers they hold.
  """
  columns = min(4, len(finals))
  rows = -(-len(finals) // columns)
  figure = report.new_figure(2.6 * columns, 2.6 * rows)
  axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
  for place, (arm, final) in zip(axes, finals.items(), strict=False):
    confidence, correct, count = (
      np.asarray(final[name]).sum(0)
      for name in ("confidence", "correct", "count")
    )
    there = count > 0
    bins = len(count)
    middle = (np.arange(bins) + 0.5) / bins
    height = np.divide(correct, count, out=np.zeros(bins), where=there)
    # Rounding may take float32 beyond 1.
    shade = np.minimum(0.2 + 0.8 * count / count.max(), 1.0)
    for x, y, a in zip(middle, height, shade, strict=True):
      place.bar(x, y, 1 / bins, color="tab:blue", alpha=float(a))
    place.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    gap = np.abs(correct - confidence).sum() / count.sum()
    place.set(title=f"{arm}, ECE {gap:.3f}", xlim=(0, 1), ylim=(0, 1))
    place.title.set_fontsize(8)
  for place in axes[len(finals) :]:
    place.set_axis_off()
  return figure


def severity(finals: Any) -> Any:
  """NLL, accuracy and ECE under each severity, a box for each arm.

  Args:
    finals: products of "final" by arm.

  Returns:
    The figure; a box is over kinds of corruption and seeds.
  """
  figure = report.new_figure(4 + 1.2 * len(finals), 9)
  names = {"c_nll": "NLL", "c_accuracy": "accuracy", "c_ece": "ECE"}
  levels = corruptions.SEVERITIES
  width = 0.8 / len(finals)
  for axes, (name, label) in zip(
    figure.subplots(3, sharex=True), names.items(), strict=True
  ):
    for i, (arm, final) in enumerate(finals.items()):
      values = np.asarray(final[name])  # (seeds, kinds, severities)
      boxes = axes.boxplot(
        [values[..., s].ravel() for s in range(len(levels))],
        positions=[s + (i - (len(finals) - 1) / 2) * width for s in levels],
        widths=0.9 * width,
        patch_artist=True,
        manage_ticks=False,
        showfliers=False,
      )
      for box in boxes["boxes"]:
        box.set_facecolor(f"C{i % 10}")
      if axes.get_subplotspec().is_first_row():
        axes.plot([], [], color=f"C{i % 10}", linewidth=6, label=arm)
    axes.set_ylabel(label)
    axes.set_xticks(levels)
  figure.axes[0].legend(fontsize=7)
  kinds = np.asarray(next(iter(finals.values()))["c_nll"]).shape[1]
  known = CORRUPTIONS if kinds == len(CORRUPTIONS) else corruptions.KINDS
  figure.axes[-1].set_xlabel(f"severity ({', '.join(known)})")
  return figure


def bounds(config: Any, products: Any, arms: list[str]) -> Any:
  """Where the tuned intervals of lambda ended, of the first seed.

  Args:
    config: of the run.
    products: of the run.
    arms: those that tune themselves.

  Returns:
    The figure: an interval for each member, within the box in grey.
  """
  figure = report.new_figure(3.2 * len(arms) + 1, 4)
  panels = np.atleast_1d(figure.subplots(1, len(arms)))
  for axes, arm in zip(panels, arms, strict=True):
    space = plans.space_of(of_arm(config, arm))
    found = products[f"{arm}.train"].bounds
    low, high = (np.exp(np.asarray(x)[0, 0]) for x in found)  # (k, h)
    for j, ends in enumerate(zip(space.low, space.high, strict=True)):
      axes.plot([j, j], ends, color="0.85", lw=14)
      for k in range(len(low)):
        x = j + 0.2 * (k - (len(low) - 1) / 2)
        axes.plot([x, x], [low[k, j], high[k, j]], color=f"C{k}", lw=3)
    axes.set_yscale("log")
    axes.set_xticks(range(len(space.names)), space.names, rotation=60)
    axes.set_title(arm)
  return figure
