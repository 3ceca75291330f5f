"""Reading activations out of any linen module, without changing it."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

PyTree = Any


def tap(
  module: nn.Module, patterns: str | Sequence[str]
) -> Callable[..., tuple[Any, dict[str, PyTree]]]:
  """Makes a module also return what its submodules returned.

  A path is the submodule's name with its parents' and its method,
  "stage_1_block_0/norm_1/__call__"; what a submodule sowed has the name it was
  sown under. A path that was filled several times in a pass carries the place
  in that order, ".../__call__/0", ".../__call__/1". A shell pattern's `*` also
  matches "/".

  Args:
    module: any linen module.
    patterns: paths, or shell patterns of paths ("stage_*_block_0/__call__").

  Returns:
    `fn(variables, *args, mutable=False, **kwargs) -> (outputs, taps)`, where
    `outputs` is what `module.apply` would return (with `mutable` the pair of
    outputs and updated collections), and `taps` maps each matching path to the
    activations, in the order of the patterns. Under jit what is not returned
    is not kept. It raises a ValueError naming the pattern that matches no path,
    and the paths there are.
  """
  wanted = [patterns] if isinstance(patterns, str) else list(patterns)

  def apply(variables, *args, mutable=False, **kwargs):
    outputs, updates = module.apply(
      variables,
      *args,
      mutable=_with_intermediates(mutable),
      capture_intermediates=True,
      **kwargs,
    )
    updates = dict(updates)
    found = _paths(updates.pop("intermediates", {}))
    taps = _select(found, wanted)
    return (outputs, updates) if mutable is not False else outputs, taps

  return apply


def _with_intermediates(mutable):
  if mutable is True:
    return True
  if mutable is False:
    return ["intermediates"]
  return [
    *([mutable] if isinstance(mutable, str) else mutable),
    "intermediates",
  ]


def _paths(tree: Mapping[str, Any], above: str = "") -> dict[str, PyTree]:
  """Flattens the collection; its leaves are tuples, one entry per call."""
  found = {}
  for name, value in tree.items():
    path = f"{above}{name}"
    if isinstance(value, Mapping):
      found |= _paths(value, f"{path}/")
    elif isinstance(value, tuple) and len(value) == 1:
      found[path] = value[0]
    elif isinstance(value, tuple):
      found |= {f"{path}/{i}": call for i, call in enumerate(value)}
    else:
      # Sown with a reduction of the module's own.
      found[path] = value
  return found


def _select(found, wanted):
  taps = {}
  for pattern in wanted:
    matches = [p for p in found if fnmatch.fnmatchcase(p, pattern)]
    if not matches:
      raise ValueError(
        f"{pattern!r} matches no path; there are {', '.join(sorted(found))}"
      )
    taps |= {path: found[path] for path in matches}
  return taps
