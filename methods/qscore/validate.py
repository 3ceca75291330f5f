"""What a configuration may say."""

import math
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError

CHOICES = {
  "probe.kind": ("ridge", "softmax"),
  "heat.combine": ("mean", "max"),
}
_RANGES = (
  ("examples", 50, 2**24),
  ("discovery.eps", 0.0, math.inf),
  ("discovery.low", 0.0, 100.0),
  ("discovery.high", 0.0, 100.0),
  ("discovery.most_empty", 0.0, 1.0),
  ("probe.l2", 1e-12, math.inf),
  ("probe.penalties", 1, 1000),
  ("probe.steps", 1, 2**20),
  ("tune.steps", 1, 2**30),
  ("tune.learning_rate", 0.0, math.inf),
  ("tune.warmup", 0.0, 1.0),
  *(
    (f"tune.{name}", 0.0, math.inf)
    for name in (
      "gain",
      "columns",
      "balanced_gain",
      "balanced_columns",
      "strong",
      "lasso",
    )
  ),
  ("study.draws", 1, 2**10),
  ("heat.region", -1.0, 1.0),
  ("heat.threshold", 0.0, 1.0),
  ("heat.shown", 1, 64),
)


def check(config: Any) -> None:
  """Checks each field.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  values = dict(fields.walk(config))
  for name, choices in CHOICES.items():
    if values[name] not in choices:
      raise UsageError(
        f"{name} is {values[name]!r}; it is one of {list(choices)}"
      )
  for name, low, high in _RANGES:
    value = values[name]
    # Of NaN no comparison is true.
    if not low <= value <= high or value == math.inf:
      raise UsageError(f"{name} is {value}; it must be {_limits(low, high)}")
  kept = values["study.kept"]
  if not kept or not all(0 < share <= 1 for share in kept):
    raise UsageError(
      f"study.kept is {kept}; it holds shares of the coordinates, above 0 and "
      "at most 1"
    )
  if len({percent(share) for share in kept}) < len(kept):
    raise UsageError(f"study.kept is {kept}; shares differ in whole per cents")


def check_band(config: Any) -> None:
  """Checks what two fields say together, which are set one after the other.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: if the band is empty.
  """
  own = config.discovery
  if own.low >= own.high:
    raise UsageError(
      f"discovery.low is {own.low} and discovery.high {own.high}: the band "
      "between them is empty"
    )


def percent(share: float) -> int:
  """A share in whole per cents, as metrics are named ("kept_60_middle").

  Args:
    share: between 0 and 1.

  Returns:
    The number.
  """
  return round(100 * share)


def _limits(low, high) -> str:
  return f"at least {low}" if high == math.inf else f"{low} to {high}"
