"""Feeding: what is drawn, and one device against four."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.datasets import pipeline
from kd_jax.metrics.mean import mean
from kd_jax.training.state import State

_N, _B = 37, 8
_X = np.random.default_rng(0).integers(0, 1000, (_N, 2)).astype(np.float32)
_COLUMNS = {"x": _X, "label": np.arange(_N, dtype=np.int32)}
_MODES = [("jit", 1), ("jit", 4), ("pmap", 4), ("shard_map", 4)]


def _state(seed=3):
  return State.create(seed=seed, params={}, opt_state={}, model_state={})


def _step(state, batch, *, axis_name=None):
  """Hands the batch out whole, in the order of the devices."""
  batch = accel.all_gather(batch, axis_name)
  return state.replace(step=state.step + 1), batch


def _evaluate(state, batch, *, axis_name=None):
  shifted = batch["x"][:, 0] + state.step
  metrics = {
    "x": mean(shifted, batch["where"]),
    "squares": mean(shifted**2 * (batch["row"] % 2), batch["where"]),
  }
  return accel.sum(metrics, axis_name)


def _lift(fn, mode, count):
  devices = jax.devices()[:count]
  run = accel.data_parallel(
    fn, mode=mode, devices=devices, data="replicated", donate=False
  )
  return run, accel.place(_state(), devices), accel.place(_COLUMNS, devices)


@pytest.mark.parametrize(("mode", "count"), _MODES)
def test_from_columns_draws_the_rows(mode, count):
  run, state, columns = _lift(pipeline.from_columns(_step, _B), mode, count)
  for step in range(6):
    state, batch = run(state, columns)
    index = pipeline.host_rows(3, step, _B, _N)
    np.testing.assert_array_equal(batch["index"], index)
    np.testing.assert_array_equal(batch["x"], _X[index])
    np.testing.assert_array_equal(batch["label"], index)
    np.testing.assert_array_equal(batch["row"], np.arange(_B))
    assert np.asarray(batch["where"]).all()


def test_jit_mode_splits_the_drawn_rows():
  """No device may gather the whole batch."""
  run, state, columns = _lift(pipeline.from_columns(_step, _B), "jit", 4)
  text = run.compile(state, columns)._call.as_text()
  assert f"f32[{_B // 4},2]" in text


def test_own_draw():
  def first(state, slots, batch_size, n):
    return (state.step * batch_size + slots) % 3

  fn = pipeline.from_columns(_step, 4, draw=first)
  _, batch = fn(_state().replace(step=jnp.int32(1)), _COLUMNS)
  np.testing.assert_array_equal(batch["index"], [1, 2, 0, 1])
  np.testing.assert_array_equal(batch["x"], _X[[1, 2, 0, 1]])


@pytest.mark.parametrize(("mode", "count"), _MODES)
def test_over_columns_counts_each_row_once(mode, count):
  run, state, columns = _lift(pipeline.over_columns(_evaluate, _B), mode, count)
  metrics = run(state, columns)
  odd = np.arange(_N) % _B % 2
  assert float(metrics["x"].total) == _X[:, 0].sum()
  assert float(metrics["x"].count) == _N
  assert float(metrics["squares"].total) == (_X[:, 0] ** 2 * odd).sum()


@pytest.mark.parametrize(("mode", "count"), _MODES)
def test_map_columns_keeps_the_order(mode, count):
  def score(state, batch, *, axis_name=None):
    return {"sum": batch["x"].sum(1), "pair": batch["x"] * 2}

  run, state, columns = _lift(pipeline.map_columns(score, _B), mode, count)
  scores = run(state, columns)
  np.testing.assert_array_equal(scores["sum"], _X.sum(1))
  np.testing.assert_array_equal(scores["pair"], _X * 2)
  accel.check_replicated(scores)


@pytest.mark.parametrize("make", ["from_columns", "over_columns"])
def test_devices_must_divide_the_batch(make):
  fn = getattr(pipeline, make)(_evaluate, 6)
  run, state, columns = _lift(fn, "pmap", 4)
  with pytest.raises(ValueError, match="6 rows does not divide over 4 dev"):
    run(state, columns)


@pytest.mark.parametrize(
  ("columns", "match"),
  [
    ({}, "one length"),
    ({"a": np.ones(3), "b": np.ones(4)}, "'a': 3, 'b': 4"),
    ({"a": np.ones((0, 2))}, "'a': 0"),
    ({"row": np.ones(3)}, r"\['row'\]"),
  ],
)
def test_columns_are_checked(columns, match):
  with pytest.raises(ValueError, match=match):
    pipeline.from_columns(_step, 2)(_state(), columns)


def test_import_is_light():
  """Nothing that takes seconds is imported before it is needed."""
  code = (
    "import sys; import kd_jax.datasets.pipeline; "
    "sys.exit('tensorflow_datasets' in sys.modules or 'grain' in sys.modules)"
  )
  assert (
    subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
  )
