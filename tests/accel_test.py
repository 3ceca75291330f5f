import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_net
from jax.sharding import NamedSharding, PartitionSpec

from kd_jax import accel
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.metrics import compute, mean

FOUR = jax.devices()
MODES = ["jit", "pmap", "shard_map"]


def close(tree, other):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    tree,
    other,
  )


def take(lifted, data, steps=3):
  """The state and the metrics of every step."""
  state, found = accel.place(toy_net.create_state(), lifted.devices), []
  for _ in range(steps):
    state, metrics = lifted(state, data)
    found.append(compute(metrics))
  return state, found


COLUMNS = toy_net.make_columns()
DRAWN = pipeline.from_columns(toy_net.train_step, 16)


@pytest.fixture(scope="module")
def alone():
  """What one device gives: for batches, and for columns to draw from."""
  return {
    "sharded": take(
      accel.data_parallel(toy_net.train_step, devices=FOUR[:1]),
      toy_net.make_batch(),
    ),
    "replicated": take(
      accel.data_parallel(DRAWN, devices=FOUR[:1], data="replicated"),
      COLUMNS,
    ),
  }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data", ["sharded", "replicated"])
def test_four_devices_are_one(alone, mode, data):
  step, arrays = {
    "sharded": (toy_net.train_step, toy_net.make_batch()),
    "replicated": (DRAWN, COLUMNS),
  }[data]
  lifted = accel.data_parallel(step, mode=mode, devices=FOUR, data=data)
  assert lifted.mode == mode
  state, metrics = take(lifted, arrays)
  accel.check_replicated(state)
  expect, expected_metrics = alone[data]
  assert int(state.step) == 3
  close(state, expect)
  close(metrics, expected_metrics)
  # The comparison has something to compare: the state moved, and the mask
  # left uneven counts.
  moved = jax.tree.map(
    jnp.subtract, expect.params, toy_net.create_state().params
  )
  assert min(jnp.abs(x).max() for x in jax.tree.leaves(moved)) > 1e-4
  stats = expect.model_state["BatchNorm_0"]["mean"]
  assert np.abs(stats).min() > 1e-6


def test_a_batch_counts_its_rows(alone):
  batch = toy_net.make_batch()
  parts = batch["keep"].reshape(4, 4).sum(1)
  assert len(set(parts.tolist())) > 1
  assert parts[-1] == 0
  step = accel.data_parallel(toy_net.train_step, devices=FOUR)
  _, metrics = step(accel.place(toy_net.create_state()), batch)
  for name in ("ce", "contrast", "accuracy"):
    assert float(metrics[name].count) == batch["keep"].sum()


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_a_forgotten_mean_is_noticed(mode):
  def step(state, data, *, axis_name=None):
    w = state["w"] - jax.grad(lambda w: jnp.sum(data["x"] @ w))(state["w"])
    if state["good"]:
      w = accel.mean(w, axis_name)
    return {"w": w}, {}

  def run(good):
    def one(state, data, *, axis_name=None):
      return step({**state, "good": good}, data, axis_name=axis_name)

    lifted = accel.data_parallel(one, mode=mode, devices=FOUR)
    x = {"x": np.arange(24, dtype=np.float32).reshape(8, 3)}
    return lifted(accel.place({"w": np.ones(3, np.float32)}), x)[0]

  accel.check_replicated(run(good=True))
  with pytest.raises(ValueError, match=r"\['w'\] differs between .*0.* and"):
    accel.check_replicated(run(good=False))


def test_check_replicated_reads_typed_keys_and_leaves_the_rest():
  keys = accel.place(jax.random.key(3))
  split = jax.device_put(
    np.arange(4.0), NamedSharding(accel.mesh(), PartitionSpec("batch"))
  )
  accel.check_replicated({"key": keys, "split": split, "host": np.ones(2)})


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_that_devices_do_not_divide(mode):
  lifted = accel.data_parallel(toy_net.train_step, mode=mode, devices=FOUR)
  batch = toy_net.make_batch(18)
  with pytest.raises(UsageError, match=r"18 rows .* over 4 devices"):
    lifted(toy_net.create_state(), batch)
  with pytest.raises(UsageError, match="no rows to divide over 4"):
    lifted(toy_net.create_state(), np.float32(1))
  drawn = accel.data_parallel(
    pipeline.from_columns(toy_net.train_step, 18),
    mode=mode,
    devices=FOUR,
    data="replicated",
  )
  with pytest.raises(ValueError, match=r"18 rows.* over 4 devices"):
    drawn(accel.place(toy_net.create_state()), COLUMNS)


