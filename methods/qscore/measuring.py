"""The phases that measure a representation, each one pure function.

They read a `checked.Table`'s arrays; what they find depends on the seed by the
random subsets alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from kd_jax import experiment, metrics
from kd_jax.methods.qscore import (
  compression,
  discovery,
  grid,
  heatmaps,
  masks,
  prediction,
  probes,
  scores,
  spectrum,
)
from kd_jax.methods.qscore.config import Config
from kd_jax.methods.qscore.validate import percent

Arrays = Mapping[str, Any]


def phases(
  config: Config,
  arm: str,
  classes: int,
  data: Arrays,
  features: Callable[[Arrays], Arrays] = lambda products: {},
) -> list[experiment.WholeRun]:
  """Everything that is measured of one representation.

  Args:
    config: the configuration.
    arm: whose it is.
    classes: how many there are.
    data: "train_labels", "test_labels", perhaps "test_correct", and
      "train_features" and "test_features" unless an earlier phase made these.
    features: from the products to these.

  Returns:
    Discovery, prediction, the grid of thresholds and bands, and compression.
  """
  runs = {
    "discover": make_discover(config, classes),
    "predict": make_predict(config, arm, classes),
    "grid": grid.make_grid(arm),
    "compress": make_compress(config, arm, classes),
  }

  def on(run):
    def whole(products, data, seed):
      return run(products, {**data, **features(products)}, seed)

    return whole

  return [
    experiment.WholeRun(name=name, arm=arm, run=on(run), data=data)
    for name, run in runs.items()
  ]


def make_discover(config: Config, classes: int):
  """Discovery on the training set, and what is known of what was found."""
  own = config.discovery
  tried = (own.eps,) if own.eps else discovery.EPSILONS

  def run(products, data, seed):
    del products, seed
    h = data["train_features"]
    found = discovery.discover(
      h, eps=tried, low=own.low, high=own.high, most_empty=own.most_empty
    )
    share = prediction.class_share(h, found, data["train_labels"], classes)
    ever = found.percent > 0
    values = {
      "eps": found.eps,
      "chosen": found.chosen.sum(),
      "silent": (~ever).sum(),
      "train_empty": found.empty,
      "train_active": found.active,
      "concentration": _concentration(h),
      "class_share": share.mean(where=found.chosen),
      "class_share_others": share.mean(where=ever & ~found.chosen),
      "class_share_80": (share > 0.8).mean(where=found.chosen),
      "rank": metrics.effective_rank(h),
      "alpha_req": spectrum.alpha_req(h),
      **{
        f"percent_{q}": jnp.percentile(found.percent, q)
        for q in (50, 75, 95, 100)
      },
    }
    return {**found._asdict(), "class_share": share}, values

  return run


def _concentration(h):
  """How much larger the largest column of unit representations is than all."""
  column = jnp.abs(metrics.unit_rows(h)).sum(0)
  return column.max() / jnp.maximum(column.mean(), 1e-12)


def found_by(products: Arrays, arm: str) -> discovery.Discovery:
  """An arm's discovery, out of its product.

  Args:
    products: of a run.
    arm: whose.

  Returns:
    The discovery.
  """
  product = products[f"{arm}.discover"]
  return discovery.Discovery(
    **{k: product[k] for k in discovery.Discovery._fields}
  )


def make_predict(config: Config, arm: str, classes: int):
  """A probe, and what each score says of where it is right."""
  band = {"low": config.discovery.low, "high": config.discovery.high}

  def run(products, data, seed):
    found = found_by(products, arm)
    h = data["test_features"]
    logits = _probe(config, data, classes).logits(metrics.unit_rows(h))
    hits = logits.argmax(-1) == data["test_labels"]
    right = data.get("test_correct", hits)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    every = scores.every_score(h, found, key, **band)
    every["margin"] = probes.margin(logits)
    every["confidence"] = jax.nn.softmax(logits).max(-1)
    said = prediction.report(h, found, right)
    values = {
      "probe_accuracy": hits.mean(),
      "mean_q": _mean_score(h, products, found),
      **said._asdict(),
      **prediction.judge_all(every, right),
    }
    return {"scores": every, "correct": right}, values

  return run


def _mean_score(h, products, found):
  """By what fine-tuning raised: D and the threshold before it, if there was."""
  if "base.discover" in products:
    found = found_by(products, "base")
  return metrics.q_score(h, found.chosen, eps=found.eps).mean()


def _probe(config, data, classes):
  h, labels = metrics.unit_rows(data["train_features"]), data["train_labels"]
  every, own = jnp.ones(h.shape[1], bool), config.probe
  if own.kind == "ridge":
    return probes.ridge(probes.normal(h, labels, classes), every, own.l2)
  from_to = np.logspace(-6, 2, own.penalties) if own.penalties > 1 else [1e-3]
  return metrics.fit_probe(
    h,
    labels,
    classes=classes,
    penalties=tuple(float(x) for x in from_to),
    steps=own.steps,
  )


def make_compress(config: Config, arm: str, classes: int):
  """Probes on subsets."""
  own = config.study

  def run(products, data, seed):
    study = compression.study(
      data["train_features"],
      data["train_labels"],
      data["test_features"],
      data["test_labels"],
      found_by(products, arm).percent,
      jax.random.fold_in(jax.random.key(seed), 2),
      classes=classes,
      kept=own.kept,
      draws=own.draws,
      l2=config.probe.l2,
    )
    values = {"full": study.full}
    kinds = study._asdict() | {"random": study.random.mean(1)}
    for kind in (*compression.KINDS, "pca", "random"):
      for place, share in enumerate(own.kept):
        values[f"kept_{percent(share)}_{kind}"] = kinds[kind][place]
    return study._asdict(), values

  return run


def make_interpret(config: Config, arm: str):
  """Heatmaps of what stands out, and where they lie."""
  own = config.heat

  def run(products, data, seed):
    del seed
    found, maps = found_by(products, arm), data["test_maps"]
    taken = heatmaps.standing_out(maps, found, data["test_features"])
    size = data["test_core"].shape[1:]
    heat = heatmaps.heatmaps(maps, taken, size, own.combine)
    return where_heat_lies(config, arm, heat, products, data)

  return run


def where_heat_lies(
  config: Config,
  arm: str,
  heat: Float[Array, "n h w"],
  products: Arrays,
  data: Arrays,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """What a phase of heatmaps gives: the maps, and how they meet the masks.

  Args:
    config: the configuration.
    arm: whose.
    heat: of every test image.
    products: of the arm's earlier phases.
    data: "test_core" and "test_spurious" (n, h, w); with "masked_image" they
      are of images that no probe has judged.

  Returns:
    The product and its measures.
  """
  right = None
  if "masked_image" not in data:
    right = products[f"{arm}.predict"]["correct"]
  values = masks.interpretability(
    heat,
    data["test_core"],
    data["test_spurious"],
    right,
    region=config.heat.region,
    threshold=config.heat.threshold,
  )
  return {"heat": heat.astype(jnp.float16)}, values


def score(
  variables: Arrays, h: Float[Array | np.ndarray, "n r"]
) -> tuple[Float[Array, "n"], Bool[Array, "n r"]]:
  """The Q-Score of representations, by a finished discovery.

  Args:
    variables: "chosen" (D) and "eps".
    h: representations of the same encoder.

  Returns:
    Scores, and the coordinates that they are made of.
  """
  q = metrics.q_score(h, variables["chosen"], eps=variables["eps"])
  active = metrics.highly_active(h, variables["eps"])
  return q, active & jnp.asarray(variables["chosen"])[None]
