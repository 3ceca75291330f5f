"""Published sets of hyperparameters, and ours for digits.

A recipe has values for all arms ("*") and for each, which come first. What a
recipe does not say its method's file says (`Learner.defaults`), and what that
does not say stands in `BASE`. Rates are for a batch of `rate_batch`. Where a
warm-up, a freeze or a queue's start was published in epochs it is a part of the
training here.
"""

import dataclasses
from typing import Any

from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.learners import LEARNERS

BASE = Settings(
  optimizer="sgd",
  learning_rate=0.06,
  rate_batch=0,
  weight_decay=1e-4,
  momentum=0.9,
  warmup=0.0,
  final_rate=0.0,
  bias_rate=1.0,
  predictor_constant=False,
  views="symmetric",
  projector="r bias bn relu, 128 bias",
  predictor="",
  prototypes=0,
  temperature=0.2,
  teacher_temperature=0.04,
  teacher_temperature_start=0.04,
  teacher_warmup=0.0,
  ema=0.99,
  ema_end=0.99,
  queue=0,
  queue_start=0.0,
  epsilon=0.05,
  iterations=3,
  freeze=0.0,
  clip=0.0,
  centre=0.9,
  invariance=25.0,
  variance=25.0,
  covariance=1.0,
  off_diagonal=0.0051,
  scale=1.0,
  stop_gradient=True,
  probe_rate=0.3,
)

_QUEUED = ("moco_v2", "moco_v2plus", "moco_notebook")
_V1 = {"projector": "128 bias", "temperature": 0.07}

# 4 convolutions, 200 steps of 96 digits. [inferred]
_SMALL: dict[str, dict[str, Any]] = {
  "*": {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "warmup": 0.05,
    "views": "digits",
    "projector": "r bn relu, 64 bias",
  },
  "swav": {"prototypes": 64, "freeze": 0.02},
  "moco_v1": {**_V1, "queue": 960},
  "moco_v2": {"queue": 960},
  "moco_v2plus": {"queue": 960},
  "moco_notebook": {"queue": 960},
  "moco_v3": {"predictor": "128 bn relu, 64 bias"},
  "byol": {"predictor": "128 bn relu, 64 bias"},
  "dino": {
    "projector": "r bias gelu, 64 bias",
    "prototypes": 64,
    "freeze": 0.05,
    "clip": 3.0,
  },
  # Without a last norm, which would hide a collapse ("hidden-only" there).
  "simsiam": {"predictor": "32 bn relu, 64 bias"},
  "vicreg": {"projector": "r bn relu, 128"},
  "barlow": {"projector": "r bn relu, 128"},
}

# lightly's CIFAR-10 benchmark, 200 epochs; its views are SimCLR's at half the
# strength, without blur.
_LIGHTLY: dict[str, dict[str, Any]] = {
  "*": {
    "learning_rate": 0.06,
    "rate_batch": 128,
    "weight_decay": 5e-4,
    "views": "symmetric_weak_32",
    "projector": "512 bn relu, 128 bias",
  },
  "simclr": {
    "projector": "512 bias relu, 128 bias",
    "temperature": 0.5,
  },
  "swav": {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 1e-6,
    "prototypes": 512,
    "freeze": 0.005,
    "views": "multicrop_32",
  },
  **{
    name: {
      "projector": "512 bias relu, 128 bias",
      "temperature": 0.1,
      "queue": 4096,
    }
    for name in _QUEUED
  },
  "moco_v1": {**_V1, "queue": 4096},
  "moco_v3": {
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "projector": "1024 bn relu, 256 bias",
    "predictor": "1024 bn relu, 256 bias",
    "ema_end": 0.99,
  },
  "dino": {
    "projector": "2048 bn gelu, 256 bias",
    "prototypes": 2048,
    "freeze": 0.005,
    "clip": 3.0,
    "ema_end": 0.99,
    "views": "multicrop_32",
  },
  "simsiam": {
    "rate_batch": 0,
    "projector": "2048 bn relu, 2048 bn-",
    "predictor": "512 bn relu, 2048 bias",
  },
  "vicreg": {"projector": "2048 bn relu, 2048 bn relu, 2048"},
  "barlow": {"projector": "2048 bn relu, 2048"},
}

