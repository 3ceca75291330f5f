"""What a configuration may say."""

import math
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError

_CHOICES = {
  "probe.kind": ("ridge", "softmax"),
  # Those of ssl.
  "tune.optimizer": ("sgd", "lars", "lars_clipped", "adam", "adamw"),
  "heat.combine": ("mean", "max"),
}
_RANGES = (
  ("examples", 50, 2**24),
  ("discovery.eps", 0.0, math.inf),
  ("discovery.low", 0.0, 100.0),
  ("discovery.high", 0.0, 100.0),
  ("discovery.most_empty", 0.0, 1.0),
  ("probe.l2", fields.ABOVE_0, math.inf),
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
  # At 1 nothing would be left.
  ("heat.region", -1.0, 0.999),
  ("heat.threshold", 0.0, 0.999),
  ("heat.shown", 1, 64),
)


def check(config: Any) -> None:
  """Checks each field.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  fields.check(config, _CHOICES, _RANGES)
  kept = config.study.kept
  if not kept or not all(percent(s) >= 1 and s <= 1 for s in kept):
    raise UsageError(
      f"study.kept is {kept}; it holds shares of the coordinates, a per cent "
      "(0.01) at least and 1 at most"
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


def check_threshold(config: Any, r: int) -> None:
  """Checks that a coordinate can stand out at all.

  Args:
    config: a `config.Config`.
    r: how many coordinates a representation has.

  Raises:
    UsageError: if the threshold is more than any of r numbers can exceed.
  """
  eps, most = config.discovery.eps, math.sqrt(r - 1)
  if eps >= most:
    raise UsageError(
      f"discovery.eps is {eps}: of {r} coordinates none is more than "
      f"{most:.3g} deviations above their mean; 0 chooses one"
    )


def percent(share: float) -> int:
  """A share in whole per cents, as metrics are named ("kept_60_middle").

  Args:
    share: between 0 and 1.

  Returns:
    The number.
  """
  return round(100 * share)
