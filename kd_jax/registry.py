"""Finding methods: installed packages offer them as entry points."""

import difflib
import importlib.metadata

from kd_jax.errors import UsageError
from kd_jax.experiment import Method

GROUP = "kd_jax.methods"


def names() -> list[str]:
  """The names of all installed methods, sorted."""
  return sorted({e.name for e in importlib.metadata.entry_points(group=GROUP)})


def find(name: str | Method) -> Method:
  """Loads a method by name.

  Args:
    name: its name; a Method passes as it is.

  Returns:
    The method.

  Raises:
    UsageError: for an unknown name, with the nearest ones.
  """
  if isinstance(name, Method):
    return name
  entries = {e.name: e for e in importlib.metadata.entry_points(group=GROUP)}
  if not isinstance(name, str) or name not in entries:
    raise UsageError(
      f"there is no method {name!r}; {nearest(str(name), list(entries))}"
    )
  return entries[name].load()


def nearest(name: str, known: list[str]) -> str:
  """A sentence that helps with a misspelt name.

  Args:
    name: what was written.
    known: what could have been meant.

  Returns:
    "did you mean ...?", or the list of what there is.
  """
  close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
  return (
    f"did you mean {close[0]!r}?"
    if close
    else ("there is: " + ", ".join(sorted(known)))
  )
