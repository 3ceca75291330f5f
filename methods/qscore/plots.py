"""What there is to see of a representation."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax import metrics, report
from kd_jax.methods.qscore import encoders, files, measuring
from kd_jax.methods.qscore import grid as thresholds
from kd_jax.methods.qscore.config import Config
from kd_jax.methods.ssl import data as tables

Products = Mapping[str, Any]
# Of several arms these are drawn.
SHOWN = ("own", "base", "continued", "qscore")
DRAWN = ("q", "q_all", "v1", "norm", "random", "margin")
STYLES = {
  "middle": "o-",
  "random": "s--",
  "lower": "v:",
  "upper": "^:",
  "pca": "x-.",
  "weights": "d-.",
}


def plots(run: Any) -> dict[str, Any]:
  """Draws a run.

  Args:
    run: a finished run: `config`, `products`, `metrics`, `data`.

  Returns:
    Figures by file stem, with the arm's name where there are several: "profile"
    (A with the band), "risk" (risk against coverage), "compression", "grid"
    and, with images, "best", "worst" and, with maps, "heat".
  """
  config, products = run.config, run.products
  found = {}
  several = len(config.arms) > 1
  for arm in config.arms:
    if several and arm not in SHOWN:
      continue
    own = {
      "profile": profile(config, products, arm),
      "risk": risk(products, arm),
      "compression": compression(products, arm),
      "grid": grid(run.metrics, arm),
      **_images(config, products, arm, run.data),
    }
    end = f"-{arm}" if several else ""
    found |= {f"{name}{end}": figure for name, figure in own.items()}
  return found


def profile(config: Config, products: Products, arm: str) -> Any:
  """How often each feature stands out, in the order of that, and the band.

  Args:
    config: the configuration.
    products: of the run.
    arm: whose.

  Returns:
    The figure.
  """
  found = measuring.found_by(products, arm)
  percent = np.sort(found.percent)
  place = 100 * np.arange(len(percent)) / max(1, len(percent) - 1)
  figure = report.new_figure()
  axes = figure.subplots()
  axes.plot(place, percent)
  low, high = config.discovery.low, config.discovery.high
  axes.axvspan(low, high, alpha=0.15, color="tab:green", label="discriminative")
  silent = int((percent == 0).sum())
  axes.set(
    xlabel="percentile of features",
    ylabel="examples out of which it stands, %",
    title=f"{len(percent)} features, {silent} silent, "
    f"threshold {float(found.eps):g}",
  )
  axes.legend()
  return figure


def risk(products: Products, arm: str) -> Any:
  """The error that is left where the lowest scores are not answered.

  Args:
    products: of the run.
    arm: whose.

  Returns:
    The figure.
  """
  product = products[f"{arm}.predict"]
  wrong = (~np.asarray(product["correct"])).astype(np.float32)
  figure = report.new_figure()
  axes = figure.subplots()
  for name in DRAWN:
    curve = metrics.risk_coverage(-np.asarray(product["scores"][name]), wrong)
    axes.plot(curve.coverage, curve.risk, label=name)
  axes.set(xlabel="share answered", ylabel="error among these", ylim=(0, None))
  axes.legend()
  return figure


def compression(products: Products, arm: str) -> Any:
  """Accuracy against what is kept.

  Args:
    products: of the run.
    arm: whose.

  Returns:
    The figure.
  """
  study = products[f"{arm}.compress"]
  kept = 100 * np.asarray(study["kept"])
  figure = report.new_figure()
  axes = figure.subplots()
  axes.axhline(float(study["full"]), color="gray", label="all")
  for kind, style in STYLES.items():
    values = np.asarray(study[kind])
    if kind == "random":
      low, high = values.min(1), values.max(1)
      axes.fill_between(kept, low, high, alpha=0.2, color="tab:orange")
      values = values.mean(1)
    axes.plot(kept, values, style, label=kind)
  axes.set(xlabel="features kept, %", ylabel="accuracy of a probe")
  axes.legend()
  return figure


def grid(numbers: Mapping[str, float], arm: str) -> Any:
  """AUROC over thresholds and bands.

  Args:
    numbers: the run's metrics.
    arm: whose.

  Returns:
    The figure.
  """
  names = [
    [f"{arm}.{thresholds.name(eps, band)}" for band in thresholds.BANDS]
    for eps in thresholds.EPSILONS
  ]
  values = np.array([[numbers[n] for n in row] for row in names], float)
  empty = np.array([[numbers[f"{n}_empty"] for n in row] for row in names])
  figure = report.new_figure(6, 4)
  axes = figure.subplots()
  shown = axes.imshow(values, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
  for (y, x), value in np.ndenumerate(values):
    text = f"{value:.3f}\n{empty[y, x]:.0%} empty"
    axes.text(x, y, text, ha="center", va="center", fontsize=8)
  bands = [f"{low} to {high}" for low, high in thresholds.BANDS]
  axes.set_xticks(range(len(bands)), bands)
  axes.set_yticks(range(len(names)), [f"{e:g}" for e in thresholds.EPSILONS])
  axes.set(xlabel="band, percentiles", ylabel="threshold", title="AUROC")
  figure.colorbar(shown)
  return figure


def _images(config, products, arm, data) -> dict[str, Any]:
  """The images with the highest and lowest scores, and their heatmaps."""
  images = _pictured(config, arm, data)
  if images is None:
    return {}
  product = products[f"{arm}.predict"]
  q = np.asarray(product["scores"]["q"])
  order = np.argsort(-q, kind="stable")
  shown = min(config.heat.shown, len(q))
  # Heat that is of other images than the scores.
  others = arm != "own" and config.heat.masks
  found = {}
  for name, rows in (("best", order[:shown]), ("worst", order[::-1][:shown])):
    heat = None
    if f"{arm}.interpret" in products and not others:
      heat = np.asarray(products[f"{arm}.interpret"]["heat"], np.float32)[rows]
    right = np.asarray(product["correct"])[rows]
    found[name] = pictures(images[rows], q[rows], right, heat)
  return found


def _pictured(config, arm, data):
  """The scored images, if there are any."""
  if arm == "own":
    if "features" not in data and config.features == "planted":
      return None
    return files.load(config, data).arrays.get("test_image")
  own = {k: v for k, v in data.items() if k == "images"}
  encoder = encoders.resolve(config).encoder
  return tables.load(encoder, own, lambda line: None).test["image"]


def pictures(images: Any, q: Any, right: Any, heat: Any = None) -> Any:
  """A row of images with their scores, and below it one of heatmaps.

  Args:
    images: (n, h, w, c), 0 to 255 or 0 to 1.
    q: their scores.
    right: whether a probe is right about each.
    heat: heatmaps (n, h, w), if there are any.

  Returns:
    The figure.
  """
  rows = 1 if heat is None else 2
  figure = report.new_figure(1.3 * len(images), 1.6 * rows)
  grid_axes = figure.subplots(rows, len(images), squeeze=False)
  images = np.asarray(images, np.float32)
  images = images / 255 if images.max() > 1 else images
  for i, image in enumerate(images):
    top = grid_axes[0, i]
    grey = image.shape[-1] == 1
    shown = image[..., 0] if grey else image
    top.imshow(shown, cmap="gray" if grey else None)
    word = "" if right[i] else ", wrong"
    top.set_title(f"{q[i]:.3f}{word}", fontsize=7)
    if heat is not None:
      grid_axes[1, i].imshow(shown, cmap="gray" if grey else None)
      grid_axes[1, i].imshow(heat[i], cmap="jet", alpha=0.5, vmin=0, vmax=1)
  for axes in grid_axes.ravel():
    axes.set_axis_off()
  return figure
