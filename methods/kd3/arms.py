"""The arms, each a change of fields, and the presets."""

import dataclasses
from typing import Any

from kd_jax.methods.kd3.config import (
  Config,
  DataConfig,
  LossConfig,
  NetConfig,
  SelectConfig,
)

# A student of plain distillation: predictions, a head of its own.
_KL = {
  "loss.classifier": "own",
  "loss.feature_weight": 0.0,
  "loss.kl_weight": 1.0,
  "loss.mix": "none",
}
_ONCE = {"select.repeat": False}
# What each arm changes; the descriptions are in the method's record.
CHANGES: dict[str, dict[str, Any]] = {
  "kd3": {},
  "kd_original": {**_KL, "select.rule": "none"},
  "kd_all": {**_KL, "select.rule": "none"},
  "kd_random": {**_KL, **_ONCE, "select.rule": "random"},
  "kd_selected": _KL,
  "dfnd": {
    **_KL,
    **_ONCE,
    "select.rule": "top_k",
    "select.blend": "teacher",
    # Chosen once: not by the luck of one augmentation.
    "select.augment": False,
    "loss.noisy_weight": 1.0,
    "optim.drops": (0.4, 0.8),
  },
  "features_all": {
    "select.rule": "none",
    "loss.weighting": "none",
    "loss.mix": "none",
  },
  "no_selection": {"select.rule": "none"},
  "teacher_only": {"select.blend": "teacher"},
  "student_only": {"select.blend": "student"},
  "fixed_threshold": {"select.rule": "fixed"},
  "top_k": {"select.rule": "top_k"},
  "own_head": {"loss.classifier": "own", "loss.kl_weight": 1.0},
  "no_weights": {"loss.weighting": "none"},
  "no_mix": {"loss.mix": "none"},
  "noise": {"loss.mix": "noise"},
  "cross": {"loss.cross": True},
}


def of_arm(config: Config, arm: str) -> Config:
  """The configuration of an arm.

  Args:
    config: the method's own.
    arm: a key of `CHANGES`.

  Returns:
    The same with the arm's changes. A student that learns no features starts
    at `kl_learning_rate`; an arm of `own_rates` at its own.
  """
  for name, value in CHANGES[arm].items():
    config = _set(config, name.split("."), value)
  rate = config.optim.learning_rate
  if not config.loss.feature_weight:
    rate = config.kl_learning_rate
  rate = dict(config.own_rates).get(arm, rate)
  return _set(config, ["optim", "learning_rate"], rate)


def _set(config, path, value):
  head, *rest = path
  inner = _set(getattr(config, head), rest, value) if rest else value
  return dataclasses.replace(config, **{head: inner})


PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    data=DataConfig(
      train_images=200,
      val_images=50,
      test_images=100,
      relevant=50,
      copies=1,
      quota=60,
      halves=0,
    ),
    teacher=NetConfig(widths=(8, 16, 16)),
    student=NetConfig(widths=(4, 8, 8)),
    select=SelectConfig(count=100),
    loss=LossConfig(embedding=16),
    teacher_steps=30,
    epochs=4,
    epoch_steps=5,
    batch_size=32,
    score_batch_size=64,
    log_every=10,
    save_every=0,
  ),
  # The claims, on real digits, in minutes. Each arm's learning rate (for those
  # that contrast: the contrast's weight) is the best of four by the accuracy
  # on validation images, over the seeds 0 and 1.
  "small": Config(
    select=SelectConfig(augment=False),
    loss=LossConfig(mix_weight=0.1),
    own_rates=(("kd_all", 0.3), ("kd_original", 0.3), ("no_mix", 1.0)),
    epochs=40,
  ),
}
