"""How each operation of a program carries the labels of its arrays' axes.

A label of an axis is an array of numbers, one per index. An axis without one is
free: it takes whatever length it is broadcast against. Number 0 is "never
removed". What is not known is never removed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

Labels = dict[int, np.ndarray]


class Walk:
  """Numbers, and which of them were tied."""

  def __init__(self):
    self.count = 1
    self.depthwise: set[int] = set()
    self._a: list[np.ndarray] = []
    self._b: list[np.ndarray] = []

  def fresh(self, n: int) -> np.ndarray:
    """N numbers that nobody has."""
    self.count += n
    return np.arange(self.count - n, self.count)

  def tie(self, a: np.ndarray | None, b: np.ndarray | None) -> Any:
    """Ties two axes index by index; gives the label of the result."""
    if a is None or b is None:
      return b if a is None else a
    self._a.append(a)
    self._b.append(b)
    return a

  def freeze(self, labels: Labels | None, axes: Sequence[int] = ()) -> None:
    """Ties axes (all if none is named) to number 0."""
    for axis, label in (labels or {}).items():
      if not axes or axis in axes:
        self.tie(label, np.zeros_like(label))

  def pairs(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Everything that was tied."""
    return self._a, self._b


def program(eqn) -> tuple[Any, Callable[[list], list]] | None:
  """The program inside an equation that is only a wrapping, or None.

  Args:
    eqn: an equation.

  Returns:
    The closed program, and what makes its inputs' labels of the equation's.
  """
  name, params = eqn.primitive.name, eqn.params
  if name == "cond":  # By platform: the last branch is every platform's.
    return params["branches"][-1], lambda ins: ins[1:]
  if name in ("scan", "while"):
    return None
  for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
    if key in params:
      inner = params[key]
      if isinstance(inner, Jaxpr):
        inner = ClosedJaxpr(inner, ())
      return inner, lambda ins: ins
  return None


def carry(eqn, ins: list[Labels], walk: Walk) -> list[Labels]:
  """Labels of an equation's results.

  Args:
    eqn: the equation.
    ins: labels of its inputs.
    walk: takes what is tied.

  Returns:
    One dict of labels per result.
  """
  name = eqn.primitive.name
  shapes = [np.shape(v.aval) for v in eqn.invars]
  out = np.shape(eqn.outvars[0].aval)
  if name in _RULES:
    return [_RULES[name](eqn.params, ins, shapes, out, walk)]
  if name.startswith("reduce_window") or name == "select_and_gather_add":
    return [_window(eqn.params, ins[0], walk)] * len(eqn.outvars)
  if name.startswith(("reduce_", "argm")) and "axes" in eqn.params:
    return [_reduce(eqn.params, ins[0], walk)] * len(eqn.outvars)
  plain = all(_fits(s, out) for s in shapes)
  if plain and name not in _MIXES and len(eqn.outvars) == 1:
    return [_elementwise(ins, shapes, out, walk)]
  for labels in ins:
    walk.freeze(labels)
  return [
    {d: np.zeros(n, int) for d, n in enumerate(np.shape(v.aval)) if n > 1}
    for v in eqn.outvars
  ]


# Of equal shapes, and yet an axis's indices meet.
_MIXES = {
  "sort", "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "fft",
  "triangular_solve", "cholesky", "householder_product", "scatter",
  "scatter-add", "optimization_barrier", "custom_partitioning",
}  # fmt: skip


def _fits(shape, out) -> bool:
  """Whether a shape is a scalar's, or the result's up to axes of length 1."""
  pairs = zip(shape, out, strict=False)
  return shape == () or (
    len(shape) == len(out) and all(a in (1, b) for a, b in pairs)
  )


def _elementwise(ins, shapes, out, walk) -> Labels:
  found: Labels = {}
  for labels, shape in zip(ins, shapes, strict=True):
    for axis, label in labels.items():
      if shape[axis] == out[axis]:
        found[axis] = walk.tie(found.get(axis), label)
      else:
        walk.freeze({axis: label})
  return found


def _dot(params, ins, shapes, out, walk) -> Labels:
  (left_c, right_c), (left_b, right_b) = params["dimension_numbers"]
  left, right = ins
  for a, b in zip(left_c, right_c, strict=True):
    walk.tie(left.get(a), right.get(b))
  both = [
    walk.tie(left.get(a), right.get(b))
    for a, b in zip(left_b, right_b, strict=True)
  ]
  rest = [
    labels.get(axis)
    for labels, shape, used in (
      (left, shapes[0], {*left_c, *left_b}),
      (right, shapes[1], {*right_c, *right_b}),
    )
    for axis in range(len(shape))
    if axis not in used
  ]
  found = enumerate([*both, *rest])
  return {axis: label for axis, label in found if label is not None}


