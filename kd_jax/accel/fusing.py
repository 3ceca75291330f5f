"""Many steps in one dispatch, and the guard against non-finite numbers."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kd_jax.accel import collectives

PyTree = Any


def scan_steps(
  step: Callable[..., Any], split: PyTree = None, parts: int = 1
) -> Callable[..., Any]:
  """Fuses n steps into one dispatch, n being an argument.

  One program serves every n, the remainder of an epoch included, so that the
  bits of a state do not depend on how its steps were grouped.

  A CPU runs what does not depend on each other at once, within the body of a
  loop; two loops it runs one after the other. Members of an ensemble whose
  operations are too small for all cores are therefore taken in parts, each a
  state of its own from the first step of a dispatch to the last.

  Args:
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`.
    split: with more than one part: see `data_parallel`. What it divides is cut,
      of the rest each part has its own.
    parts: how many parts a CPU takes side by side; the next smaller number that
      divides the members (of a prime number of them one). They must know
      nothing of each other.

  Returns:
    `(state, (data, n), *, axis_name) -> (state, ({name: Mean}, healthy))`:
    n steps over the same data, the metrics added up (over the parts, too), and
    how many steps came before the first one with a non-finite metric (n if
    there was none).

  Raises:
    ValueError: for parts of a state that nothing divides.
  """
  if parts > 1 and not any(jax.tree.leaves(split)):
    raise ValueError(f"parts is {parts}, but split divides nothing")

  def steps(state, data, *, axis_name=None):
    data, n = data
    held = _cut(state, split, parts if jax.default_backend() == "cpu" else 1)

    def all_parts(held):
      taken = [step(part, data, axis_name=axis_name) for part in held]
      states, found = zip(*taken, strict=True)
      return list(states), functools.reduce(_added, found)

    shapes = jax.eval_shape(lambda part: step(part, data)[1], held[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(_, carry):
      held, totals, healthy, whole = carry
      held, metrics = all_parts(held)
      whole = whole & _finite(metrics)
      totals = _added(totals, metrics)
      return held, totals, healthy + whole.astype(jnp.int32), whole

    start = (held, zeros, jnp.int32(0), jnp.bool_(True))
    held, totals, healthy, _ = jax.lax.fori_loop(0, n, body, start)
    return _joined(held, split), (totals, healthy)

  return steps


def _added(a, b):
  return jax.tree.map(jnp.add, a, b)


def _cut(state, split, parts):
  """The states of the parts; of one part the state as it is."""
  if parts == 1:
    return [state]
  pairs = zip(jax.tree.leaves(state), jax.tree.leaves(split), strict=True)
  members = next(len(x) for x, divided in pairs if divided)
  parts = next(k for k in range(parts, 0, -1) if members % k == 0)

  def part(i):
    return jax.tree.map(
      lambda x, divided: jnp.split(x, parts)[i] if divided else x, state, split
    )

  return [part(i) for i in range(parts)]


def _joined(held, split):
  if len(held) == 1:
    return held[0]
  return jax.tree.map(
    lambda divided, *xs: jnp.concatenate(xs) if divided else xs[0], split, *held
  )


def one_step(step: Callable[..., Any]) -> Callable[..., Any]:
  """A single step with `scan_steps`' results: metrics, and 1 if finite else 0.

  For bodies that must not stand in a loop (on the CPU the gradient of the
  compiler's own convolution is tens of times slower there than outside; that of
  `backbones.Conv` is not).

  Args:
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`.

  Returns:
    `(state, data, *, axis_name) -> (state, ({name: Mean}, healthy))`.
  """

  def single(state, data, *, axis_name=None):
    state, metrics = step(state, data, axis_name=axis_name)
    return state, (metrics, _finite(metrics).astype(jnp.int32))

  return single


def guarded(fn: Callable[..., Any], split: PyTree = None) -> Callable[..., Any]:
  """Has a function say which arrays of the state stopped being finite in it.

  A metric does not show all: where no step follows, or where a ReLU's maximum
  drops a NaN, parameters are lost and the loss is as it was. An array that was
  not finite before (a curve with points to come, a best value that starts at
  infinity) is not asked.

  Args:
    fn: `(state, data, *, axis_name) -> (state, found)`: what `scan_steps` or
      `one_step` returns, or an epoch function.
    split: see `data_parallel`. Devices ask each other where it divides
      something, and only there.

  Returns:
    The same with one more output: `(state, data, *, axis_name) -> (state,
    (found, lost))`, where `lost` has a number for each leaf of the state, in
    the order of `jax.tree.leaves`: above 0 where the leaf was finite before and
    is not after, on any device.
  """

  def run(state, data, *, axis_name=None):
    before = _finite_leaves(state)
    state, found = fn(state, data, axis_name=axis_name)
    lost = (before & ~_finite_leaves(state)).astype(jnp.int32)
    if any(jax.tree.leaves(split)):
      lost = collectives.sum(lost, axis_name)
    return state, (found, lost)

  return run


def _finite_leaves(tree):
  """Of each leaf, whether all of it is finite; what has no NaN is."""

  def finite(x):
    if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
      return jnp.isfinite(x).all()
    return jnp.bool_(True)

  leaves = [finite(x) for x in jax.tree.leaves(tree)]
  return jnp.stack(leaves) if leaves else jnp.ones(0, bool)


def _finite(metrics):
  leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(metrics)]
  return jnp.stack(leaves).all() if leaves else jnp.bool_(True)
