"""A task made ready: model, simulator, references, and its shifted kernels."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import backups, environments
from kd_jax.methods.robust_mdp.arms import ARMS, of_arm
from kd_jax.methods.robust_mdp.config import Config

# Kernels that a policy is tried under, by the argument that a shift moves; the
# first is the nominal one.
SHIFTS: dict[str, tuple[float, ...]] = {
  "frozen_lake": (0.9, 0.7, 0.5, 1 / 3),
  "frozen_lake_8x8": (0.9, 0.7, 0.5, 1 / 3),
  "cliff": (0.05, 0.2, 0.3, 0.5),
}
_GARNET = re.compile(r"garnet-(\d+)-(\d+)-(\d+)")
# Above it neither policies nor worst cases are solved for.
LARGE = 200


@dataclasses.dataclass(frozen=True)
class Problem:
  """A task and what is asked of it.

  Attributes:
    key: names its exact solution among the products.
    mdp: the task.
    model: its arrays in float32.
    divergence: f, by name.
    lams: the weights that any arm asks for, increasing.
    shifted: models under other kernels, by label.
  """

  key: str
  mdp: environments.Mdp
  model: backups.Model
  divergence: str
  lams: tuple[float, ...]
  shifted: dict[str, backups.Model]

  def places(self, lams: Sequence[float]) -> np.ndarray:
    """Where weights stand in the exact solution."""
    return np.searchsorted(self.lams, np.asarray(lams))


def label(value: float) -> str:
  """A number as part of a metric's name: 0.5 is "0_5"."""
  return f"{value:.4g}".replace(".", "_").replace("-", "m")


def load(environment: str, discount: float) -> environments.Mdp:
  """A task by the configuration's two fields.

  Args:
    environment: its name or file.
    discount: gamma, or 0 for the task's own.

  Returns:
    The task.

  Raises:
    UsageError: if there is no such task, or the file is bad.
  """
  if environments.is_file(environment) and discount:
    raise UsageError(
      f"{environment} has a gamma of its own; leave discount at 0"
    )
  settings = {"discount": discount} if discount else {}
  if sizes := _GARNET.fullmatch(environment):
    names = ("states", "actions", "branching")
    sized = zip(names, map(int, sizes.groups()), strict=True)
    return environments.make("garnet", **dict(sized), **settings)
  return environments.make(environment, **settings)


def files(config: Config) -> dict[str, str]:
  """The user's own model among a configuration's values.

  Args:
    config: the configuration.

  Returns:
    Its path by the name of the field; nothing for a task by name.
  """
  own = environments.is_file(config.environment)
  return {"environment": config.environment} if own else {}


def _shifted(environment: str, discount: float) -> dict[str, backups.Model]:
  settings = {"discount": discount} if discount else {}
  return {
    label(shift): backups.model(
      environments.shifted(environment, shift, **settings)
    )
    for shift in SHIFTS.get(environment, ())
  }


def gather(config: Config) -> tuple[dict[str, Problem], dict[str, Problem]]:
  """The problems of a run, each once.

  Args:
    config: the configuration.

  Returns:
    Problems by key, and by arm.

  Raises:
    UsageError: for a task that cannot be made.
  """
  tasks: dict[tuple[str, float], environments.Mdp] = {}
  asked: dict[tuple[str, float, str], set[float]] = {}
  place_of: dict[str, tuple[str, float, str]] = {}
  for arm in tabular(config):
    own = of_arm(config, arm)
    if (own.environment, own.discount) not in tasks:
      mdp = load(own.environment, own.discount)
      tasks[own.environment, own.discount] = mdp
      # A task's own gamma and the same one given are one problem.
      tasks.setdefault((own.environment, mdp.discount), mdp)
    discount = tasks[own.environment, own.discount].discount
    place_of[arm] = own.environment, discount, own.divergence
    asked.setdefault(place_of[arm], set()).update(own.lams)
  found: dict[tuple[str, float, str], Problem] = {}
  for place, lams in asked.items():
    taken = {problem.key for problem in found.values()}
    found[place] = _problem(place, tasks[place[:2]], sorted(lams), taken)
  by_key = {problem.key: problem for problem in found.values()}
  return by_key, {arm: found[place] for arm, place in place_of.items()}


def _check_labels(lams):
  """Refuses weights that metrics could not tell apart, in increasing order."""
  for low, high in itertools.pairwise(lams):
    if label(low) == label(high):
      raise UsageError(
        f"lams has {low!r} and {high!r}, which metrics, named to four digits, "
        "do not tell apart; leave one out"
      )


def tabular(config: Config) -> list[str]:
  """The arms of a run that learn a table."""
  return [arm for arm in config.arms if ARMS[arm].kind != "control"]


def _problem(place, mdp, lams, taken) -> Problem:
  environment, discount, divergence = place
  _check_labels(lams)
  key = "exact_" + re.sub(r"\W+", "_", mdp.name)
  key = key if divergence == "chi2" else f"{key}_{divergence}"
  if key in taken:
    key = f"{key}_{len(taken)}"
  given = 0.0 if environments.is_file(environment) else discount
  return Problem(
    key=key,
    mdp=mdp,
    model=backups.model(mdp),
    divergence=divergence,
    lams=tuple(lams),
    shifted=_shifted(environment, given),
  )


def weights(config: Config, arm: str) -> tuple[float, ...]:
  """The weights that an arm has a Q for; (inf,) for one without a penalty.

  Args:
    config: the arm's configuration.
    arm: its name.

  Returns:
    The weights.
  """
  penalised = ARMS[arm].target == "penalised"
  return config.lams if penalised else (float("inf"),)


def nearest(config: Config, arm: str, lam: float) -> int:
  """Which of an arm's weights is nearest to one.

  Args:
    config: the run's configuration.
    arm: the arm.
    lam: the weight.

  Returns:
    Its place.
  """
  lams = np.asarray(of_arm(config, arm).lams)
  return int(np.abs(lams - lam).argmin())