# solo-learn's CIFAR settings, 1000 epochs of 256.
_SOLO: dict[str, dict[str, Any]] = {
  "*": {
    "optimizer": "lars_clipped",
    "rate_batch": 256,
    "warmup": 0.01,
    "views": "asymmetric_32",
  },
  "simclr": {
    "learning_rate": 0.4,
    "weight_decay": 1e-4,
    "views": "symmetric_32",
    "projector": "2048 bias relu, 256 bias",
    "probe_rate": 1.0,
  },
  "swav": {
    "learning_rate": 0.6,
    "weight_decay": 1e-6,
    "views": "symmetric_32",
    "projector": "2048 bias bn relu, 128 bias",
    "prototypes": 3000,
    "queue": 3840,
    "queue_start": 0.05,
    "freeze": 0.002,
    "probe_rate": 0.15,
  },
  **{
    name: {
      "optimizer": "sgd",
      "learning_rate": 0.3,
      "weight_decay": 1e-4,
      "views": "symmetric_weak_32",
      "projector": "2048 bias relu, 256 bias",
      "queue": 32768,
      "ema_end": 0.999,
      "probe_rate": 3.0,
    }
    for name in _QUEUED
  },
  "moco_v1": {
    **_V1,
    "optimizer": "sgd",
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "queue": 32768,
  },
  "moco_v3": {
    "learning_rate": 0.3,
    "weight_decay": 1e-6,
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "learning_rate": 1.0,
    "weight_decay": 1e-5,
    "projector": "4096 bias bn relu, 256 bias",
    "predictor": "4096 bias bn relu, 256 bias",
  },
  "dino": {
    "learning_rate": 0.3,
    "weight_decay": 1e-6,
    "projector": "2048 bias small gelu, 2048 bias small gelu, 256 bias small",
    "prototypes": 4096,
    "teacher_temperature": 0.07,
    "ema": 0.9995,
    "freeze": 0.001,
    "clip": 3.0,
  },
  "simsiam": {
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "weight_decay": 1e-5,
    "views": "symmetric_weak_32",
    "projector": "2048 bn relu, 2048 bn relu, 2048 bn-",
    "predictor": "512 bn relu, 2048 bias",
    "probe_rate": 30.0,
  },
  "vicreg": {
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "views": "vicreg_32",
    "projector": "2048 bias bn relu, 2048 bias bn relu, 2048",
    # It adds both views' variances where the paper halves them.
    "variance": 50.0,
  },
  "barlow": {
    "learning_rate": 0.3,
    "weight_decay": 1e-4,
    "projector": "2048 bn relu, 2048 bn relu, 2048",
    "scale": 0.1,
    "probe_rate": 0.1,
  },
  "supervised": {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
  },
}


def _changed(recipe, **by_arm):
  """A recipe with some values of some arms changed."""
  found = {arm: dict(values) for arm, values in recipe.items()}
  for arm, values in by_arm.items():
    found[arm] = {**found.get(arm, {}), **values}
  return found


# solo-learn's ImageNet-100, 400 epochs of 2 x 128.
_IMAGENET100 = _changed(
  _SOLO,
  simclr={
    "learning_rate": 0.3,
    "views": "symmetric",
    "projector": "4096 bias relu, 512 bias",
  },
  swav={"views": "symmetric"},
  **{
    name: {"queue": 65536, "views": "symmetric_weak"}
    for name in ("moco_v1", *_QUEUED)
  },
  moco_v3={"views": "asymmetric"},
  byol={
    "learning_rate": 0.5,
    "weight_decay": 1e-6,
    "predictor": "8192 bias bn relu, 256 bias",
    "views": "asymmetric",
  },
  dino={
    "teacher_warmup": 0.125,
    "views": "asymmetric",
  },
  simsiam={"views": "symmetric_weak"},
  vicreg={"views": "asymmetric"},
  barlow={"views": "asymmetric"},
)

