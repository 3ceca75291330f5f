"""The figures of a finished run, as the paper draws them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter

from kd_jax import report
from kd_jax.methods.robust_mdp import control_plots, drawing, problems
from kd_jax.methods.robust_mdp.arms import of_arm
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.curves import curve
from kd_jax.methods.robust_mdp.problems import label

Products = Mapping[str, Any]
# Of a 95 % band around a mean.
BAND = 1.96
# Fig. 4's right panel: the same learner with T' = 10, 50 and 100.
COLD = ("cold_10", "cold_50", "cold")


def plots(run: Any) -> dict[str, Any]:
  """Draws what there is to see of a run.

  Args:
    run: a finished run: `config`, `products`, `summary`.

  Returns:
    Figures by file stem: "gap" (Figs. 2 and 3), "error" (Figs. 4 and 7),
    "inner_steps" (Fig. 4, right), "behaviour" (Fig. 8), "policy" for
    tasks on a grid, and "control".
  """
  config, products = run.config, run.products
  per_seed = run.summary.get("per_seed", {})
  found = control_plots.figures(per_seed)
  if _names(per_seed, "exact_"):
    found["gap"] = gap(config, per_seed)
  learned = [
    arm for arm in config.arms if "history" in products.get(f"{arm}.learn", {})
  ]
  if learned:
    found["error"] = errors(config, products, learned)
  if set(COLD) <= set(learned):
    found["inner_steps"] = inner_steps(config, products)
  swept = [arm for arm in learned if arm.startswith("behaviour_")]
  if len(swept) > 1:
    found["behaviour"] = behaviours(config, per_seed, swept)
  return found | drawing.policies(config, products)


def gap(config: Config, per_seed: Mapping[str, Sequence[float]]) -> Any:
  """Robust less ordinary values, and the plug-in's error, against lam.

  Args:
    config: the run's configuration; the weights are its arms'.
    per_seed: "arm.metric" to one value a seed.

  Returns:
    The figure.
  """
  figure = report.new_figure(9, 4)
  left, right = figure.subplots(1, 2)
  weights = {lam for arm in config.arms for lam in of_arm(config, arm).lams}
  for name in _names(per_seed, "exact_"):
    lams, values = _against_lam(weights, per_seed, f"{name}.gap_lam_")
    left.plot(lams, values.mean(1), "o-", label=name.removeprefix("exact_"))
  _log(left)
  left.set(xlabel="lam", ylabel="max |V*_p - V*|", title="price of robustness")
  left.legend()
  lams, values = _against_lam(weights, per_seed, "plug_in.final_error_lam_")
  if lams:
    _band(right, lams, values, marker="o")
    _log(right, y=False)
    right.set(xlabel="lam", ylabel="max |Q - Q*|", title="plug-in, its error")
  else:
    right.set_axis_off()
  return figure


def _names(per_seed, prefix):
  return list(
    dict.fromkeys(k.split(".")[0] for k in per_seed if k.startswith(prefix))
  )


def _against_lam(weights, per_seed, prefix) -> tuple[list[float], np.ndarray]:
  """The weights that have a metric, in order, and its (weights, seeds)."""
  lams = [lam for lam in sorted(weights) if prefix + label(lam) in per_seed]
  values = [per_seed[prefix + label(lam)] for lam in lams]
  return lams, np.array(values, np.float64)


def _band(axes, x, values, **how):
  """The mean over seeds (last axis), and its 95 % band; lost seeds left out.

  Where every seed is lost there is no point.
  """
  good = np.isfinite(values)
  seeds = good.sum(-1)
  count = np.maximum(seeds, 1)
  kept = np.where(good, values, 0.0)
  mean = np.where(seeds > 0, kept.sum(-1) / count, np.nan)
  away = np.where(good, values - mean[..., None], 0.0)
  spread = np.sqrt((away**2).sum(-1) / np.maximum(count - 1, 1))
  half = BAND * spread / np.sqrt(count)
  (line,) = axes.plot(x, mean, **how)
  axes.fill_between(
    x, mean - half, mean + half, color=line.get_color(), alpha=0.25, lw=0
  )


def _log(axes, x=True, y=True):
  """Log scales where something can be drawn on them, else a word that says so.

  The decades alone are labelled: the labels between them run into each other.
  """
  points = [np.asarray(line.get_data()) for line in axes.get_lines()]
  both = np.concatenate(points, 1) if points else np.empty((2, 0))
  both = both[:, np.isfinite(both).all(0) & (both > 0).all(0)]
  if not both.size:
    axes.text(0.5, 0.5, "no curve", ha="center", transform=axes.transAxes)
    return
  scaled = [(axes.xaxis, axes.set_xscale, x), (axes.yaxis, axes.set_yscale, y)]
  for (axis, scale, wanted), row in zip(scaled, both, strict=True):
    if wanted:
      scale("log")
      # Within a decade the labels between are all there are.
      if row.max() >= 10 * row.min():
        axis.set_minor_formatter(NullFormatter())


def errors(config: Config, products: Products, learned: Sequence[str]) -> Any:
  """Error against samples, a panel an arm, a line a weight.

  The ordinary learner stands beside Algorithm 1 too, as in Fig. 4.

  Args:
    config: the run's configuration.
    products: its products.
    learned: the arms with a curve.

  Returns:
    The figure.
  """
  across = min(3, len(learned))
  down = -(-len(learned) // across)
  figure = report.new_figure(4.5 * across, 3.4 * down)
  panels = figure.subplots(down, across, squeeze=False).ravel()
  for axes in panels[len(learned) :]:
    axes.set_axis_off()
  for axes, arm in zip(panels, learned, strict=False):
    weights = problems.weights(of_arm(config, arm), arm)
    for i, lam in enumerate(weights):
      name = "" if np.isinf(lam) else f"lam {lam:g}"
      _band(axes, *curve(config, products, arm, i), label=name)
    beside = arm == "algorithm_1" and "q_learning" in learned
    if beside:
      ordinary = curve(config, products, "q_learning", 0)
      _band(axes, *ordinary, label="q_learning", color="black", ls="--")
    axes.set(title=arm, xlabel="samples", ylabel="max |Q - Q*|")
    _log(axes)
    if len(weights) > 1 or beside:
      axes.legend(fontsize="x-small")
  return figure


def inner_steps(config: Config, products: Products) -> Any:
  """T' compared at the largest weight (Fig. 4, right).

  Args:
    config: the run's configuration.
    products: its products, those of `COLD` among them.

  Returns:
    The figure.
  """
  figure = report.new_figure()
  axes = figure.subplots()
  for arm in COLD:
    own = of_arm(config, arm)
    samples, values = curve(config, products, arm, len(own.lams) - 1)
    _band(axes, samples, values, label=f"T' = {own.inner_steps}")
  title = f"cold starts at lam {max(config.lams):g}"
  axes.set(title=title, xlabel="samples", ylabel="max |Q - Q*|")
  _log(axes)
  axes.legend()
  return figure


def behaviours(
  config: Config,
  per_seed: Mapping[str, Sequence[float]],
  swept: Sequence[str],
) -> Any:
  """Algorithm 2's final error against the chance of the first action.

  Args:
    config: the run's configuration.
    per_seed: "arm.metric" to one value a seed.
    swept: the arms, one a behaviour.

  Returns:
    The figure.
  """
  owns = {arm: of_arm(config, arm) for arm in swept}
  swept = sorted(swept, key=lambda arm: owns[arm].first_action)
  figure = report.new_figure()
  axes = figure.subplots()
  for lam in owns[swept[0]].lams:
    key = f"final_error_lam_{label(lam)}"
    values = np.array([per_seed[f"{arm}.{key}"] for arm in swept], np.float64)
    chances = [owns[arm].first_action for arm in swept]
    _band(axes, chances, values, marker="o", label=f"lam {lam:g}")
  axes.set(xlabel="chance of the first action", ylabel="max |Q - Q*|")
  _log(axes)
  axes.legend()
  return figure