def shifted_sum(state, data, *, axis_name=None):
  """Each row of a table meets the mean over all rows, on whatever device."""
  rows = state["table"]
  total = accel.sum(rows.sum(0, keepdims=True), axis_name)
  count = accel.sum(jnp.float32(len(rows)), axis_name)
  new = {
    "table": rows * data + total / count,
    "step": state["step"] + 1,
  }
  return new, {"loss": mean(total.sum())}


SPLIT = {"table": True, "step": False}


def make_table():
  table = np.arange(24, dtype=np.float32).reshape(8, 3)
  return {"table": table, "step": np.int32(0)}


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("scan", [False, True])
def test_split_rows_are_the_whole_tables(mode, scan):
  step = accel.scan_steps(shifted_sum) if scan else shifted_sum
  data = np.float32(0.5)
  inputs = (data, np.int32(3)) if scan else data
  found = []
  for devices in (FOUR[:1], FOUR):
    lifted = accel.data_parallel(
      step, mode=mode, devices=devices, data="replicated", split=SPLIT
    )
    state = accel.place(make_table(), devices, split=SPLIT)
    shapes = {s.data.shape for s in state["table"].addressable_shards}
    assert shapes == {(8 // len(devices), 3)}
    for _ in range(1 if scan else 3):
      state, metrics = lifted(state, accel.place(inputs, devices))
    assert {s.data.shape for s in state["table"].addressable_shards} == shapes
    found.append(jax.device_get((state, metrics)))
  assert lifted.mode == "shard_map"
  assert int(found[0][0]["step"]) == 3
  close(*found)
  table = make_table()["table"]
  for _ in range(3):
    table = table * 0.5 + table.mean(0, keepdims=True)
  close(found[1][0]["table"], table)


def test_rows_that_devices_do_not_divide_are_not_split():
  table = {"table": np.zeros((6, 3)), "step": np.int32(0)}
  with pytest.raises(UsageError, match=r"6 rows .* over 4 devices"):
    accel.place(table, FOUR, split=SPLIT)


def test_modes():
  def step(state, data, *, axis_name=None):
    return state, data

  lift = functools.partial(accel.data_parallel, step)
  assert lift(devices=FOUR[:1]).mode == "jit"
  assert lift(devices=FOUR).mode == "pmap"
  assert (
    lift(devices=[FakeDevice(0), FakeDevice(1)], mode="pmap").mode == "pmap"
  )
  with pytest.raises(ValueError, match="'vmap'; it is one of auto, jit"):
    lift(mode="vmap")


class FakeDevice:
  def __init__(self, process_index):
    self.process_index = process_index


def test_auto_takes_shard_map_on_several_hosts(monkeypatch):
  seen = []
  monkeypatch.setattr(
    accel.lifting,
    "_lift_shard_map",
    lambda step, devices, *how: (seen.append(devices), None),
  )
  devices = [FakeDevice(0), FakeDevice(1)]
  assert accel.data_parallel(None, devices=devices).mode == "shard_map"
  assert seen == [devices]


def plus(state, data, *, axis_name=None):
  return jax.tree.map(lambda x: x + 1, state), {"n": mean(state["x"])}


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("count", [1, 4])
def test_donation(mode, count):
  devices = FOUR[:count]
  kept = {"x": jnp.zeros(1024)}
  lifted = accel.data_parallel(
    plus, mode=mode, devices=devices, data="replicated"
  )
  first = accel.place(kept, devices)
  second, _ = lifted(first, np.zeros(4))
  third, _ = lifted(second, np.zeros(4))
  assert first["x"].is_deleted()
  assert second["x"].is_deleted()
  np.testing.assert_array_equal(third["x"], np.full(1024, 2.0))
  # What was placed from was not given away.
  np.testing.assert_array_equal(kept["x"], np.zeros(1024))
  keep = accel.data_parallel(
    plus, mode=mode, devices=devices, data="replicated", donate=False
  )
  keep(third, np.zeros(4))
  assert not third["x"].is_deleted()


@pytest.mark.parametrize("count", [1, 4])
def test_place_never_aliases(count):
  devices = FOUR[:count]
  host = np.zeros(4096, np.float32)
  here = jnp.zeros(4096)
  there = accel.place({"a": host, "b": here}, devices)
  again = accel.place(there, devices)
  jax.tree.map(lambda x: x.delete(), there)
  host += 1
  np.testing.assert_array_equal(here, 0)
  for leaf in jax.tree.leaves(again):
    assert leaf.sharding.device_set == set(devices)
    np.testing.assert_array_equal(leaf, 0)
  fresh = accel.place(host, devices)
  host += 1
  np.testing.assert_array_equal(fresh, 1)


def test_scanned_steps_do_not_depend_on_their_grouping():
  lifted = accel.data_parallel(
    accel.scan_steps(DRAWN), devices=FOUR, data="replicated"
  )

  def run(*groups):
    state, totals = accel.place(toy_net.create_state()), []
    for n in groups:
      state, (metrics, healthy) = lifted(state, (COLUMNS, np.int32(n)))
      assert int(healthy) == n
      totals.append(jax.device_get(metrics))
    return state, jax.tree.map(lambda *x: np.sum(x), *totals)

  (whole, sums), (parts, same) = run(7), run(3, 4)
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
  close(sums, same)
  assert int(whole.step) == 7


@pytest.mark.parametrize("bad", [-1, 0, 3, 6])
def test_healthy_counts_the_steps_before_the_first_bad_one(bad):
  def step(state, data, *, axis_name=None):
    value = jnp.where(state == bad, jnp.inf, 1.0)
    return state + 1, {"loss": mean(value)}

  lifted = accel.data_parallel(accel.scan_steps(step), devices=FOUR[:1])
  state, (metrics, healthy) = lifted(jnp.int32(0), (jnp.zeros(1), 7))
  assert int(healthy) == (7 if bad < 0 else bad)
  assert int(state) == 7
  assert np.isfinite(metrics["loss"].total) == (bad < 0)
  single = accel.one_step(step)
  assert int(single(jnp.int32(bad), None)[1][1]) == 0
  assert int(single(jnp.int32(bad + 1), None)[1][1]) == 1
  assert int(accel.one_step(lambda s, d, **k: (s, {}))(1, None)[1][1]) == 1


def test_prefetch_keeps_the_order_and_splits():
  pulled = []

  def source():
    for i in range(6):
      pulled.append(i)
      yield {"x": np.full((8, 2), i), "row": np.arange(8)}

  feed = accel.prefetch(source(), size=2)
  first = next(feed)
  assert pulled == [0, 1, 2]
  assert first["x"].sharding.spec == PartitionSpec("batch")
  assert [s.data.shape for s in first["x"].addressable_shards] == [(2, 2)] * 4
  np.testing.assert_array_equal(first["row"], np.arange(8))
  assert [int(b["x"][0, 0]) for b in feed] == [1, 2, 3, 4, 5]
  with pytest.raises(UsageError, match=r"6 rows .* over 4 devices"):
    next(accel.prefetch([np.zeros((6, 2))]))


GIVEN = {
  "JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234",
  "JAX_NUM_PROCESSES": "2",
  "JAX_PROCESS_ID": "1",
}
SEVERAL = [
  GIVEN,
  {"SLURM_STEP_NUM_TASKS": "4"},
  {"OMPI_COMM_WORLD_SIZE": "2"},
  {"TPU_WORKER_HOSTNAMES": "a,b"},
  {"KD_JAX_HOSTS": "auto"},
]
ONE = [
  {},
  {"SLURM_STEP_NUM_TASKS": "1"},
  {"TPU_WORKER_HOSTNAMES": "localhost"},
  {"JAX_NUM_PROCESSES": "1"},
]


@pytest.fixture
def no_hosts(monkeypatch):
  for names in SEVERAL:
    for name in names:
      monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("environ", [*SEVERAL, *ONE])
@pytest.mark.usefixtures("no_hosts")
def test_start_joins_the_other_hosts(monkeypatch, environ):
  for name, value in environ.items():
    monkeypatch.setenv(name, value)
  calls = []
  monkeypatch.setattr(
    jax.distributed, "initialize", lambda **how: calls.append(how)
  )
  accel.start()
  told = {
    "coordinator_address": "10.0.0.1:1234",
    "num_processes": 2,
    "process_id": 1,
  }
  # A launcher's own variables JAX reads by itself.
  how = told if environ is GIVEN else {}
  assert calls == ([how] if environ in SEVERAL else [])
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  accel.start()
  assert len(calls) <= 1


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID is not set"),
    ({"JAX_COORDINATOR_ADDRESS": ""}, "JAX_COORDINATOR_ADDRESS is not set"),
    ({"JAX_PROCESS_ID": "two"}, "JAX_PROCESS_ID is 'two'"),
  ],
)
@pytest.mark.usefixtures("no_hosts")
def test_start_says_what_is_missing(monkeypatch, change, words):
  for name, value in {**GIVEN, **change}.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UsageError, match=words):
    accel.start()


