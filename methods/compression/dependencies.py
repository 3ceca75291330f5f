"""Which channels of which parameters live and die together, for any network.

The network's program (its jaxpr) is read once, without computing anything.
Every index of every axis of every parameter has a number of its own; going
through the program, numbers that meet are tied: a convolution ties its kernel's
inputs to the channels that come in, an addition ties two branches, a reshape
carries channels into a dense layer's rows. What cannot lose an index (images,
logits, space, the mean over channels of a layer norm) is tied to number 0. The
connected components are what can be removed, whole.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Literal
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kd_jax.methods.compression import rules, trees

PyTree = Any
Slot = tuple[str, int]
Group = dict[Slot, np.ndarray]


class Channels(NamedTuple):
  """The removable channels of a network.

  Attributes:
    component: path to one array of components per axis; 0 is "never".
    groups: the removable ones. A group's channels are alike, an axis of each of
      the same parameters: by (path, axis), the component of each index there,
      0 where it is not the group's (the rows behind a flattened map have each
      channel's component many times).
    ranks: axes of each parameter.
    depthwise: kernels that hand channels on and make none.
  """

  component: dict[str, list[np.ndarray]]
  groups: list[Group]
  ranks: dict[str, int]
  depthwise: frozenset[str]


def read(apply: Callable[..., Any], variables: PyTree, *args: Any) -> Channels:
  """Reads a network's channels from its program.

  Args:
    apply: `(variables, *args) -> anything`.
    variables: its collections, arrays or shapes; "params/..." in paths.
    *args: inputs, arrays or shapes.

  Returns:
    What can be removed.
  """
  shapes = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (variables, args)
  )
  closed = jax.make_jaxpr(lambda v, a: apply(v, *a))(*shapes)
  leaves = trees.flatten(shapes[0])
  walk = rules.Walk()
  labels, numbers = [], {}
  for path, leaf in leaves.items():
    numbers[path] = [walk.fresh(n) for n in leaf.shape]
    labels.append(dict(enumerate(numbers[path])))
  for leaf in jax.tree.leaves(shapes[1]):
    labels.append({d: np.zeros(n, int) for d, n in enumerate(leaf.shape)})
  out = run(closed.jaxpr, closed.consts, labels, walk)
  for found in out:
    walk.freeze(found)
  component = _components(walk)
  by_axis = {p: [component[n] for n in axes] for p, axes in numbers.items()}
  ranks = {p: len(leaf.shape) for p, leaf in leaves.items()}
  hands_on = frozenset(
    p for p, axes in numbers.items() if axes and {*axes[-1]} & walk.depthwise
  )
  return Channels(by_axis, _groups(by_axis), ranks, hands_on)


def run(jaxpr, consts, labels, walk) -> list[rules.Labels]:
  """Carries labels through a program; see `rules`."""
  env: dict[Any, rules.Labels] = {}
  for var, const in zip(jaxpr.constvars, consts, strict=True):
    shape = np.shape(const)
    env[var] = {d: np.zeros(n, int) for d, n in enumerate(shape) if n > 1}
  env.update(zip(jaxpr.invars, labels, strict=True))

  def of(v):
    return {} if isinstance(v, Literal) else env.get(v, {})

  for eqn in jaxpr.eqns:
    ins = [of(v) for v in eqn.invars]
    inner = rules.program(eqn)
    if inner is not None:
      closed, ins = inner[0], inner[1](ins)
      out = run(closed.jaxpr, closed.consts, ins, walk)
    else:
      out = rules.carry(eqn, ins, walk)
    env.update(zip(eqn.outvars, out, strict=False))
  return [of(v) for v in jaxpr.outvars]


def _components(walk) -> np.ndarray:
  """Component numbers of all labels; that of label 0 is 0."""
  a, b = (np.concatenate([np.zeros(1, int), *side]) for side in walk.pairs())
  ones = np.ones(len(a), bool)
  graph = coo_matrix((ones, (a, b)), shape=(walk.count, walk.count))
  _, found = connected_components(graph, directed=False)
  first = found[0]
  # The component of label 0 takes the number 0.
  swapped = found.copy()
  swapped[found == 0], swapped[found == first] = first, 0
  return swapped


def _groups(by_axis) -> list[Group]:
  """Components by the set of slots that they have members in."""
  slots: dict[int, set[Slot]] = {}
  for path, axes in by_axis.items():
    for axis, components in enumerate(axes):
      for c in np.unique(components):
        if c:
          slots.setdefault(int(c), set()).add((path, axis))
  groups: dict[frozenset[Slot], list[int]] = {}
  for c, where in slots.items():
    groups.setdefault(frozenset(where), []).append(c)
  found = []
  for where, classes in groups.items():
    if len(classes) > 1 and len(where) > 1:
      wanted = np.array(classes)
      found.append(
        {
          slot: np.where(
            np.isin(by_axis[slot[0]][slot[1]], wanted),
            by_axis[slot[0]][slot[1]],
            0,
          )
          for slot in sorted(where)
        }
      )
  return found


def producers(channels: Channels, group: Group) -> list[Slot]:
  """The kernels whose outputs a group's channels are.

  Args:
    channels: of the network.
    group: one of its groups.

  Returns:
    (path, axis) of kernels' last axes.
  """
  return [
    (path, axis)
    for path, axis in group
    if channels.ranks[path] >= 2 and axis == channels.ranks[path] - 1
  ]


def classes(group: Group) -> np.ndarray:
  """The components of a group.

  Args:
    group: one of `Channels.groups`.

  Returns:
    Their numbers, ascending.
  """
  found = np.unique(np.concatenate(list(group.values())))
  return found[found > 0]


def cut(
  variables: PyTree, channels: Channels, removed: Sequence[int]
) -> PyTree:
  """Removes components from every parameter and statistic.

  Args:
    variables: host arrays.
    channels: read from the same network.
    removed: components.

  Returns:
    The smaller variables.
  """
  gone = np.asarray(removed, int)
  new = {}
  for path, leaf in trees.flatten(variables).items():
    leaf = np.asarray(leaf)
    for axis, components in enumerate(channels.component[path]):
      leaf = np.compress(~np.isin(components, gone), leaf, axis)
    new[path] = leaf
  return trees.unflatten(new)


def zero(variables: PyTree, channels: Channels, removed: Sequence[int]) -> Any:
  """The same network with these channels at zero, at its old shape.

  Everything of a removed channel is zeroed, its norm's scale and bias among it:
  with the kernel's slice alone at zero a norm would still hand on its bias.
  Statistics stay, so that nothing is divided by zero.

  Args:
    variables: collections of arrays.
    channels: read from the same network.
    removed: components.

  Returns:
    The variables.
  """
  gone = np.asarray(removed, int)
  new = {}
  for path, leaf in trees.flatten(variables).items():
    leaf = np.array(leaf)
    if path.startswith("params/"):
      for axis, components in enumerate(channels.component[path]):
        index: list[Any] = [slice(None)] * leaf.ndim
        index[axis] = np.isin(components, gone)
        leaf[tuple(index)] = 0
    new[path] = leaf
  return trees.unflatten(new)
