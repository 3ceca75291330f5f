"""The arms, each a change of fields, and the presets."""

import dataclasses
from typing import Any

from kd_jax.methods.kd3.config import (
  Config,
  DataConfig,
  LossConfig,
  NetConfig,
  OptimConfig,
  SelectConfig,
  TeacherConfig,
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
  "kd_original": {**_KL, "select.rule": "none", "data.crop": False},
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
  "dafl": {**_KL, "loss.kl_temperature": 1.0, "select.rule": "none"},
  "simkd": {
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


# The released code's normalisation of both CIFARs, and its augmentation.
_COLOUR = DataConfig(
  mean=(0.5071, 0.4867, 0.4408),
  std=(0.2675, 0.2565, 0.2761),
  max_shift=4,
  flip=True,
  crop=True,
)


def _paper(original: str, student: str, images: int, **data: Any) -> Config:
  """The published experiment: ResNet-34 on `original`, ImageNet as the web.

  Of the `images` to learn from 5,000 are kept for validation.

  An epoch of the paper is one pass over what is selected; here one has as many
  steps as 600,000 images, the size of its predecessors' webs.
  """
  data = {"original": original, "web": "imagenet32", **data}
  return Config(
    arms=(
      "kd_random",
      "kd_all",
      "dfnd",
      "dafl",
      "simkd",
      "kd3",
      "kd_original",
    ),
    data=dataclasses.replace(_COLOUR, val_images=5000, **data),
    teacher=TeacherConfig("resnet34"),
    student=NetConfig(student),
    select=SelectConfig(count=600_000),
    teacher_steps=240 * (images - 5000) // 64,
    teacher_optim=OptimConfig(0.05),
    epochs=240,
    epoch_steps=586,
    optim=OptimConfig(0.05),
    batch_size=1024,
    teacher_batch_size=64,
    score_batch_size=1024,
    dtype="bfloat16",
  )


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
    teacher=TeacherConfig(widths=(8, 16, 16)),
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
  # The claim on colour images, for an accelerator: CIFAR-10's classes, and
  # Tiny-ImageNet at 32x32 as the web.
  "medium": Config(
    arms=(
      "kd_random",
      "kd_all",
      "dfnd",
      "dafl",
      "no_selection",
      "simkd",
      "kd3",
      "kd_original",
    ),
    data=dataclasses.replace(
      _COLOUR, original="cifar10", web="tiny_imagenet", val_images=5000
    ),
    teacher=TeacherConfig("resnet18"),
    student=NetConfig("resnet18_half"),
    select=SelectConfig(count=30_000),
    teacher_steps=8000,
    teacher_optim=OptimConfig(0.1, schedule="cosine"),
    epochs=40,
    epoch_steps=200,
    optim=OptimConfig(0.05),
    batch_size=256,
    score_batch_size=1024,
    dtype="bfloat16",
  ),
  # One's own teacher and images: --teacher FILE --data.web FOLDER.
  "own": Config(
    arms=("kd_all", "kd3"),
    data=dataclasses.replace(
      _COLOUR,
      original="",
      mean=(0.485, 0.456, 0.406),
      std=(0.229, 0.224, 0.225),
    ),
    student=NetConfig("resnet18"),
    epochs=40,
    epoch_steps=200,
    optim=OptimConfig(0.05),
    batch_size=128,
    score_batch_size=256,
  ),
  **{
    f"paper{suffix}": _paper(original, student, images, **data)
    for suffix, original, student, images, data in (
      ("", "cifar10", "resnet18", 50_000, {}),
      ("_cifar100", "cifar100", "resnet18", 50_000, {}),
      (
        "_cinic10",
        "cinic10",
        "resnet18",
        90_000,
        {"mean": (0.4789, 0.4723, 0.4305), "std": (0.2421, 0.2383, 0.2587)},
      ),
      (
        "_tiny_imagenet",
        "tiny_imagenet",
        "resnet18",
        100_000,
        {
          "mean": (0.4914, 0.4822, 0.4465),
          "std": (0.2023, 0.1994, 0.201),
          "web": "imagenet64",
        },
      ),
    )
  },
}
