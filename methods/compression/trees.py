"""Parameters by path: "fc_0/kernel", picked by shell patterns."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
Patterns = str | Sequence[str]


def flatten(tree: PyTree) -> dict[str, Any]:
  """The leaves of a tree of dicts by path.

  Args:
    tree: nested dicts of arrays.

  Returns:
    {"fc_0/kernel": array, ...}, in the tree's order.
  """
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """Undoes `flatten`.

  Args:
    leaves: leaves by path.

  Returns:
    Nested dicts.
  """
  tree: dict[str, Any] = {}
  for path, leaf in leaves.items():
    *parents, last = path.split("/")
    inner = tree
    for parent in parents:
      inner = inner.setdefault(parent, {})
    inner[last] = leaf
  return tree


def matches(path: str, patterns: Patterns) -> bool:
  """Whether a path fits one of the patterns.

  Args:
    path: a leaf's path.
    patterns: one shell pattern or several; `*` also matches "/".

  Returns:
    Whether.
  """
  patterns = [patterns] if isinstance(patterns, str) else patterns
  return any(fnmatch.fnmatchcase(path, p) for p in patterns)


def kernels(
  params: PyTree, include: Patterns = "*", exclude: Patterns = ()
) -> dict[str, Any]:
  """The weights that a scheme acts on.

  Args:
    params: a tree of parameters.
    include: patterns of paths.
    exclude: patterns of paths that are left alone.

  Returns:
    The floating leaves of two or more axes that are wanted, by path. Biases
    and norms have one axis.
  """
  return {
    path: leaf
    for path, leaf in flatten(params).items()
    if len(leaf.shape) >= 2
    and jnp.issubdtype(leaf.dtype, jnp.floating)
    and matches(path, include)
    and not matches(path, exclude)
  }


def replace(params: PyTree, new: Mapping[str, Any]) -> PyTree:
  """Puts other things in the place of leaves or of subtrees.

  Args:
    params: nested dicts.
    new: what to put, by path.

  Returns:
    A new tree.
  """
  done = dict(params)
  inner: dict[str, dict[str, Any]] = {}
  for path, value in new.items():
    head, _, rest = path.partition("/")
    if rest:
      inner.setdefault(head, {})[rest] = value
    else:
      done[head] = value
  for head, values in inner.items():
    done[head] = replace(done[head], values)
  return done


def get(params: PyTree, path: str) -> Any:
  """What stands at a path, a leaf or a subtree; None if nothing does.

  Args:
    params: nested dicts.
    path: "fc_0/kernel".

  Returns:
    It.
  """
  for part in path.split("/"):
    if not isinstance(params, Mapping) or part not in params:
      return None
    params = params[part]
  return params
