"""The figures of a finished run, as the paper draws them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.robust_mdp import control_plots, drawing, problems
from kd_jax.methods.robust_mdp.arms import ARMS, of_arm
from kd_jax.methods.robust_mdp.config import Config
from kd_jax.methods.robust_mdp.problems import label
from kd_jax.methods.robust_mdp.steps import draws_per_step

Products = Mapping[str, Any]
# Of a 95 % band around a mean.
BAND = 1.96


def plots(run: Any) -> dict[str, Any]:
  """Draws what there is to see of a run.

  Args:
    run: a finished run: `config`, `products`, `summary`.

  Returns:
    Figures by file stem: "gap" (Figs. 2 and 3), "error" (Figs. 4 and 7),
    "behaviour" (Fig. 8), "policy" for tasks on a grid, and "control".
  """
  config, products = run.config, run.products
  per_seed = run.summary.get("per_seed", {})
  found = control_plots.figures(per_seed)
  if _names(per_seed, "exact_"):
    found["gap"] = gap(per_seed)
  learned = [
    arm for arm in config.arms if "history" in products.get(f"{arm}.learn", {})
  ]
  if learned:
    found["error"] = errors(config, products, learned)
  swept = [arm for arm in learned if arm.startswith("behaviour_")]
  if len(swept) > 1:
    found["behaviour"] = behaviours(config, per_seed, swept)
  return found | drawing.policies(config, products)


def gap(per_seed: Mapping[str, Sequence[float]]) -> Any:
  """Robust less ordinary values, and the plug-in's error, against lam.

  Args:
    per_seed: "arm.metric" to one value a seed.

  Returns:
    The figure.
  """
  figure = report.new_figure(9, 4)
  left, right = figure.subplots(1, 2)
  for name in _names(per_seed, "exact_"):
    lams, values = _against_lam(per_seed, f"{name}.gap_lam_")
    left.loglog(lams, values.mean(1), "o-", label=name.removeprefix("exact_"))
  left.set(xlabel="lam", ylabel="max |V*_p - V*|", title="price of robustness")
  left.legend()
  lams, values = _against_lam(per_seed, "plug_in.final_error_lam_")
  if lams:
    _band(right, lams, values)
    right.set_xscale("log")
    right.set(xlabel="lam", ylabel="max |Q - Q*|", title="plug-in, its error")
  else:
    right.set_axis_off()
  return figure


def _names(per_seed, prefix):
  return list(
    dict.fromkeys(k.split(".")[0] for k in per_seed if k.startswith(prefix))
  )


def _against_lam(per_seed, prefix) -> tuple[list[float], np.ndarray]:
  """The weights in order, and (weights, seeds) of a metric."""
  found = {
    float(key.removeprefix(prefix).replace("_", ".")): values
    for key, values in per_seed.items()
    if key.startswith(prefix)
  }
  lams = sorted(found)
  return lams, np.array([found[lam] for lam in lams], np.float64)


def _band(axes, x, values, **how):
  """The mean over seeds (last axis), and its 95 % band; lost seeds left out."""
  good = np.isfinite(values)
  count = np.maximum(good.sum(-1), 1)
  kept = np.where(good, values, 0.0)
  mean = kept.sum(-1) / count
  away = np.where(good, values - mean[..., None], 0.0)
  spread = np.sqrt((away**2).sum(-1) / np.maximum(count - 1, 1))
  half = BAND * spread / np.sqrt(count)
  (line,) = axes.plot(x, mean, **how)
  axes.fill_between(
    x, mean - half, mean + half, color=line.get_color(), alpha=0.25, lw=0
  )


def samples_per_step(config: Config, arm: str) -> float:
  """Samples that a learner takes in a step, over all pairs.

  Args:
    config: the arm's configuration.
    arm: its name.

  Returns:
    The number: Algorithm 2's chunk, or draws x |S||A|.
  """
  kind, target, *_ = ARMS[arm]
  if kind == "trajectory":
    return config.chunk
  mdp = problems.load(config.environment, config.discount)
  return draws_per_step(config, target) * mdp.rewards.size


def errors(config: Config, products: Products, learned: Sequence[str]) -> Any:
  """Error against samples, a panel an arm, a line a weight.

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
    own, product = of_arm(config, arm), products[f"{arm}.learn"]
    samples = np.asarray(product["at"]) * samples_per_step(own, arm)
    history = np.asarray(product["history"], np.float64)
    weights = problems.weights(own, arm)
    for i, lam in enumerate(weights):
      name = "" if np.isinf(lam) else f"lam {lam:g}"
      _band(axes, samples[1:], history[:, i, 1:].T, label=name)
    axes.set(title=arm, xlabel="samples", ylabel="max |Q - Q*|")
    axes.set_xscale("log")
    axes.set_yscale("log")
    if len(weights) > 1:
      axes.legend(fontsize="x-small")
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
  axes.set_xscale("log")
  axes.set_yscale("log")
  axes.legend()
  return figure
