"""Published sets of hyperparameters, and ours for digits.

A recipe has values for all arms ("*") and for each, which come first; a
collapse has its method's, and may have its own. What a recipe does not say its
method's file says (`Learner.defaults`), and what that does not say stands in
`BASE`. Rates are for a batch of `rate_batch`. Where a warm-up, a freeze or a
queue's start was published in epochs it is a part of the training here.
"""

import dataclasses
from typing import Any

from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.learners import LEARNERS
from kd_jax.methods.ssl.recipes.cifar import LIGHTLY, SOLO
from kd_jax.methods.ssl.recipes.imagenet import IMAGENET, IMAGENET100
from kd_jax.methods.ssl.recipes.parts import Recipe
from kd_jax.methods.ssl.recipes.small import DIGITS, SMALL

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
  local_negatives=False,
  local_statistics=False,
  joint_statistics=False,
  probe_rate=0.3,
)

RECIPES: dict[str, Recipe] = {
  "small": SMALL,
  "digits": DIGITS,
  "lightly": LIGHTLY,
  "solo": SOLO,
  "imagenet100": IMAGENET100,
  "imagenet": IMAGENET,
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
  for layer in (LEARNERS[name].defaults, recipe["*"]):
    found = dataclasses.replace(found, **layer)
  for owner in (name, arm):
    found = dataclasses.replace(found, **recipe.get(owner, {}))
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
