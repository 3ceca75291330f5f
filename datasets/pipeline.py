"""Feeding steps: batches drawn inside the compiled program, and passes.

Columns are a dict of arrays with one leading axis of n rows. They are placed on
the devices once (`accel.place`) and given to every call; a wrapper of this
module draws the batch from them inside the compiled program, so that a step
costs no work on the host:

  run = accel.data_parallel(from_columns(train_step, 256), data="replicated")
  state, metrics = run(state, columns)

What does not fit on a device comes as a `stream` of the same batches, or stands
among the columns as `hosted.Hosted`. A batch
is a dict of the columns' rows with three more: "row" (int32, the place in the
global batch), "index" (int32, the row of the data set) and "where" (bool, False
on padding).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from kd_jax import accel
from kd_jax.datasets import hosted
from kd_jax.datasets.decode import columns
from kd_jax.datasets.order import host_rows, rows
from kd_jax.datasets.streams import stream
from kd_jax.errors import UsageError

__all__ = [
  "columns",
  "from_columns",
  "host_rows",
  "map_columns",
  "over_columns",
  "rows",
  "shuffled",
  "stream",
]

PyTree = Any
Columns = Mapping[str, Array]
Draw = Callable[[Any, Int[Array, "b"], int, int], Int[Array, "b"]]
ADDED = ("row", "index", "where")


def shuffled(
  state: Any, slots: Int[Array, "b"], batch_size: int, n: int
) -> Int[Array, "b"]:
  """Draws in the order of `rows`: exact epochs, a new order for each.

  Args:
    state: anything with `seed` and `step`.
    slots: places in the global batch.
    batch_size: rows in the global batch.
    n: rows in the data set.

  Returns:
    One row of the data set per slot.
  """
  return rows(state.seed, state.step, batch_size, n, slots)


class Drawing:
  """A step that draws its own batch from columns.

  Attributes:
    step: `(state, batch, *, axis_name) -> anything`.
  """

  def __init__(self, step: Callable[..., Any], batch_size: int, draw: Draw):
    self.step = step
    self._batch_size = batch_size
    self._draw = draw

  def batch(
    self, state: Any, columns: Columns, *, axis_name: str | None = None
  ) -> dict[str, Array]:
    """This device's part of the batch of the state's step."""
    slots = _slots(self._batch_size, axis_name)
    n = _length(columns)
    index = self._draw(state, slots, self._batch_size, n).astype(jnp.int32)
    return _gather(columns, slots, index, jnp.ones(slots.shape, bool))

  def __call__(
    self, state: Any, columns: Columns, *, axis_name: str | None = None
  ) -> Any:
    """Takes the step on the batch that it draws."""
    batch = self.batch(state, columns, axis_name=axis_name)
    return self.step(state, batch, axis_name=axis_name)


def from_columns(
  step: Callable[..., Any], batch_size: int, *, draw: Draw = shuffled
) -> Drawing:
  """Makes a step that draws its own batch from columns.

  Args:
    step: `(state, batch, *, axis_name) -> anything`.
    batch_size: rows in the global batch; each device draws its part of them.
    draw: `(state, slots, batch_size, n) -> rows of the data set`, a pure
      function; a method that trains on a changing selection gives its own.

  Returns:
    `(state, columns, *, axis_name=None)` with the step's results; its `batch`
    is what it draws. It raises ValueError if the devices do not divide the
    batch, or the columns disagree about their length.
  """
  return Drawing(step, batch_size, draw)


def over_columns(
  eval_step: Callable[..., Any], batch_size: int
) -> Callable[..., Any]:
  """Makes one pass over all rows out of an evaluation of one batch.

  Args:
    eval_step: `(state, batch, *, axis_name) -> {name: Mean}`. Like any step it
      sums over `axis_name` what it returns (`accel.sum`), so that an evaluation
      which compares rows of all devices is right as well.
    batch_size: rows in a global batch. The last batch is padded with rows whose
      "where" is False.

  Returns:
    `(state, columns, *, axis_name=None) -> {name: Mean}`, one compiled program.
  """

  def evaluate(state, columns, *, axis_name=None):
    def one(batch):
      return eval_step(state, batch, axis_name=axis_name)

    at, count = _pass(columns, batch_size, axis_name)
    shapes = jax.eval_shape(lambda: one(at(0)))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(totals, i):
      return jax.tree.map(jnp.add, totals, one(at(i))), None

    return jax.lax.scan(body, zeros, jnp.arange(count))[0]

  return evaluate


def map_columns(
  fn: Callable[..., PyTree], batch_size: int
) -> Callable[..., PyTree]:
  """Makes a function of all rows out of a function of one batch.

  For scoring a pool: features, losses or predictions of every row.

  Args:
    fn: `(state, batch, *, axis_name) -> tree` of arrays with one row per row of
      the batch it is given (on several devices, of this device's part of it).
    batch_size: rows in a global batch; the last one is padded, and what `fn`
      says about padding is dropped.

  Returns:
    `(state, columns, *, axis_name=None) -> tree` of arrays (n, ...) in the
    order of the rows, whole on every device.
  """

  def mapped(state, columns, *, axis_name=None):
    n = _length(columns)
    at, count = _pass(columns, batch_size, axis_name)

    def body(_, i):
      values = fn(state, at(i), axis_name=axis_name)
      return None, accel.all_gather(values, axis_name)

    _, values = jax.lax.scan(body, None, jnp.arange(count))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n], values)

  return mapped


def _pass(columns: Columns, batch_size: int, axis_name: str | None):
  """This device's part of the i-th batch in order, and how many there are."""
  n = _length(columns)
  slots = _slots(batch_size, axis_name)

  def at(i):
    index = i * batch_size + slots
    return _gather(columns, slots, jnp.minimum(index, n - 1), index < n)

  return at, -(-n // batch_size)


def _slots(batch_size: int, axis_name: str | None) -> Int[Array, "b"]:
  """This device's places in the global batch."""
  devices = accel.axis_size(axis_name)
  if batch_size < 1 or batch_size % devices:
    raise UsageError(
      f"a global batch of {batch_size} rows does not divide over {devices} "
      "devices"
    )
  local = batch_size // devices
  first = accel.axis_index(axis_name) * local
  return (first + jnp.arange(local)).astype(jnp.int32)


def _gather(columns: Columns, slots, index, where) -> dict[str, Array]:
  """The columns' rows and the three that every batch has."""
  batch = {"row": slots, "index": index, "where": where}
  for name, column in columns.items():
    batch[name] = hosted.rows(column, index)
  # Otherwise, under mode="jit", every device would compute the whole batch.
  return accel.constrain(batch)


def _length(columns: Columns) -> int:
  """How many rows the columns have.

  Raises:
    ValueError: if there are none, they differ, or a name is taken.
  """
  lengths = {name: column.shape[0] for name, column in columns.items()}
  if not lengths or min(lengths.values()) < 1 or len({*lengths.values()}) > 1:
    raise ValueError(f"columns need one length of at least 1: {lengths}")
  if taken := sorted(set(lengths) & set(ADDED)):
    raise ValueError(f"columns may not be named {taken}: batches add those")
  return next(iter(lengths.values()))
