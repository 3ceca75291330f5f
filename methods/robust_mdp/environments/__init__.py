"""The tasks: `make(name)`, and `shifted(name, shift)` for the same task under
another kernel.
"""

from collections.abc import Callable
from typing import Any

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp.environments import paper
from kd_jax.methods.robust_mdp.environments.mdp import Mdp as Mdp

# By name: the builder, and which of its arguments a shift of the kernel moves.
BUILDERS: dict[str, tuple[Callable[..., Mdp], str]] = {
  "chain": (paper.chain, "p"),
  "ring": (paper.ring, "p"),
}


def make(name: str, **settings: Any) -> Mdp:
  """A task by name.

  Args:
    name: one of `BUILDERS`.
    **settings: arguments of its builder.

  Returns:
    The model.

  Raises:
    UsageError: for an unknown name.
  """
  if name not in BUILDERS:
    raise UsageError(
      f"no environment {name!r}; there are {', '.join(BUILDERS)}"
    )
  return BUILDERS[name][0](**settings)


def shifted(name: str, shift: float, **settings: Any) -> Mdp:
  """The same task under a shifted kernel.

  Args:
    name: one of `BUILDERS`.
    shift: the value of the argument that describes the kernel.
    **settings: the builder's other arguments.

  Returns:
    The model.
  """
  return make(name, **{**settings, BUILDERS[name][1]: shift})
