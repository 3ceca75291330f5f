"""The tasks: `make` gives one, `shifted` the same under another kernel."""

from collections.abc import Callable
from functools import partial
from typing import Any

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.environments import (
  classic,
  files,
  grids,
  paper,
)
from kd_jax.methods.robust_mdp.environments.mdp import Mdp as Mdp

# By name: the builder, and which of its arguments a shift of the kernel moves.
BUILDERS: dict[str, tuple[Callable[..., Mdp], str]] = {
  "chain": (paper.chain, "p"),
  "ring": (paper.ring, "p"),
  "garnet": (classic.garnet, "mix"),
  "riverswim": (classic.riverswim, "up"),
  "machine": (classic.machine, "wear"),
  "inventory": (classic.inventory, "demand"),
  "cliff": (grids.cliff, "slip"),
  "frozen_lake": (grids.frozen_lake, "success_rate"),
  "frozen_lake_8x8": (partial(grids.frozen_lake, size="8x8"), "success_rate"),
  "cliff_walking": (grids.cliff_walking, "slip"),
  "taxi": (grids.taxi, "slip"),
}


def is_file(name: str) -> bool:
  """Whether a task is meant as the path of a file, `.npz` in any case."""
  return name.lower().endswith(".npz")


def make(name: str, **settings: Any) -> Mdp:
  """A task by name, or the user's own.

  Args:
    name: one of `BUILDERS`, or the path of an `.npz` (see `files`).
    **settings: arguments of the builder; a file takes none.

  Returns:
    The model.

  Raises:
    UsageError: for an unknown name or argument, or a bad file.
  """
  if is_file(name):
    if settings:
      raise UsageError(
        f"{name} holds the whole model; it takes no {', '.join(settings)}"
      )
    return files.load(name)
  if name not in BUILDERS:
    raise UsageError(
      f"no environment {name!r}; there are {', '.join(BUILDERS)}, garnet-S-A-B "
      "with three numbers, and the path of an .npz with P, R and gamma"
    )
  try:
    return BUILDERS[name][0](**settings)
  except TypeError as error:
    raise UsageError(f"{name}: {error}") from error


def shifted(name: str, shift: float, **settings: Any) -> Mdp:
  """The same task under a shifted kernel.

  Args:
    name: one of `BUILDERS`.
    shift: the value of the argument that describes the kernel (FrozenLake's
      success rate, ...).
    **settings: the builder's other arguments.

  Returns:
    The model.

  Raises:
    UsageError: for a file, whose shifted kernel is a file of its own.
  """
  if is_file(name):
    raise UsageError(
      f"{name} has no argument to shift; make the shifted kernel from its file"
    )
  argument = BUILDERS[name][1] if name in BUILDERS else "shift"
  return make(name, **{**settings, argument: shift})
