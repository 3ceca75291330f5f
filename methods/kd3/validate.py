"""What a configuration may say."""

import math
from typing import Any

from kd_jax import backbones, fields
from kd_jax.errors import UsageError

_MOST = 2**31 - 1  # Steps and rows are int32.
_WIDEST = 2**14
_CHOICES = {
  # A live view: networks of one's own join it.
  "teacher.name": backbones.NAMES.keys(),
  "student.name": backbones.NAMES.keys(),
  "data.streamed": ("auto", "always", "never"),
  "select.rule": ("classwise", "fixed", "top_k", "random", "all", "none"),
  "select.blend": ("schedule", "teacher", "student"),
  "loss.classifier": ("shared", "own"),
  "loss.weighting": ("sigmoid", "none", "one_minus_minmax"),
  "loss.mix": ("distribution", "noise", "none"),
  "teacher_optim.schedule": ("drops", "cosine"),
  "optim.schedule": ("drops", "cosine"),
}
_RANGES = (
  ("data.train_images", 1, math.inf),
  ("data.val_images", 1, math.inf),
  ("data.test_images", 2, math.inf),
  ("data.relevant", 1, math.inf),
  ("data.copies", 0, math.inf),
  ("data.quota", 1, _MOST),
  ("data.halves", 0, math.inf),
  ("data.max_shift", 0, math.inf),
  ("data.image_size", 0, 2**14),
  ("select.count", 1, math.inf),
  ("select.p_cutoff", 0.0, 1.0),
  ("loss.feature_weight", 0.0, math.inf),
  ("loss.kl_weight", 0.0, math.inf),
  ("loss.kl_temperature", fields.ABOVE_0, math.inf),
  ("loss.noisy_weight", 0.0, math.inf),
  ("loss.noisy_rate", 0.0, math.inf),
  ("loss.mix_weight", 0.0, math.inf),
  ("loss.mix_concentration", fields.ABOVE_0, math.inf),
  ("loss.mix_noise", 0.0, math.inf),
  ("loss.temperature", fields.ABOVE_0, math.inf),
  ("loss.embedding", 1, 2**16),
  ("loss.projector_factor", 1, math.inf),
  ("generator.latent", 1, 2**16),
  ("generator.balance_weight", 0.0, math.inf),
  ("generator.activation_weight", 0.0, math.inf),
  ("generator.learning_rate", fields.ABOVE_0, math.inf),
  ("teacher_steps", 1, _MOST),
  ("epochs", 1, math.inf),
  ("epoch_steps", 1, math.inf),
  ("kl_learning_rate", 0.0, math.inf),
  ("batch_size", 2, 2**20),
  ("teacher_batch_size", 0, 2**20),
  ("score_batch_size", 1, 2**20),
  *(
    (f"{part}.{name}", 0.0, high)
    for part in ("optim", "teacher_optim")
    for name, high in (
      ("learning_rate", math.inf),
      ("momentum", 1.0),
      ("weight_decay", math.inf),
    )
  ),
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
  """Checks what several fields say together.

  Apart from `__post_init__`, because fields are set one after the other.

  Args:
    config: the method's configuration, or an arm's.

  Raises:
    UsageError: one sentence for the first thing that is wrong.
  """
  loss, data = config.loss, config.data
  if not loss.feature_weight + loss.kl_weight + loss.noisy_weight:
    raise UsageError("every weight of the loss is 0: nothing teaches")
  if loss.classifier == "shared" and not loss.feature_weight:
    raise UsageError(
      "loss.classifier is shared and loss.feature_weight 0: nothing trains the "
      "projection to the teacher's classifier; take loss.classifier own"
    )
  if loss.cross and loss.mix == "none":
    raise UsageError("loss.cross is a contrast, and loss.mix is none")
  embedded = ("digits_0_4", "shifted_digits")
  given = (data.original, data.web)
  if data.original and given != embedded and set(given) & set(embedded):
    raise UsageError(
      "data.original and data.web go together: give your own for both, or "
      "neither"
    )
  if len(data.mean) != len(data.std) or not all(s > 0 for s in data.std):
    raise UsageError(
      "data.mean and data.std: as many numbers each, std above 0"
    )
  for name in ("teacher", "student"):
    net = getattr(config, name)
    if len(net.widths) != len(net.strides) or not net.widths:
      raise UsageError(f"{name}.widths and {name}.strides differ in length")
    if not all(1 <= n <= _WIDEST for n in (*net.widths, *net.strides)):
      raise UsageError(f"{name}.widths and {name}.strides are 1 to {_WIDEST}")
  if not config.teacher.file:
    _check_projector(config.teacher, loss.projector_factor)
  if config.epochs * config.epoch_steps > _MOST:
    raise UsageError(f"epochs times epoch_steps must be at most {_MOST}")
  for name in ("optim", "teacher_optim"):
    drops = getattr(config, name).drops
    if sorted(drops) != list(drops) or not all(0 < d < 1 for d in drops):
      raise UsageError(f"{name}.drops are increasing parts between 0 and 1")


def _check_projector(teacher: Any, factor: int) -> None:
  channels = teacher.widths[-1]
  if teacher.name != "small_cnn":
    channels = backbones.channels(teacher.name)
  if factor > channels:
    raise UsageError(
      f"loss.projector_factor is {factor}; the teacher's features have "
      f"{channels} channels to divide"
    )
