"""How good a network is, and how far a change of style moves its features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kd_jax import accel, augment, metrics
from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import Config


def make_eval_step(
  config: Config,
  predict: Callable[..., model.Prediction],
  *,
  shifts: bool = True,
) -> Callable[..., dict[str, metrics.Mean]]:
  """Builds an evaluation of one batch: accuracy, and under shifts of style.

  "styled" images have the statistics of a random partner of the batch, whole
  (`augment.shift_style`); "shifted" ones are the batch's own column of that
  name, where there is one. For either: the accuracy; the "distance" of pooled
  features to those of the clean images, 1 - cosine; and the "change", the
  Euclidean distance over the spread of the clean features about their mean, so
  that shrinking all features does not pass for invariance. Without a "label"
  there is no accuracy, and the agreement with the teacher tells.

  Args:
    config: an arm's configuration.
    predict: `(config, product, x) -> Prediction`.
    shifts: whether styled and shifted images are evaluated too.

  Returns:
    `eval_step(product, batch, *, axis_name=None) -> {name: Mean}`, summed.
  """

  def eval_step(product, batch, *, axis_name=None):
    where, label = batch["where"], batch.get("label")
    x = inputs.prepare(config.data, batch["image"])
    clean = predict(config, product, x)
    teacher = product.get("teacher", product)
    agreed = model.teacher_predict(config, teacher, x).logits.argmax(-1)
    found = {"agreement": metrics.accuracy(clean.logits, agreed, where)}
    if label is not None:
      found["accuracy"] = metrics.accuracy(clean.logits, label, where)
    others = _others(config, x, batch, axis_name) if shifts else {}
    for name, other in others.items():
      seen = predict(config, product, other)
      if label is not None:
        right = metrics.accuracy(seen.logits, label, where)
        found[f"{name}_accuracy"] = right
      moved = _moved(clean.pooled, seen.pooled, where, axis_name)
      found |= {f"{name}_{k}": v for k, v in moved.items()}
    return accel.sum(found, axis_name)

  return eval_step


def _others(config, x, batch, axis_name):
  """The batch's images in other styles."""
  # The place of the batch among all, the same on every device.
  first = batch["index"][0] - batch["row"][0]
  key = jax.random.fold_in(jax.random.key(0), first)
  styled = augment.shift_style(
    key, x, batch["row"], where=batch["where"], axis_name=axis_name
  )
  if "shifted" not in batch:
    return {"styled": styled}
  return {
    "styled": styled,
    "shifted": inputs.prepare(config.data, batch["shifted"]),
  }


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


def selection_shares(product, data, *, axis_name=None):
  """What of the selections was relevant, from the product's history.

  A selection of nothing counts: no image, and a share of 0.

  Args:
    product: a student's.
    data: nothing.
    axis_name: not used: the history is the same on every device.

  Returns:
    "first_share" and "last_share" of the first and the last selection,
    "mean_share" over all selections, and "mean_images", how many were selected.
  """
  del data, axis_name
  share = product["history"]["relevant"]
  images = product["history"]["selected"]
  done = images >= 0  # Before its selection an epoch has -1.
  last = jnp.argmax(jnp.where(done, jnp.arange(done.shape[0]), -1))
  return {
    "first_share": metrics.mean(share[0]),
    "last_share": metrics.mean(share[last]),
    "mean_share": metrics.mean(share, done),
    "mean_images": metrics.mean(images, done),
  }