def _conv(params, ins, shapes, out, walk) -> Labels:
  x, kernel = ins
  where = params["dimension_numbers"]
  (xb, xc, *_), (ko, ki, *ks) = where.lhs_spec, where.rhs_spec
  ob, oc, *_ = where.out_spec
  groups = params["feature_group_count"]
  walk.freeze(kernel, ks)
  channels, outputs = shapes[0][xc], shapes[1][ko]
  inputs, produced = x.get(xc), kernel.get(ko)
  if params["batch_group_count"] != 1:
    walk.freeze(x)
    walk.freeze(kernel)
  elif groups == 1:
    walk.tie(inputs, kernel.get(ki))
  elif groups == channels:  # Depthwise: features of a channel side by side.
    walk.freeze(kernel, [ki])
    walk.depthwise |= set(() if produced is None else produced.tolist())
    if inputs is not None:
      produced = walk.tie(produced, np.repeat(inputs, outputs // channels))
  else:
    walk.freeze(x, [xc])
    walk.freeze(kernel, [ki, ko])
  found = {ob: x.get(xb), oc: produced}
  return {axis: label for axis, label in found.items() if label is not None}


def _broadcast(params, ins, shapes, out, walk) -> Labels:
  found: Labels = {}
  for axis, to in enumerate(params["broadcast_dimensions"]):
    label = ins[0].get(axis)
    if label is None:
      continue
    if shapes[0][axis] == out[to]:
      found[to] = label
    else:
      walk.freeze({axis: label})
  return found


def _reshape(params, ins, shapes, out, walk) -> Labels:
  """An axis keeps its label where the new index alone says the old one."""
  del params
  found: Labels = {}
  old = shapes[0]
  for axis, label in ins[0].items():
    wide = label.reshape([-1 if d == axis else 1 for d in range(len(old))])
    full = np.broadcast_to(wide, old).reshape(out)
    for new in range(len(out)):
      line = np.moveaxis(full, new, 0).reshape(out[new], -1)
      if (line == line[:, :1]).all() and (out[new] > 1 or full.size == 1):
        found[new] = walk.tie(found.get(new), line[:, 0].copy())
        break
    else:
      if label.size > 1:
        walk.freeze({axis: label})
  return found


def _transpose(params, ins, shapes, out, walk) -> Labels:
  order = params["permutation"]
  return {new: ins[0][old] for new, old in enumerate(order) if old in ins[0]}


def _squeeze(params, ins, shapes, out, walk) -> Labels:
  gone = set(params["dimensions"])
  walk.freeze(ins[0], sorted(gone)) if gone else None
  left = [axis for axis in range(len(shapes[0])) if axis not in gone]
  return {new: ins[0][old] for new, old in enumerate(left) if old in ins[0]}


def _concatenate(params, ins, shapes, out, walk) -> Labels:
  axis = params["dimension"]
  found: Labels = {}
  for labels in ins:
    for d, label in labels.items():
      if d != axis:
        found[d] = walk.tie(found.get(d), label)
  parts = [
    labels.get(axis, np.zeros(shape[axis], int))
    for labels, shape in zip(ins, shapes, strict=True)
  ]
  return {**found, axis: np.concatenate(parts)}


def _pad(params, ins, shapes, out, walk) -> Labels:
  found: Labels = {}
  for axis, label in ins[0].items():
    low, high, inner = params["padding_config"][axis]
    if (low, high, inner) == (0, 0, 0):
      found[axis] = label
    elif inner or low < 0 or high < 0:
      walk.freeze({axis: label})
    else:
      found[axis] = np.pad(label, (low, high))
  return found


def _slice(params, ins, shapes, out, walk) -> Labels:
  """A part of an axis is named by numbers that would no longer be true."""
  whole = [axis for axis, n in enumerate(shapes[0]) if out[axis] == n]
  part = [axis for axis in ins[0] if axis not in whole]
  if part:
    walk.freeze(ins[0], part)
  return {axis: ins[0][axis] for axis in whole if axis in ins[0]}


def _rev(params, ins, shapes, out, walk) -> Labels:
  turned = params["dimensions"]
  return {d: n[::-1] if d in turned else n for d, n in ins[0].items()}


def _reduce(params, labels, walk) -> Labels:
  axes = params["axes"]
  if axes:
    walk.freeze(labels, axes)
  rank = max([*labels, *axes, -1]) + 1
  left = [axis for axis in range(rank) if axis not in axes]
  return {new: labels[old] for new, old in enumerate(left) if old in labels}


def _window(params, labels, walk) -> Labels:
  size = params["window_dimensions"]
  across = [axis for axis in labels if size[axis] > 1]
  if across:
    walk.freeze(labels, across)
  return {axis: n for axis, n in labels.items() if size[axis] == 1}


_RULES = {
  "dot_general": _dot,
  "conv_general_dilated": _conv,
  "broadcast_in_dim": _broadcast,
  "reshape": _reshape,
  "transpose": _transpose,
  "squeeze": _squeeze,
  "concatenate": _concatenate,
  "pad": _pad,
  "slice": _slice,
  "rev": _rev,
}
