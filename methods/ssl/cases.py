"""The benchmark's rows: every method's step, and what of a step is what.

Images are random bytes and networks untrained: neither changes the time.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment, flops, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.ssl import heads, model, recipes, state, steps, views
from kd_jax.methods.ssl.arms import METHODS, PRESETS
from kd_jax.methods.ssl.config import Config
from kd_jax.methods.ssl.learners import LEARNERS, Outputs, Seen

SMALL = PRESETS["small"]
DIGITS, CLASSES, IMAGES = (28, 28, 1), 10, 1024
_IN_TORCH = ("simclr", "byol", "vicreg")


def _columns(shape):
  rng = np.random.default_rng(0)
  return {
    "image": rng.integers(0, 256, (IMAGES, *shape)).astype(np.uint8),
    "label": (np.arange(IMAGES) % CLASSES).astype(np.int32),
  }


def _init(config, arm, shape):
  settings = recipes.settings(config, arm)
  learner = LEARNERS[recipes.learner_of(arm)]
  return lambda products, seed: state.create_state(
    config, settings, learner, seed, shape, CLASSES
  )


def step_case(
  config: Config, arm: str, shape: tuple[int, ...]
) -> experiment.Phase:
  """A whole training step.

  Args:
    config: the configuration.
    arm: which method's.
    shape: of an image.

  Returns:
    The phase to time.
  """
  settings = recipes.settings(config, arm)
  learner = LEARNERS[recipes.learner_of(arm)]
  step = steps.make_train_step(config, settings, learner)
  return _phase(config, arm, shape, step)


def views_case(
  config: Config, arm: str, shape: tuple[int, ...]
) -> experiment.Phase:
  """The views of a step, and nothing else.

  Args:
    config: the configuration.
    arm: which method's.
    shape: of an image.

  Returns:
    The phase to time.
  """
  settings = recipes.settings(config, arm)
  most = LEARNERS[arm].views

  def step(carried, batch, *, axis_name=None):
    del axis_name
    key = jax.random.fold_in(jax.random.key(carried.seed), carried.step)
    groups = views.make(
      config.data, settings.views, key, batch["image"], batch["row"], most=most
    )
    found = {"pixels": metrics.mean(jnp.stack([g.mean() for g in groups]))}
    return carried.replace(step=carried.step + 1), found

  return _phase(config, arm, shape, step)


def heads_case(
  config: Config, arm: str, shape: tuple[int, ...], *, loss: bool
) -> experiment.Phase:
  """Heads forward and back on given representations, with the loss or alone.

  Args:
    config: the configuration.
    arm: which method's; one whose terms need projections and predictions only.
    shape: of an image.
    loss: whether the method's loss is what is differentiated, or a sum.

  Returns:
    The phase to time.
  """
  settings = recipes.settings(config, arm)
  learner = LEARNERS[arm]
  r = model.length(config.net)
  projector = heads.Head(settings.projector, r)
  d = model.width(config, settings)
  predictor = heads.Head(settings.predictor, d)

  def see(params, stats, h):
    head = {"params": params["projector"], "batch_stats": stats["projector"]}
    z, _ = projector.apply(head, h, train=True, mutable=["batch_stats"])
    p = z
    if settings.predictor:
      head = {"params": params["predictor"], "batch_stats": stats["predictor"]}
      p, _ = predictor.apply(head, z, train=True, mutable=["batch_stats"])
    return Seen(h, h, z, p, None)

  def step(carried, batch, *, axis_name=None):
    shape = (2, len(batch["row"]), r)
    key = jax.random.fold_in(jax.random.key(carried.seed), carried.step)
    h = jax.random.normal(key, shape)

    def total(params, h):
      stats = carried.model_state["online"]
      seen = tuple(see(params, stats, x) for x in h)
      if not loss:
        return sum(view.p.sum() for view in seen)
      out = Outputs(
        seen, seen, None, {}, jnp.float32(0), {}, None, batch["label"]
      )
      found = learner.terms(out, settings, axis_name=axis_name)
      return sum(jnp.mean(value) for value in found.values())

    value, grads = jax.value_and_grad(total, (0, 1))(carried.params, h)
    norm = sum((g * g).sum() for g in jax.tree.leaves(grads))
    found = {"loss": metrics.mean(value), "norm": metrics.mean(norm)}
    return carried.replace(step=carried.step + 1), found

  return _phase(config, arm, shape, step)


def _phase(config, arm, shape, step):
  return experiment.Phase(
    name="step",
    init=_init(config, arm, shape),
    step=pipeline.from_columns(step, config.batch_size),
    steps=1,
    data=_columns(shape),
    # Fused residual networks are a minute to compile on a CPU.
    fused=config.net.name == "small_cnn" or jax.default_backend() != "cpu",
    batch_size=config.batch_size,
  )


def step_flops(config: Config, arm: str, shape: tuple[int, ...]) -> int:
  """Model operations of a step: the networks', their heads' and the loss's.

  Counted on the traced step, less what its views take.

  Args:
    config: the configuration.
    arm: which method's.
    shape: of an image.

  Returns:
    Floating point operations.
  """

  def count(phase):
    made = jax.eval_shape(phase.init, {}, np.uint32(0))
    return flops.count(lambda s, d: phase.step(s, d), made, phase.data)

  whole = step_case(config, arm, shape)
  return count(whole) - count(views_case(config, arm, shape))


def _in_torch(config, arm, shape):
  from kd_jax.methods.ssl import plain_torch

  settings = recipes.settings(config, arm)
  return plain_torch.training(config, settings, arm, shape, CLASSES, IMAGES)


def _step(config: Config, arm: str, shape, title: str, **fields: Any):
  peers = ()
  if arm in _IN_TORCH and config.net.name == "small_cnn":
    beside = functools.partial(_in_torch, config, arm, shape)
    peers = (experiment.Peer("plain PyTorch", beside),)
  return experiment.Case(
    name=f"{arm} step, {title}",
    make=functools.partial(step_case, config, arm, shape),
    flops=functools.partial(step_flops, config, arm, shape),
    dtype=config.dtype,
    peers=peers,
    **fields,
  )


_TITLE = f"4 convolutions, {SMALL.data.view_size}x{SMALL.data.view_size}"
_COLOUR = dataclasses.replace(PRESETS["cifar10"], dtype="bfloat16")
CASES = (
  *(_step(SMALL, arm, DIGITS, _TITLE) for arm in METHODS),
  *(
    experiment.Case(
      name=f"{arm} {part} alone, {_TITLE}",
      make=functools.partial(make, SMALL, arm, DIGITS),
    )
    for arm in ("simclr", "byol", "vicreg")
    for part, make in (
      ("views", views_case),
      ("heads", functools.partial(heads_case, loss=False)),
      ("heads and loss", functools.partial(heads_case, loss=True)),
    )
  ),
  *(
    _step(
      _COLOUR,
      arm,
      (32, 32, 3),
      "ResNet-18, 32x32, batch 512, bfloat16",
      accelerator=True,
    )
    for arm in METHODS
  ),
)
