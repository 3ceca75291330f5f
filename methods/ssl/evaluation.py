"""What a representation is worth, and whether it has collapsed."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax import metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.ssl import model, steps, views
from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.learners import Learner, Seen

PyTree = Any
# Images whose projections are watched: of tens of thousands of prototypes the
# scores of every test image would not fit.
_WATCHED = 4096


def observe(
  config: Config, variables: Mapping[str, PyTree], images: Array
) -> tuple[Float[Array, "b u v r"], Float[Array, "b r"]]:
  """Activations of an encoder's last stage, and their means, as in evaluation.

  Args:
    config: the configuration.
    variables: "params" and "batch_stats" of an arm's network, or of its encoder
      alone under the name "backbone".
    images: bytes (b, h, w, c).

  Returns:
    Maps, and h, pooled features.
  """
  params = variables["params"]["backbone"]
  stats = variables["batch_stats"].get("backbone", {})
  classes = params["head"]["kernel"].shape[-1]
  module = model.encoder(config.net, classes, dtype=config.dtype)
  x = views.plain(config.data, images)
  found = module.apply({"params": params, "batch_stats": stats}, x, train=False)
  return found.feature_map, found.pooled


def encode(
  config: Config, variables: Mapping[str, PyTree], images: Array
) -> Float[Array, "b r"]:
  """Representations of images, as they are judged.

  Args:
    config: the configuration.
    variables: see `observe`.
    images: bytes (b, h, w, c).

  Returns:
    h, pooled features.
  """
  return observe(config, variables, images)[1]


def features(config: Config) -> Callable[..., Float[Array, "n r"]]:
  """A pass over a column of images.

  Args:
    config: the configuration.

  Returns:
    `(variables, columns, *, axis_name) -> h` of every row, in order.
  """

  def one(variables, batch, *, axis_name=None):
    del axis_name
    return encode(config, variables, batch["image"])

  return pipeline.map_columns(one, config.score_batch_size)


def make_judge(
  config: Config,
  settings: Settings,
  learner: Learner,
  classes: int,
  *,
  fit: bool = True,
) -> Callable[..., dict[str, metrics.Mean]]:
  """Builds the evaluation of an arm.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.
    classes: how many; 0 measures the monitors alone.
    fit: whether there is a "probe".

  Returns:
    `(variables, {"bank": columns, "query": columns}, *, axis_name)` with, of
    the query: "knn", "probe" (L-BFGS on standardised features; fitted, as the
    neighbours are looked for, in the bank), "online" (the classifier trained
    beside), "rank" of the representation and, of the first 4,096 images, the
    monitors "z_spread", "z_std", "information".
  """
  judge = config.probe
  encoded, seen = features(config), _seen(config, settings, learner, classes)

  def run(variables, data, *, axis_name=None):
    query = data["query"]
    h = encoded(variables, query, axis_name=axis_name)
    watched = {name: column[:_WATCHED] for name, column in query.items()}
    found = steps.monitors(seen(variables, watched, axis_name=axis_name))
    found["rank"] = metrics.effective_rank(h)
    found = {name: metrics.mean(value) for name, value in found.items()}
    if not classes:
      return found
    bank = encoded(variables, data["bank"], axis_name=axis_name)
    known, label = data["bank"]["label"], query["label"]
    near = metrics.knn_scores(
      bank,
      known,
      h,
      classes=classes,
      neighbours=judge.neighbours,
      temperature=judge.temperature,
    )
    head = variables["params"]["backbone"]["head"]
    online = jnp.matmul(h, head["kernel"], precision="highest")
    logits = {"knn": near, "online": online + head["bias"][None]}
    if fit:
      probe = metrics.fit_probe(
        bank,
        known,
        classes=classes,
        penalties=penalties(judge.penalties),
        steps=judge.iterations,
      )
      logits["probe"] = probe.logits(h)
    right = {k: metrics.accuracy(v, label) for k, v in logits.items()}
    return {**right, **found}

  return run


def _seen(config, settings, learner, classes):
  """A pass of the whole network in evaluation mode."""
  module = model.network(config, settings, learner, classes)

  def one(variables, batch, *, axis_name=None):
    del axis_name
    x = views.plain(config.data, batch["image"])
    found = module.apply(variables, x, train=False)
    return tuple(found)

  whole = pipeline.map_columns(one, config.score_batch_size)

  def seen(variables, columns, *, axis_name=None):
    kept = {"params": variables["params"]}
    kept["batch_stats"] = variables["batch_stats"]
    return Seen(*whole(kept, columns, axis_name=axis_name))

  return seen


def penalties(number: int) -> tuple[float, ...]:
  """L2 weights, evenly over the decades of `metrics.PENALTIES`.

  Args:
    number: how many; one alone is 1.

  Returns:
    The weights.
  """
  if number == 1:
    return (1.0,)
  low, high = np.log10(metrics.PENALTIES[0]), np.log10(metrics.PENALTIES[-1])
  return tuple(float(x) for x in np.logspace(low, high, number))


def accuracy_of(
  config: Config,
) -> Callable[..., dict[str, metrics.Mean]]:
  """The evaluation of a linear probe by SGD.

  Args:
    config: the configuration.

  Returns:
    `(product, columns, *, axis_name) -> {"linear": Mean}`.
  """
  encoded = features(config)

  def run(product, data, *, axis_name=None):
    h = encoded(product["encoder"], data, axis_name=axis_name)
    logits = jnp.matmul(h, product["kernel"], precision="highest")
    logits = logits + product["bias"][None]
    return {"linear": metrics.accuracy(logits, data["label"])}

  return run
