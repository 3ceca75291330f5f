"""What a configuration may say."""

from collections.abc import Sequence
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.divergences import DIVERGENCES
from kd_jax.methods.robust_mdp.step_sizes import cold_reach

_CHOICES = {
  "divergence": tuple(DIVERGENCES),
  "inner_rate": ("sqrt", "running", "constant", "theory"),
  "outer_rate": ("experiment", "theory"),
  "average": ("none", "eta", "q"),
  "solver": ("exact", "gradients"),
}
_RANGES = (
  ("discount", 0.0, 0.999),
  ("use_lam", 1e-6, 1e6),
  ("seeds", 1, 2**16),
  ("outer_steps", 1, fields.MOST),
  ("inner_steps", 1, 2**16),
  ("transitions", 1, fields.MOST),
  ("chunk", 1, 2**20),
  ("first_action", 0.0, 1 - 1e-6),
  ("restart", 1e-6, 1.0),
  ("samples", 1, 2**24),
  ("share", 0.0, 1.0),
  ("rho", 1e-6, 1e6),
  ("constrained_rate", 1e-6, 1e6),
  ("multiplier", 1e-3, 1e6),
  ("levels", 0, 12),
  ("points", 1, 10_000),
)


def check_fields(config: Any) -> None:
  """Checks each field by itself.

  Args:
    config: a `config.Config`.

  Raises:
    UsageError: one sentence for the first field that is wrong.
  """
  fields.check(config, _CHOICES, _RANGES)
  if config.solver == "gradients" and config.divergence == "l1":
    raise UsageError("solver gradients needs a finite conjugate; l1 has none")
  _check_lams(config.lams)
  if config.seed + config.seeds > 2**32:
    raise UsageError(
      f"seed {config.seed} and {config.seeds} seeds from it on pass 2**32"
    )


def _check_lams(lams: Sequence[float]) -> None:
  if not lams:
    raise UsageError("lams is empty; it holds weights of the penalty, above 0")
  for lam in lams:
    if not 1e-6 <= lam <= 1e6:
      raise UsageError(f"lams has {lam}; each is 1e-06 to 1e+06")
  if list(lams) != sorted(set(lams)):
    raise UsageError(f"lams is {lams}; it must increase")


def floors(config: Any, v_range: float) -> list[str]:
  """Warns of weights that a cold start cannot serve.

  Source: ours.

  Args:
    config: an arm's configuration.
    v_range: the largest value less the smallest.

  Returns:
    A line for the weights at which eta cannot climb from 0 to the values in T'
    steps; nothing for warm starts and other divergences.
  """
  if config.warm or config.divergence != "chi2":
    return []
  low = [
    lam for lam in config.lams if cold_reach(lam, config.inner_steps) < v_range
  ]
  if not low:
    return []
  return [
    f"cold start: eta climbs at most 2 lam sqrt(T') in T' = "
    f"{config.inner_steps} steps, less than the values' range {v_range:.3g} "
    f"for lam {', '.join(f'{lam:g}' for lam in low)}; an error remains there "
    "that no outer step removes (warm starts have none)"
  ]
