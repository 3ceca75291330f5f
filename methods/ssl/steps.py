"""The one training step of all methods.

Views are made on the device and go through the online network, the global ones
through the slow network as well; a method's terms and the online probe's make
the loss; after the update the slow network follows (MoCo's does before), and
the method's memory (queue, centre) is what the forward pass has left in
`model_state`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from kd_jax import metrics, optim
from kd_jax.losses.inputs import blank
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl import model, views
from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.learners import Learner, Outputs, Seen
from kd_jax.methods.ssl.state import SSLState, follows, optimizer
from kd_jax.training import step as stepping

PyTree = Any


def forward(
  config: Config,
  settings: Settings,
  learner: Learner,
  params: PyTree,
  state: SSLState,
  batch: Mapping[str, Array],
  key: Array,
  *,
  axis_name: str | None = None,
) -> tuple[Outputs, PyTree]:
  """Both networks on the views of a batch.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.
    params: the online network's.
    state: the slow network, running statistics and memory.
    batch: "image" (uint8) and "row", perhaps "where" and "label".
    key: the step's key.
    axis_name: the devices over which the batch is spread.

  Returns:
    The outputs, and the new statistics and memory.
  """
  where, kept = batch.get("where"), state.model_state
  head = params["backbone"]["head"]
  classes = head["kernel"].shape[-1] if "label" in batch else 0
  groups = views.make(
    config.data,
    settings.views,
    key,
    batch["image"],
    batch["row"],
    most=learner.views,
  )
  build = functools.partial(
    model.network, config, settings, learner, classes, axis_name=axis_name
  )
  through = functools.partial(
    model.look, joint=settings.joint_statistics, where=where
  )
  online = {"params": params, "batch_stats": kept["online"]}
  seen, moved = through(build(), online, groups)
  new, targets = {"online": moved}, seen[: min(2, len(seen))]
  if follows(learner, settings):
    slow = {"params": state.slow, "batch_stats": kept["slow"]}
    targets, new["slow"] = jax.lax.stop_gradient(
      through(build(slow=True), slow, [groups[0][:2]])
    )
  outputs = Outputs(
    views=seen,
    targets=targets,
    prototypes=_prototypes(params, learner),
    memory=jax.lax.stop_gradient(kept["memory"]),
    progress=state.step.astype(jnp.float32) / config.steps,
    monitors=monitors(seen[0], where=where, axis_name=axis_name),
    online=_online(head, seen) if classes else None,
    label=batch.get("label"),
  )
  found = learner.remember(
    outputs.memory,
    jax.lax.stop_gradient(outputs),
    settings,
    axis_name=axis_name,
  )
  return outputs, {**new, "memory": found}


def monitors(
  seen: Seen, *, where: Array | None = None, axis_name: str | None = None
) -> dict[str, Array]:
  """What shows a collapse, of all devices' rows.

  Args:
    seen: of one view.
    where: the rows that count.
    axis_name: the devices.

  Returns:
    "z_spread" (1 where projections are even over the sphere, 0 where they are
    all the same), "z_std" (as they are) and, of prototypes, "information".
  """
  how = {"where": where, "axis_name": axis_name}
  z = jax.lax.stop_gradient(seen.z)
  found = {
    "z_spread": metrics.spread(z, **how),
    "z_std": metrics.deviation(z, **how),
  }
  if seen.scores is not None:
    scores = jax.lax.stop_gradient(seen.scores)
    found["information"] = metrics.information(scores / 0.1, **how)
  return found


def _prototypes(params, learner):
  if not learner.prototypes:
    return None
  table = params["prototypes"]
  return l2_normalize(table) if learner.prototypes == "weight_norm" else table


def _online(head, seen):
  """The probe's logits of the global views' constant features."""
  h = jax.lax.stop_gradient(jnp.stack([view.h for view in seen[:2]]))
  logits = jnp.matmul(h, head["kernel"], precision="highest")
  return logits + head["bias"][None, None]


def terms(
  settings: Settings,
  learner: Learner,
  outputs: Outputs,
  batch: Mapping[str, Array],
  *,
  axis_name: str | None = None,
) -> dict[str, Array]:
  """The method's terms, and "online", the probe's cross-entropy.

  Args:
    settings: the arm's.
    learner: the arm's.
    outputs: of `forward`.
    batch: perhaps with "where" and "label".
    axis_name: the devices over which the batch is spread.

  Returns:
    By name, one value per image, or a scalar.
  """
  where = batch.get("where")
  found = dict(
    learner.terms(outputs, settings, where=where, axis_name=axis_name)
  )
  if outputs.online is not None and not learner.labels:
    entropy = optax.softmax_cross_entropy_with_integer_labels
    label = jnp.broadcast_to(batch["label"], outputs.online.shape[:2])
    found["online"] = blank(entropy(outputs.online, label).mean(0), where)
  return found


def weights(
  settings: Settings, learner: Learner, *, labelled: bool
) -> dict[str, float]:
  """The weight of every term that `terms` gives.

  Args:
    settings: the arm's.
    learner: the arm's.
    labelled: whether batches have labels.

  Returns:
    Weights by name.
  """
  found = dict(learner.weights(settings))
  if labelled and not learner.labels:
    found["online"] = 1.0
  return found


def measures(
  learner: Learner, outputs: Outputs, batch: Mapping[str, Array]
) -> dict[str, metrics.Mean]:
  """What is watched of a batch: a collapse shows here first.

  Args:
    learner: the arm's.
    outputs: of `forward`.
    batch: perhaps with "where" and "label".

  Returns:
    The outputs' monitors, "agreement" of two views (cosine), and the online
    accuracy.
  """
  where = batch.get("where")
  found = {name: metrics.mean(x) for name, x in outputs.monitors.items()}
  if len(outputs.views) > 1:
    a, b = (l2_normalize(view.z) for view in outputs.views[:2])
    found["agreement"] = metrics.mean((a * b).sum(-1), where)
  if outputs.online is not None and not learner.labels:
    label = batch["label"]
    found["online_accuracy"] = metrics.accuracy(outputs.online[0], label, where)
  return found


def make_train_step(
  config: Config,
  settings: Settings,
  learner: Learner,
  *,
  tx: optax.GradientTransformation | None = None,
  extra_terms=(),
) -> Callable[..., Any]:
  """Builds an arm's step.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.
    tx: the optimizer; `state.optimizer` if None.
    extra_terms: pairs of (function of `(outputs, batch, *, axis_name)`, weights
      by name), added to the loss.

  Returns:
    `train_step(state, batch, *, axis_name=None) -> (state, metrics)`.
  """
  tx = optimizer(config, settings, learner) if tx is None else tx
  core = stepping.make_train_step(
    functools.partial(forward, config, settings, learner),
    functools.partial(terms, settings, learner),
    weights(settings, learner, labelled=config.data.labelled),
    tx,
    extra_terms=extra_terms,
    measures=functools.partial(measures, learner),
    microbatches=config.microbatches,
  )
  keep = optim.cosine_between(settings.ema, settings.ema_end, config.steps)
  when = follows(learner, settings)

  def train_step(state, batch, *, axis_name=None):
    rate = keep(state.step)
    if when == "before":
      state = state.replace(slow=optim.ema(state.slow, state.params, rate))
    new, found = core(state, batch, axis_name=axis_name)
    if learner.prototypes == "unit":
      table = l2_normalize(new.params["prototypes"])
      new = new.replace(params={**new.params, "prototypes": table})
    if when == "after":
      new = new.replace(slow=optim.ema(new.slow, new.params, rate))
    return new, found

  return train_step
