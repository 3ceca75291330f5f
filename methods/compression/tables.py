"""Scheme (a): hashed, circulant, Fastfood and ACDC layers in a network.

They begin from scratch: the trained kernel has no place in them. Their signs,
seeds and permutations are fixed, and stay in the transform's state.
"""

from collections.abc import Mapping
from typing import Any

import jax

from kd_jax.errors import UsageError
from kd_jax.methods.compression import structured, trees
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
_FIXED = ("seed", "sign", "perm")
NAMES = ("hashed", "circulant", "fastfood", "acdc")


def table(
  name: str,
  amount: float,
  *,
  include: trees.Patterns = "*",
  exclude: trees.Patterns = "*head*",
) -> Transform:
  """Puts structural matrices in the place of dense kernels.

  Args:
    name: "hashed", "circulant", "fastfood" or "acdc".
    amount: see `structured.create`.
    include: patterns of the kernels' paths.
    exclude: patterns of what stays dense; the last layer is small.

  Returns:
    The transform.

  Raises:
    UsageError: for an amount that is not positive; in `init` without a dense
      kernel.
  """
  if not amount > 0:
    raise UsageError(f"{name}:{amount:g}: it is above 0")

  def init(key, params):
    free, fixed = {}, {}
    wanted = trees.kernels(params, include, exclude)
    for i, (path, w) in enumerate(wanted.items()):
      if w.ndim == 2:
        key_i = jax.random.fold_in(key, i)
        parts = structured.create(name, key_i, *w.shape, amount)
        fixed[path] = {k: parts.pop(k) for k in _FIXED if k in parts}
        free[path] = {name: parts}
    if not free:
      raise UsageError(f"{name}: no dense kernel that it could replace")
    return trees.replace(params, free), {"fixed": fixed}

  def whole(params, state, step=0):
    del step
    fixed: Mapping[str, Any] = state["fixed"]
    new = {
      path: {name: {**trees.get(params, path)[name], **constants}}
      for path, constants in fixed.items()
    }
    return trees.replace(params, new)

  return Transform(name, "table", init, whole, finalize=whole)
