"""What a configuration may say."""

import math
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.compression import hosts, pipeline

_RANGES = (
  ("train_images", 0, fields.MOST),
  ("val_images", 1, fields.MOST),
  ("batch_size", 1, 2**20),
  ("dense_steps", 1, fields.MOST),
  ("tune_steps", 1, fields.MOST),
  ("learning_rate", fields.ABOVE_0, math.inf),
  ("tune_rate", fields.ABOVE_0, math.inf),
  ("distil.rate", fields.ABOVE_0, math.inf),
  ("weight_decay", 0.0, math.inf),
  ("crop", 0, 2**10),
  ("distil.images", 0, fields.MOST),
  *(
    (f"distil.{name}", 0.0, math.inf)
    for name in ("attention", "similarity", "distance", "angle", "hint")
  ),
  ("distil.temperature", fields.ABOVE_0, math.inf),
  ("distil.weight", 0.0, 1.0),
  ("distil.smoothing", 0.0, 0.999),
)
_CHOICES = {
  "model": hosts.NAMES,
  "distil.teacher_model": hosts.NAMES,
  "distil.student_model": hosts.NAMES,
  "optimizer": ("adam", "sgd"),
}
# Networks whose widths are a field.
_WIDE = ("lenet_300_100", "lenet5", "small_cnn", "xnor_cnn", "cnn", "cnn_norms")


def check_fields(config: Any) -> None:
  """Checks a configuration.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  values = dict(fields.walk(config))
  fields.check(config, _CHOICES, _RANGES)
  if config.widths and config.model not in _WIDE:
    raise UsageError(
      f"widths are of {', '.join(_WIDE)}; {config.model} has its own"
    )
  if config.model == "lenet5" and len(config.widths) not in (0, 3):
    raise UsageError("widths of lenet5 are three: two convolutions, a layer")
  for name in ("widths", "distil.teacher", "distil.student"):
    if not all(0 < w <= 2**16 for w in values[name]):
      raise UsageError(f"{name} is {values[name]}; widths are 1 to {2**16}")
  if not config.distil.teacher or not config.distil.student:
    raise UsageError("distil.teacher and distil.student have a width each")
  if sorted(config.drops) != list(config.drops) or not all(
    0 < d < 1 for d in config.drops
  ):
    raise UsageError("drops are increasing parts between 0 and 1")
  if len(config.mean) != len(config.std) or not all(s > 0 for s in config.std):
    raise UsageError("mean and std: as many numbers each, std above 0")
  pipeline.parse(config.pipeline)
