"""Streams against the batches that are drawn from columns."""

import itertools

import jax
import numpy as np
import pytest

from kd_jax.datasets import pipeline
from kd_jax.training.state import State

_N, _B = 23, 8
_IMAGE = np.random.default_rng(0).integers(0, 256, (_N, 2, 2, 1), np.uint8)
_SOURCE = [
  {"image": _IMAGE[i], "label": i % 3, "name": f"file {i}"} for i in range(_N)
]


def _take(count, **kwargs):
  return list(
    itertools.islice(
      pipeline.stream(_SOURCE, 5, _B, threads=2, **kwargs), count
    )
  )


def test_equals_columns():
  columns = {
    "image": _IMAGE,
    "label": np.array([r["label"] for r in _SOURCE], np.int32),
  }

  def step(state, batch, *, axis_name=None):
    return state.replace(step=state.step + 1), batch

  drawn = jax.jit(pipeline.from_columns(step, _B))
  state = State.create(seed=5, params={}, opt_state={}, model_state={})
  for streamed in _take(5):
    state, batch = drawn(state, columns)
    assert batch.keys() == streamed.keys()
    for name, values in batch.items():
      assert values.dtype == streamed[name].dtype, name
      np.testing.assert_array_equal(values, streamed[name])


def test_resumes_and_shards():
  whole = _take(4)
  for process in range(2):
    parts = _take(2, start_step=2, process_index=process, process_count=2)
    mine = slice(process * 4, process * 4 + 4)
    for part, batch in zip(parts, whole[2:], strict=True):
      for name in batch:
        np.testing.assert_array_equal(part[name], batch[name][mine])


def test_bad_sizes():
  with pytest.raises(ValueError, match="8 rows does not divide over 3 proc"):
    pipeline.stream(_SOURCE, 0, _B, process_count=3)
  with pytest.raises(ValueError, match="0 records"):
    pipeline.stream([], 0, _B)
