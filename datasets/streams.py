"""Batches of data that does not fit on the devices, read by Grain's threads."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kd_jax.datasets.decode import numeric
from kd_jax.datasets.order import host_rows

_LAST_STEP = 2**31 - 1


def stream(
  source: Sequence[Any],
  seed: int,
  batch_size: int,
  *,
  start_step: int = 0,
  process_index: int | None = None,
  process_count: int | None = None,
  threads: int = 8,
) -> Iterator[dict[str, np.ndarray]]:
  """The batches that `from_columns` would draw, read from random access.

  Batch s is a function of (seed, s) alone: a run that stopped after s steps
  goes on with `start_step=s`.

  Args:
    source: records by index, each a dict of features of one shape
      (`builder.as_data_source(split)`, say).
    seed: the run's seed.
    batch_size: rows in the global batch.
    start_step: the step whose batch comes first.
    process_index: which process this is (`jax.process_index()` if None).
    process_count: how many there are (`jax.process_count()` if None); each
      reads its contiguous slots.
    threads: batches that are read at once, and wait ready.

  Returns:
    An endless iterator of this process's parts of the batches, NumPy arrays,
    with "row" (the place in the global batch), "index" and "where".

  Raises:
    ValueError: if the processes do not divide the batch, or the source is
      empty.
  """
  import grain

  if process_count is None:
    process_count = jax.process_count()
  if process_index is None:
    process_index = jax.process_index()
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f"a global batch of {batch_size} rows does not divide over "
      f"{process_count} processes"
    )
  if not len(source):
    raise ValueError("the source of a stream has 0 records")
  local = batch_size // process_count
  slots = np.arange(process_index * local, (process_index + 1) * local)
  batches = _Batches(source, seed, batch_size, start_step, slots)
  options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
  return iter(grain.MapDataset.source(batches).to_iter_dataset(options))


class _Batches:
  """The batches from a step on, by index: what Grain's threads read."""

  def __init__(self, source, seed, batch_size, start_step, slots):
    self._source = source
    self._seed = seed
    self._batch_size = batch_size
    self._start = start_step
    self._slots = slots.astype(np.int32)

  def __len__(self) -> int:
    return _LAST_STEP - self._start

  def __getitem__(self, i: int) -> dict[str, np.ndarray]:
    index = host_rows(
      self._seed,
      self._start + i,
      self._batch_size,
      len(self._source),
      self._slots,
    )
    many = getattr(self._source, "__getitems__", None)
    wanted = index.tolist()
    records = many(wanted) if many else [self._source[j] for j in wanted]
    records = [numeric(record) for record in records]
    batch = {name: np.stack([r[name] for r in records]) for name in records[0]}
    where = np.ones(len(index), bool)
    return batch | {"row": self._slots, "index": index, "where": where}
