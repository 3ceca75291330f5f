"""What a configuration may say."""

import math
from typing import Any

from kd_jax import backbones, fields
from kd_jax.errors import UsageError

_MOST = 2**31 - 1  # Steps and rows are int32.
_CHOICES = {
  "net.name": backbones.NAMES.keys(),
  "data.streamed": ("auto", "always", "never"),
  "recipe": ("small", "digits", "lightly", "solo", "imagenet100", "imagenet"),
}
_OPTIMIZERS = ("sgd", "lars", "lars_clipped", "adam", "adamw")
_RANGES = (
  ("data.val_images", 1, math.inf),
  ("data.image_size", 0, 2**14),
  ("data.view_size", 0, 2**12),
  ("probe.labels", 0, _MOST),
  ("probe.neighbours", 1, math.inf),
  ("probe.temperature", fields.ABOVE_0, math.inf),
  ("probe.penalties", 1, 1000),
  ("probe.iterations", 1, 10_000),
  ("probe.steps", 0, _MOST),
  ("probe.batch_size", 1, 2**20),
  ("probe.online_rate", 0.0, math.inf),
  ("steps", 1, _MOST),
  ("batch_size", 2, 2**20),
  ("score_batch_size", 1, 2**20),
)
# Of an arm's settings, once they are known.
_PARTS = ("warmup", "final_rate", "teacher_warmup", "ema", "ema_end")
_PARTS += ("queue_start", "freeze", "centre", "momentum")
_POSITIVE = ("learning_rate", "temperature", "teacher_temperature", "epsilon")
_POSITIVE += ("teacher_temperature_start",)
_NOT_NEGATIVE = ("weight_decay", "bias_rate", "clip", "invariance", "variance")
_NOT_NEGATIVE += ("covariance", "off_diagonal", "scale", "probe_rate")
_COUNTS = ("prototypes", "queue")
_BOUNDS = (
  (_PARTS, 0, 1, "0 to 1"),
  (_POSITIVE, fields.ABOVE_0, math.inf, "above 0"),
  (_NOT_NEGATIVE, 0, math.inf, "at least 0"),
  (_COUNTS, 0, 2**22, "0 to 4,194,304"),
  (("iterations",), 0, 100, "0 to 100"),
)


def check_fields(config: Any) -> None:
  """Checks each field by itself.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  fields.check(config, _CHOICES, _RANGES)


def check(config: Any) -> None:
  """Checks what several fields say together, and every arm's settings.

  Apart from `__post_init__`, because fields are set one after the other.

  Args:
    config: the configuration.

  Raises:
    UsageError: one sentence for the first thing that is wrong.
  """
  data, net = config.data, config.net
  if 0 < data.view_size < 4:
    raise UsageError(
      f"data.view_size is {data.view_size}; it is 0 (the image's) or 4 or more"
    )
  if len(data.mean) != len(data.std) or not all(s > 0 for s in data.std):
    raise UsageError(
      "data.mean and data.std: as many numbers each, std above 0"
    )
  if len(net.widths) != len(net.strides) or not net.widths:
    raise UsageError("net.widths and net.strides differ in length")
  if not all(1 <= n <= 2**14 for n in (*net.widths, *net.strides)):
    raise UsageError("net.widths and net.strides are 1 to 16384")
  for arm in config.arms:
    _check_arm(config, arm)


def _check_arm(config: Any, arm: str) -> None:
  # These modules stand on `config`, which stands on this one.
  from kd_jax.methods.ssl import heads, recipes, views
  from kd_jax.methods.ssl.learners import LEARNERS

  s = recipes.settings(config, arm)
  learner = LEARNERS[recipes.learner_of(arm)]
  if learner.labels and not config.data.labelled:
    raise UsageError(f"the arm {arm} needs labels, and data.labelled is False")
  fields.check_choice("settings.optimizer", s.optimizer, _OPTIMIZERS)
  fields.check_choice("settings.views", s.views, views.VIEWS)
  for names, low, high, said in _BOUNDS:
    for name in names:
      value = getattr(s, name)
      if not low <= value <= high:
        raise UsageError(f"settings.{name} is {value}; it must be {said}")
  heads.parse(s.projector)
  heads.parse(s.predictor)
  _check_memory(config, arm, s, learner)


def _check_memory(config, arm, s, learner):
  from kd_jax.methods.ssl import model

  d = model.width(config, s)
  if s.predictor and learner.trains:
    out = model.predicted(config, s)
    if out != d:
      raise UsageError(
        f"settings.predictor of {arm} gives {out} numbers, the projector {d}"
      )
  if learner.prototypes and s.prototypes < 2:
    raise UsageError(
      f"settings.prototypes of {arm} is {s.prototypes}; 2 or more"
    )
  queued = arm.startswith("moco") and arm != "moco_v3"
  if queued and not s.queue:
    raise UsageError(f"settings.queue of {arm} is 0; it needs one")
  pushed = config.batch_size // config.microbatches
  pushed *= 2 if arm == "moco_notebook" else 1
  if s.queue % pushed:
    raise UsageError(
      f"settings.queue of {arm} is {s.queue}; {pushed} embeddings are pushed "
      "at a time, and must divide it"
    )


def uneven(config: Any) -> list[str]:
  """What is allowed, and yet will hardly learn: more prototypes than rows.

  Args:
    config: the configuration, checked.

  Returns:
    A line for each arm whose codes cannot be even.
  """
  from kd_jax.methods.ssl import recipes
  from kd_jax.methods.ssl.learners import LEARNERS

  lines = []
  for arm in config.arms:
    s = recipes.settings(config, arm)
    rows = config.batch_size // config.microbatches + s.queue
    balanced = LEARNERS[recipes.learner_of(arm)].prototypes == "unit"
    if balanced and s.iterations and rows < s.prototypes:
      lines.append(
        f"{arm}: {rows} images of a batch and a queue share {s.prototypes} "
        "prototypes, which then cannot all be used: fewer (settings.prototypes)"
        " or a queue (settings.queue) would help"
      )
  return lines
