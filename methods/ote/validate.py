"""What a configuration may say."""

import math
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError

_MOST = 2**30  # Steps and rows are int32.
CHOICES = {
  "model.name": ("ote", "linear", "rotate", "transe", "distmult", "complex"),
  "model.scale": ("none", "abs", "exp"),
  "model.scale_side": ("input", "output"),
  "model.handedness": ("free", "rotation"),
  "model.context": ("none", "gat_dummy", "mean_self"),
  "model.neighbours": ("graph", "random"),
  "keep": ("best", "last"),
}
_RANGES = (
  ("model.width", 1, 2**16),
  ("model.block", 1, 2**10),
  ("model.init_range", 0.0, math.inf),
  ("loss.balance", 0.0, math.inf),
  ("loss.l3", 0.0, math.inf),
  ("eval_queries", 1, 2**20),
  ("eval_bytes", 1, math.inf),
  *(
    (f"{stage}.{name}", low, high)
    for stage in ("first", "second")
    for name, low, high in (
      ("steps", 2, _MOST),
      ("batch_size", 1, 2**24),
      ("negatives", 1, 2**20),
      ("margin", 0.0, math.inf),
      ("temperature", 0.0, math.inf),
      ("learning_rate", fields.ABOVE_0, math.inf),
      ("decay_every", 0, _MOST),
      ("decay", fields.ABOVE_0, 1.0),
      ("valid_every", 0, _MOST),
    )
  ),
)
_EVEN = tuple(
  f"{stage}.{name}"
  for stage in ("first", "second")
  for name in ("steps", "valid_every")
)
# Sizes that are the model's own; only "ote" and "linear" have a choice.
BLOCKS = {"rotate": 2, "transe": 1, "distmult": 1, "complex": 2}
DOTS = ("distmult", "complex")


def check_fields(config: Any) -> None:
  """Checks each field by itself.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  values = dict(fields.walk(config))
  fields.check(config, CHOICES, _RANGES)
  for name in _EVEN:
    if values[name] % 2:
      raise UsageError(
        f"{name} is {values[name]}; steps come in pairs, one for tails and one "
        "for heads: an even number"
      )
  _check_own(config.own, values)


def _check_own(own, values) -> None:
  for entry in own:
    if len(entry) != 3:
      raise UsageError(f"own has {entry}; it holds (arm, field, number)")
    arm, name, number = entry
    kind = type(values.get(name))
    if kind not in (int, float) or isinstance(number, bool | str):
      raise UsageError(
        f"own has ({arm!r}, {name!r}, {number!r}); it holds (arm, field, "
        "number), a field that is a number, for example first.margin"
      )


def check(config: Any) -> None:
  """Checks what several fields say together.

  Apart from `__post_init__`, because fields are set one after the other.

  Args:
    config: an arm's configuration.

  Raises:
    UsageError: one sentence for the first thing that is wrong.
  """
  model = config.model
  size = BLOCKS.get(model.name, model.block)
  if model.width % size:
    raise UsageError(
      f"model.width is {model.width}; {model.name} has blocks of {size}, which "
      "must divide it"
    )
  if model.context != "none" and model.name in DOTS:
    raise UsageError(
      f"model.context is {model.context}; {model.name} compares by a dot "
      "product, and context enters distances"
    )
  if config.keep == "best":
    for name in ("first", "second"):
      if not getattr(config, name).valid_every:
        raise UsageError(
          f"keep is best and {name}.valid_every is 0: nothing says which "
          "parameters are best; take keep last"
        )
