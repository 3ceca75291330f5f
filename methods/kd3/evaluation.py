"""How good a network is, and how far a change of style moves its features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax import accel, augment, metrics
from kd_jax.methods.kd3 import model
from kd_jax.methods.kd3.config import Config


def make_eval_step(
  config: Config, predict: Callable[..., model.Prediction]
) -> Callable[..., dict[str, metrics.Mean]]:
  """Builds an evaluation of one batch: accuracy, and under shifts of style.

  "styled" images have the statistics of a random partner of the batch, whole
  (`augment.shift_style`); "shifted" ones are the batch's own column of that
  name, where there is one. For either: the accuracy; the "distance" of pooled
  features to those of the clean images, 1 - cosine; and the "change", the
  Euclidean distance over the spread of the clean features about their mean, so
  that shrinking all features does not pass for invariance.

  Args:
    config: an arm's configuration.
    predict: `(config, product, x) -> Prediction`.

  Returns:
    `eval_step(product, batch, *, axis_name=None) -> {name: Mean}`, summed.
  """

  def eval_step(product, batch, *, axis_name=None):
    where, label = batch["where"], batch["label"]
    x = model.prepare(config.data, batch["image"])
    clean = predict(config, product, x)
    teacher = product.get("teacher", product)
    agreed = model.teacher_predict(config, teacher, x).logits.argmax(-1)
    found = {
      "accuracy": metrics.accuracy(clean.logits, label, where),
      "agreement": metrics.accuracy(clean.logits, agreed, where),
    }
    # The place of the batch among all, the same on every device.
    first = batch["index"][0] - batch["row"][0]
    key = jax.random.fold_in(jax.random.key(0), first)
    others = {
      "styled": augment.shift_style(
        key, x, batch["row"], where=where, axis_name=axis_name
      )
    }
    if "shifted" in batch:
      others["shifted"] = model.prepare(config.data, batch["shifted"])
    for name, other in others.items():
      seen = predict(config, product, other)
      found[f"{name}_accuracy"] = metrics.accuracy(seen.logits, label, where)
      moved = _moved(clean.pooled, seen.pooled, where, axis_name)
      found |= {f"{name}_{k}": v for k, v in moved.items()}
    return accel.sum(found, axis_name)

  return eval_step


def _moved(f, g, where, axis_name) -> dict[str, metrics.Mean]:
  """How far features moved, by angle and by length."""
  length = jnp.linalg.norm(f, axis=-1) * jnp.linalg.norm(g, axis=-1)
  cosine = (f * g).sum(-1) / jnp.maximum(length, 1e-12)
  kept = where[:, None]
  total, count = accel.sum(
    (jnp.where(kept, f, 0).sum(0), where.sum(dtype=jnp.float32)), axis_name
  )
  center = total / jnp.maximum(count, 1)
  spread = jnp.linalg.norm(f - center[None], axis=-1)
  moved = metrics.mean(jnp.linalg.norm(f - g, axis=-1), where).total
  return {
    "distance": metrics.mean(1 - cosine, where),
    "change": metrics.Mean(moved, metrics.mean(spread, where).total),
  }
