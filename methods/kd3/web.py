"""What the simulated web holds, which the teacher has a say in."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from kd_jax import experiment
from kd_jax.datasets import pipeline
from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import Config

PyTree = Any


def find_web(
  config: Config,
  quota: int,
  relevant: int,
  products: experiment.Products,
  data: PyTree,
  seed: Any,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
  """Balances the web as a query per class would.

  Of the irrelevant images, m stay per class that the teacher takes them for,
  with m the quota or, if that is less, how many the rarest class has.

  Args:
    config: the method's configuration.
    quota: irrelevant images per class at most; 0 keeps everything.
    relevant: how many images are relevant; they all stay.
    products: the teacher.
    data: "web" and "val".
    seed: not used: the images stand in random order already.

  Returns:
    "index" (rows of the web's columns that are on it, padded to a size that
    does not depend on the teacher), "count" (how many are not padding) and
    "teacher_accuracy" (on the validation images; 1 without original ones); and
    what is logged.
  """
  del seed
  teacher, web = products["teacher"], data["web"]
  classes = teacher["params"]["head"]["kernel"].shape[-1]

  def predict(variables, batch, *, axis_name=None):
    del axis_name  # Rows are judged one by one.
    x = inputs.prepare(config.data, batch["image"])
    return model.teacher_predict(config, variables, x).logits.argmax(-1)

  classify = pipeline.map_columns(predict, config.score_batch_size)
  accuracy = jnp.float32(1.0)  # Not known without original images.
  if "label" in data["val"]:
    right = classify(teacher, data["val"]) == data["val"]["label"]
    accuracy = right.mean(dtype=jnp.float32)
  n = web["image"].shape[0]
  product = {
    "index": jnp.arange(n, dtype=jnp.int32),
    "count": jnp.int32(n),
    "teacher_accuracy": accuracy,
  }
  known = {"teacher_accuracy": accuracy} if "label" in data["val"] else {}
  if not quota:
    return product, {"images": product["count"], **known}
  keep = balance(classify(teacher, web), web["relevant"], quota, classes)
  size = min(n, relevant + quota * classes)
  order = jnp.argsort(~keep, stable=True)
  product["index"] = order[:size].astype(jnp.int32)
  product["count"] = keep.sum().astype(jnp.int32)
  share = (web["relevant"] & keep).sum() / product["count"]
  logged = {"images": product["count"], "share_relevant": share}
  # For the claim that a selection holds them at twice this share.
  return product, {**logged, "twice_share_relevant": 2 * share}


def balance(
  predicted: Int[Array, "n"],
  relevant: Bool[Array, "n"],
  quota: int,
  classes: int,
) -> Bool[Array, "n"]:
  """Keeps all relevant images, and equally many others of every class.

  Args:
    predicted: the class that each image is taken for.
    relevant: which images are relevant.
    quota: irrelevant images per class at most.
    classes: how many classes there are.

  Returns:
    Which images are kept: of each class's others the first ones.
  """
  other = jax.nn.one_hot(predicted, classes, dtype=jnp.int32)
  other = other * ~relevant[:, None]
  m = jnp.minimum(other.sum(0).min(), quota)
  rank = jnp.take_along_axis(other.cumsum(0), predicted[:, None], 1)[:, 0]
  return relevant | (rank <= m)
