"""Many steps in one dispatch, and the guard against non-finite numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def scan_steps(step: Callable[..., Any]) -> Callable[..., Any]:
  """Fuses n steps into one dispatch, n being an argument.

  One program serves every n, the remainder of an epoch included, so that the
  bits of a state do not depend on how its steps were grouped.

  Args:
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`.

  Returns:
    `(state, (data, n), *, axis_name) -> (state, ({name: Mean}, healthy))`:
    n steps over the same data, the metrics added up, and how many steps came
    before the first one with a non-finite metric (n if there was none).
  """

  def steps(state, data, *, axis_name=None):
    data, n = data
    shapes = jax.eval_shape(lambda s: one_step(step)(s, data)[1][0], state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(_, carry):
      state, totals, healthy, whole = carry
      state, metrics = step(state, data, axis_name=axis_name)
      whole = whole & _finite(metrics)
      totals = jax.tree.map(jnp.add, totals, metrics)
      return state, totals, healthy + whole.astype(jnp.int32), whole

    start = (state, zeros, jnp.int32(0), jnp.bool_(True))
    state, totals, healthy, _ = jax.lax.fori_loop(0, n, body, start)
    return state, (totals, healthy)

  return steps


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


def _finite(metrics):
  leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(metrics)]
  return jnp.stack(leaves).all() if leaves else jnp.bool_(True)