def test_start_names_the_cache(monkeypatch, tmp_path):
  before = jax.config.jax_compilation_cache_dir
  assert before is not None  # conftest started, and gave the default.
  try:
    accel.start(tmp_path)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    accel.start()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    # A CPU's program is cut for the cores there are.
    monkeypatch.setattr(
      os, "sched_getaffinity", lambda pid: {0, 2, 5}, raising=False
    )
    accel.start()
    expect = str(tmp_path / "home" / "kd_jax" / "xla-3")
    assert jax.config.jax_compilation_cache_dir == expect
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_collectives_without_an_axis_are_the_identity():
  tree = {"a": jnp.arange(3.0), "b": jnp.int32(2)}
  for collective in (accel.mean, accel.sum, accel.all_gather):
    assert collective(tree, None) is tree
  assert accel.constrain(tree)["a"] is tree["a"]
  assert (accel.axis_size(None), accel.axis_index(None)) == (1, 0)


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_collectives(mode):
  def step(state, data, *, axis_name=None):
    x = data["x"]
    own = accel.axis_index(axis_name)
    gathered = accel.all_gather(x, axis_name)

    # Device i weighs row j by i * j: row j's gradient is j * (0 + 1 + 2 + 3).
    def weighed(x):
      rows = accel.all_gather(x, axis_name)
      return (own * jnp.arange(8.0) * rows).sum()

    out = {
      "mean": accel.mean({"f": x.sum(), "i": jnp.int32(7)}, axis_name),
      "sum": accel.sum(x.sum(), axis_name),
      "gathered": gathered,
      "grad": accel.all_gather(jax.grad(weighed)(x), axis_name),
      "size": jnp.int32(accel.axis_size(axis_name)),
    }
    return state, out

  x = np.arange(8, dtype=np.float32) ** 2
  lifted = accel.data_parallel(step, mode=mode, devices=FOUR)
  _, out = lifted(accel.place(np.zeros(1)), {"x": x})
  accel.check_replicated(out)
  np.testing.assert_allclose(out["mean"]["f"], x.sum() / 4)
  assert out["mean"]["i"] == 7
  np.testing.assert_allclose(out["sum"], x.sum())
  np.testing.assert_array_equal(out["gathered"], x)
  np.testing.assert_allclose(out["grad"], np.arange(8) * 6.0)
  assert out["size"] == 4