# The authors' own, ResNet-50, for 100 epochs; warm-ups of 10.
_IMAGENET: dict[str, dict[str, Any]] = {
  "*": {"optimizer": "lars", "rate_batch": 256, "weight_decay": 1e-6},
  "simclr": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "temperature": 0.1,
    "projector": "r bn relu, r bn relu, 128 bn~",
  },
  "swav": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "final_rate": 0.001,
    "views": "swav",
    "projector": "2048 bias bn relu, 128 bias",
    "prototypes": 3000,
    "freeze": 0.01,
  },
  "moco_v1": {
    **_V1,
    "optimizer": "sgd",
    "learning_rate": 0.03,
    "weight_decay": 1e-4,
    "queue": 65536,
    "ema": 0.999,
    "ema_end": 0.999,
  },
  **{
    name: {
      "optimizer": "sgd",
      "learning_rate": 0.03,
      "weight_decay": 1e-4,
      "projector": "r bias relu, 128 bias",
      "queue": 65536,
      "ema": 0.999,
      "ema_end": 0.999,
    }
    for name in ("moco_v2", "moco_v2plus", "moco_notebook")
  },
  "moco_v3": {
    "learning_rate": 0.6,
    "warmup": 0.1,
    "temperature": 1.0,
    "views": "asymmetric_large",
    "projector": "4096 bn relu, 256 bn-",
    "predictor": "4096 bn relu, 256",
  },
  "byol": {
    "learning_rate": 0.45,
    "warmup": 0.1,
    "projector": "4096 bias bn relu, 256",
    "predictor": "4096 bias bn relu, 256",
  },
  "dino": {
    "optimizer": "sgd",
    "learning_rate": 0.03,
    "weight_decay": 1e-4,
    "warmup": 0.1,
    "views": "dino",
    "projector": "2048 bias small gelu, 2048 bias small gelu, 256 bias small",
    "prototypes": 65536,
    "ema": 0.996,
    "freeze": 0.01,
    "clip": 3.0,
  },
  "simsiam": {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 1e-4,
    "projector": "r bn relu, r bn relu, 2048 bn-",
    "predictor": "512 bn relu, 2048 bias",
  },
  "vicreg": {
    "learning_rate": 0.3,
    "warmup": 0.1,
    "final_rate": 0.001,
    "projector": "8192 bias bn relu, 8192 bias bn relu, 8192",
  },
  "barlow": {
    "learning_rate": 0.2,
    "warmup": 0.1,
    "final_rate": 0.001,
    "bias_rate": 0.024,
    "projector": "8192 bn relu, 8192 bn relu, 8192",
  },
  "supervised": {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
  },
}

RECIPES = {
  "small": _SMALL,
  "lightly": _LIGHTLY,
  "solo": _SOLO,
  "imagenet100": _IMAGENET100,
  "imagenet": _IMAGENET,
}

# A method without what keeps it from collapsing: (the method, what changes).
COLLAPSES: dict[str, tuple[str, dict[str, Any]]] = {
  "byol_no_stop": ("byol", {"stop_gradient": False}),
  "byol_no_predictor": ("byol", {"predictor": ""}),
  "simsiam_no_stop": ("simsiam", {"stop_gradient": False}),
  "simsiam_no_predictor": ("simsiam", {"predictor": ""}),
  "dino_no_centring": ("dino", {"centre": 1.0}),
  "dino_no_sharpening": (
    "dino",
    {"teacher_temperature": 1.0, "teacher_temperature_start": 1.0},
  ),
  "swav_no_sinkhorn": ("swav", {"iterations": 0}),
  "vicreg_no_variance": ("vicreg", {"variance": 0.0}),
  "moco_no_momentum": ("moco_v2", {"ema": 0.0, "ema_end": 0.0}),
}


def learner_of(arm: str) -> str:
  """The name of the method that an arm is, or is a collapse of."""
  return COLLAPSES[arm][0] if arm in COLLAPSES else arm


def settings(config: Config, arm: str) -> Settings:
  """An arm's settings, none of them None.

  Args:
    config: the configuration; what it sets itself comes first, a collapse's
      change before that.
    arm: which.

  Returns:
    The settings, with the learning rate for the configuration's batch size.
  """
  name = learner_of(arm)
  recipe = RECIPES[config.recipe]
  found = BASE
  for layer in (LEARNERS[name].defaults, recipe["*"], recipe.get(name, {})):
    found = dataclasses.replace(found, **layer)
  own = {
    field.name: value
    for field in dataclasses.fields(Settings)
    if (value := getattr(config.settings, field.name)) is not None
  }
  found = dataclasses.replace(found, **own)
  if arm in COLLAPSES:
    found = dataclasses.replace(found, **COLLAPSES[arm][1])
  if found.rate_batch:
    scale = config.batch_size / found.rate_batch
    found = dataclasses.replace(
      found, learning_rate=found.learning_rate * scale
    )
  return found