def test_constrain_gives_each_device_its_rows():
  """Without it every device computes the whole drawn batch."""

  def drawn(constrain):
    def step(state, columns, *, axis_name=None):
      rows = jnp.arange(16) * 3 % 40
      rows = accel.constrain(rows) if constrain else rows
      x = columns[rows]
      x = accel.constrain(x) if constrain else x
      return state + jnp.tanh(x @ x.T @ x).sum(), {}

    lifted = accel.data_parallel(
      step, mode="jit", devices=FOUR, data="replicated"
    )
    columns = accel.place(np.ones((40, 5), np.float32))
    return lifted.compile(accel.place(np.float32(0)), columns)

  with_it, without = drawn(True), drawn(False)
  assert with_it.cost()["flops"] < 0.5 * without.cost()["flops"]


def test_the_compiled_step_tells_its_cost_and_memory():
  lifted = accel.data_parallel(plus, devices=FOUR[:1], data="replicated")
  state = accel.place({"x": jnp.zeros(1024)}, FOUR[:1])
  compiled = lifted.compile(state, np.zeros(1))
  assert compiled.cost()["flops"] >= 1024
  assert compiled.memory().argument_size_in_bytes >= 4096
  state, _ = compiled(state, np.zeros(1))
  np.testing.assert_array_equal(state["x"], 1)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("form", ["sharded", "replicated", "scanned"])
def test_lowers_for_accelerators(platform, form):
  step, data = {
    "sharded": (toy_net.train_step, toy_net.make_batch()),
    "replicated": (DRAWN, COLUMNS),
    "scanned": (accel.scan_steps(DRAWN), (COLUMNS, np.int32(5))),
  }[form]
  lifted = accel.data_parallel(
    step,
    mode="shard_map",
    devices=FOUR,
    data="sharded" if form == "sharded" else "replicated",
  )
  exported = lifted.export(toy_net.create_state(), data, [platform])
  assert exported.platforms == (platform,)
  assert exported.nr_devices == 4
  assert "all_reduce" in exported.mlir_module()


def test_pmap_does_not_export():
  lifted = accel.data_parallel(plus, mode="pmap", devices=FOUR)
  with pytest.raises(ValueError, match="pmap does not export"):
    lifted.export({"x": jnp.zeros(4)}, np.zeros(4), ["cuda"])
