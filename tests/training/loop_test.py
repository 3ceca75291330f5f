import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_net
import toy_seeds
import toy_tabular

import kd_jax
from kd_jax import accel, metrics
from kd_jax.errors import UsageError
from kd_jax.experiment import Evaluation, Phase
from kd_jax.metrics import Mean, mean
from kd_jax.training import loop
from kd_jax.training import run as running
from kd_jax.training.clock import Clock
from kd_jax.training.loop import PhaseLoop
from kd_jax.training.progress import Reporter
from kd_jax.training.session import Session, Window

TABULAR, NET = toy_tabular.METHOD, toy_net.METHOD


@pytest.fixture(scope="module")
def programs():
  """Compiled programs that the tests of this file share."""
  return {}


def rows_of(run, *kinds):
  return [
    (r["kind"], r["arm"], r["phase"], r["step"])
    for r in run.rows()
    if r["kind"] in kinds
  ]


def test_long_stretches_do_not_wait_for_their_rows(tmp_path, monkeypatch):
  monkeypatch.setattr(loop, "LONG_S", -1.0)
  seen = []
  kd_jax.train(
    TABULAR,
    "tiny",
    workdir=tmp_path,
    quiet=True,
    arms=("decay",),
    samples=90,
    log_every=30,
    save_every=0,
    observer=lambda event, step: seen.append((event, step)),
  )
  # The first one's length is known when the second is dispatched.
  assert seen[1:6] == [
    ("step", 30),
    ("row", 30),
    ("row", 60),
    ("step", 60),
    ("row", 90),
  ]


def test_the_order_of_events(tmp_path, monkeypatch):
  seen = []
  plain = PhaseLoop._steps

  def dispatched(loop, state, step, n):
    seen.append(("dispatched", step + n))
    return plain(loop, state, step, n)

  monkeypatch.setattr(PhaseLoop, "_steps", dispatched)
  run = kd_jax.train(
    TABULAR,
    "tiny",
    workdir=tmp_path,
    quiet=True,
    samples=100,
    log_every=30,
    save_every=40,
    eval_every=70,
    observer=lambda event, step: seen.append((event, step)),
  )
  phase = [("phase", 0), ("dispatched", 30), ("step", 30)]
  # A row is written while the next steps are under way; before a checkpoint, an
  # evaluation and the end all is.
  phase += [("dispatched", 40), ("row", 30), ("step", 40)]
  phase += [("saving", 40), ("saved", 40)]
  phase += [("dispatched", 60), ("step", 60)]
  phase += [("dispatched", 70), ("row", 60), ("step", 70)]
  phase += [("dispatched", 80), ("step", 80), ("saving", 80), ("saved", 80)]
  phase += [("dispatched", 90), ("step", 90)]
  phase += [("dispatched", 100), ("row", 90), ("row", 100), ("step", 100)]
  phase += [("finishing", 100), ("product", 100)]
  assert seen == phase * 2
  steps = [30, 60, 90, 100]
  train = [("train", "", "exact", s) for s in steps]
  train += [("train", "decay", "learn", s) for s in steps]
  assert rows_of(run, "train") == train
  evals = [("eval", "", "exact", s) for s in (70, 100)]
  evals += [("eval", "decay", "learn", s) for s in (70, 100)]
  assert rows_of(run, "eval") == evals
  assert run.summary["steps"] == 200
  # A later phase began from an earlier one's product.
  exact = run.products["exact"]["q"]
  assert np.abs(exact).min() > 0
  np.testing.assert_array_equal(run.products["decay.learn"]["exact"], exact)
  np.testing.assert_array_equal(run.state["exact"], exact)


def members(count):
  """Averages of each member's own draws, the members split over devices."""

  def begin(products, seed):
    zeros = jnp.zeros(count)
    index = jnp.arange(count, dtype=jnp.uint32)
    return {"sum": zeros, "member": index, "seed": seed, "step": jnp.int32(0)}

  def step(state, data, *, axis_name=None):
    key = jax.random.fold_in(jax.random.key(state["seed"]), state["step"])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, state["member"])
    drawn = jax.vmap(jax.random.uniform)(keys)
    loss = Mean(drawn.sum(), jnp.float32(len(drawn)))
    state = {**state, "sum": state["sum"] + drawn, "step": state["step"] + 1}
    return state, accel.sum({"loss": loss}, axis_name)

  def measure(product, data, *, axis_name=None):
    assert product["sum"].shape == (count,)  # All members, not a device's.
    return {"largest": mean(product["sum"].max())}

  def phases(config, data, say):
    return [
      Phase(
        "average",
        begin,
        step,
        config.samples,
        arm="decay",
        split=lambda state: {k: k in ("sum", "member") for k in state},
        evaluations={"test": Evaluation(measure, None)},
      )
    ]

  return dataclasses.replace(
    TABULAR, phases=phases, plots=None, apply=None, answers={}
  )


def test_members_are_split_over_devices(tmp_path):
  """Four devices draw what one function draws, also after a stop."""
  count, samples = 8, 30
  events = []

  def stop(event, step):
    events.append((event, step))
    if (event, step) == ("saved", 20):
      raise KeyboardInterrupt

  how = {
    "quiet": True,
    "workdir": tmp_path,
    "samples": samples,
    "save_every": 10,
    "eval_every": 15,
  }
  with pytest.raises(KeyboardInterrupt):
    kd_jax.train(members(count), "tiny", observer=stop, **how)
  run = kd_jax.train(members(count), "tiny", **how)
  expect = np.zeros(count, np.float32)
  for step in range(samples):
    key = jax.random.fold_in(jax.random.key(np.uint32(0)), step)
    for member in range(count):
      expect[member] += jax.random.uniform(jax.random.fold_in(key, member))
  np.testing.assert_allclose(
    run.products["decay.average"]["sum"], expect, rtol=1e-6
  )
  assert run.metrics["decay.test_largest"] == pytest.approx(expect.max())
  losses = [r["loss"] for r in run.rows() if r["kind"] == "train"]
  assert np.mean(losses) == pytest.approx(expect.sum() / count / samples)


def test_rows_are_means_over_the_steps_since_the_last(tmp_path):
  """The losses of 7 plain steps, averaged by hand."""
  config = dataclasses.replace(
    TABULAR.presets["tiny"], samples=7, log_every=3, save_every=5
  )
  run = kd_jax.train(TABULAR, config=config, workdir=tmp_path, quiet=True)
  phase = TABULAR.phases(config, {}, print)[1]
  state = phase.init({"exact": run.products["exact"]}, np.uint32(0))
  losses = []
  for _ in range(7):
    state, found = phase.step(state, phase.data)
    losses.append(float(found["loss"].total))
  expect = [np.mean(losses[:3]), np.mean(losses[3:6]), losses[6]]
  got = [r["loss"] for r in run.rows() if r["kind"] == "train"]
  np.testing.assert_allclose(got[-3:], expect, rtol=1e-5)
  np.testing.assert_allclose(run.state["q"], state.q, rtol=1e-5)


def test_streams_epochs_and_fusing_give_the_same_run(tmp_path, programs):
  how = {"quiet": True, "programs": programs, "steps": 13}
  plain = kd_jax.train(NET, workdir=tmp_path / "plain", **how)
  stream = kd_jax.train(NET, workdir=tmp_path / "s", stream=True, **how)
  fused = kd_jax.train(NET, workdir=tmp_path / "f", fused=True, **how)
  for other in (stream, fused):
    assert rows_of(other, "train", "eval", "epoch") == rows_of(
      plain, "train", "eval", "epoch"
    )
    for a, b in zip(plain.rows(), other.rows(), strict=True):
      assert a.keys() == b.keys()
      for name in set(a) - {"kind", "arm", "phase"}:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5)
  epochs = [r for r in plain.rows() if r["kind"] == "epoch"]
  assert [r["step"] for r in epochs] == [0, 9]
  assert epochs[0]["half"] == [epochs[0]["norm"] / 2, epochs[0]["norm"] / 4]
  assert plain.summary["examples"] == 13 * 16


def test_programs_are_shared_between_seeds_only(tmp_path):
  programs = {}
  how = {"quiet": True, "programs": programs, "samples": 50}
  kd_jax.train(TABULAR, "tiny", workdir=tmp_path / "0", seed=0, **how)
  count = len(programs)
  one = kd_jax.train(TABULAR, "tiny", workdir=tmp_path / "1", seed=1, **how)
  assert len(programs) == count
  assert one.summary["compile_s"] == 0
  alone = kd_jax.train(
    TABULAR, "tiny", workdir=tmp_path / "2", seed=1, samples=50, quiet=True
  )
  np.testing.assert_array_equal(one.state["q"], alone.state["q"])
  kd_jax.train(TABULAR, "tiny", workdir=tmp_path / "3", log_every=7, **how)
  assert len(programs) > count


@pytest.mark.parametrize(("samples", "log_every"), [(20, 10), (20, 50)])
def test_a_profile_is_of_some_steps_of_each_phase(tmp_path, samples, log_every):
  how = {"samples": samples, "log_every": log_every, "quiet": True}
  run = kd_jax.train(TABULAR, "tiny", workdir=tmp_path, profile=True, **how)
  traces = [p.parts for p in (run.workdir / "profile").rglob("*.xplane.pb")]
  for key in ("exact", "decay.learn"):
    assert sum(key in parts for parts in traces) == 1


@pytest.mark.parametrize("mode", ["jit", "shard_map"])
def test_a_mode_changes_nothing(tmp_path, mode):
  how = {"samples": 60, "quiet": True}
  plain = kd_jax.train(TABULAR, "tiny", workdir=tmp_path / "a", **how)
  other = kd_jax.train(
    TABULAR, "tiny", workdir=tmp_path / "b", mode=mode, **how
  )
  assert other.metrics == pytest.approx(plain.metrics, rel=1e-5)


def test_a_whole_run_is_a_phase(tmp_path):
  run = kd_jax.train(toy_seeds.METHOD, workdir=tmp_path, quiet=True)
  per_seed = run.summary["per_seed"]
  assert [len(v) for v in per_seed.values()] == [4, 4]
  key = toy_seeds.jax.random.key(2)
  errors = [
    float(toy_seeds.train(key, rate, 40)[1]) for rate in run.config.rates
  ]
  assert per_seed["search.best"][2] == pytest.approx(min(errors), rel=1e-4)
  assert run.metrics["search.slowest"] == pytest.approx(
    np.mean(per_seed["search.slowest"])
  )
  # Stopped after its product, and before the summary: it is not run again.
  (tmp_path / "summary.json").unlink()
  events = []
  again = kd_jax.train(
    toy_seeds.METHOD,
    workdir=tmp_path,
    quiet=True,
    observer=lambda *event: events.append(event),
  )
  assert events == []
  assert again.summary["per_seed"] == per_seed
  assert kd_jax.evaluate(toy_seeds.METHOD, tmp_path) == run.metrics


def test_an_evaluation_may_hold_one_value_a_seed(tmp_path):
  def spread(product, data, *, axis_name=None):
    q = product["q"]
    return {"q": metrics.Mean(q[0], np.full(3, 2.0)), "one": metrics.mean(q[1])}

  def phases(*args):
    exact, *learners = TABULAR.phases(*args)
    measure = {"test": Evaluation(spread, None)}
    return [dataclasses.replace(exact, evaluations=measure), *learners]

  method = dataclasses.replace(TABULAR, phases=phases)
  how = {"samples": 4, "eval_every": 50, "quiet": True}
  run = kd_jax.train(method, "tiny", workdir=tmp_path, **how)
  q = run.products["exact"]["q"]
  assert run.summary["per_seed"] == {
    "exact.test_q": pytest.approx((q[0] / 2).tolist())
  }
  assert run.metrics["exact.test_q"] == pytest.approx(q[0].mean() / 2)
  assert run.metrics["exact.test_one"] == pytest.approx(q[1].mean())
  # Between steps the list itself is written.
  (row,) = [r for r in run.rows() if r["kind"] == "eval" and r["step"] == 50]
  assert len(row["test_q"]) == 3
  assert kd_jax.evaluate(method, tmp_path)["exact.test_q"] == pytest.approx(
    run.metrics["exact.test_q"]
  )


def test_divergence_is_not_saved(tmp_path):
  """Each device its own state: check_replicated speaks before the save."""

  def phases(config, data, say):
    def step(state, data, *, axis_name=None):
      own = accel.axis_index(axis_name)
      state = {"x": state["x"] + own}
      return state, {"loss": toy_tabular.metrics.mean(state["x"])}

    def begin(products, seed):
      return {"x": seed.astype(np.float32)}

    one = toy_tabular.Phase("a", begin, step, 10, data=np.zeros(1))
    return [one]

  method = dataclasses.replace(TABULAR, phases=phases)
  with pytest.raises(ValueError, match=r"\['x'\] differs between"):
    kd_jax.train(method, "tiny", workdir=tmp_path, save_every=5, quiet=True)
  assert not list((tmp_path / "checkpoints").iterdir())


def test_one_process_has_the_folder(tmp_path):
  with (
    running.claim_folder(tmp_path),
    pytest.raises(UsageError, match="another process is running in"),
  ):
    kd_jax.train(TABULAR, "tiny", workdir=tmp_path, quiet=True)
  with running.claim_folder(tmp_path):
    pass  # It is free again.


def test_window_adds_in_float64():
  window = Window({"a": [1.0, 2.0]})
  mean = toy_tabular.metrics.Mean
  window.add({"a": mean(np.float32(2), np.float32(2))})
  window.add({"b": mean(np.float32(0), np.float32(0))})
  means = window.means()
  assert means["a"] == 0.75
  assert np.isnan(means["b"])
  assert window.totals == {}
  for _ in range(1000):
    window.add({"a": mean(np.float32(2**24), np.float32(1))})
  window.add({"a": mean(np.float32(1), np.float32(0))})
  assert window.totals["a"] == [1000 * 2**24 + 1, 1000.0]


def test_json_holds_numbers_or_null(tmp_path):
  data = {"a": [1.5, float("nan")], "b": {"c": -float("inf")}, "d": (1, "x")}
  running.write_json(tmp_path / "a.json", data)
  found = json.loads(
    (tmp_path / "a.json").read_text(), parse_constant=pytest.fail
  )
  assert found == {"a": [1.5, None], "b": {"c": None}, "d": [1, "x"]}
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# Clocks.


class Ticking:
  """A clock that moves when it is told to."""

  def __init__(self):
    self.now = 100.0

  def monotonic(self):
    return self.now


@pytest.fixture
def ticking(monkeypatch):
  from kd_jax.training import clock

  fake = Ticking()
  monkeypatch.setattr(clock, "time", fake)
  return fake


def test_clock_sums_over_restarts(ticking):
  clock = Clock()
  with clock.on("train"):
    ticking.now += 5
  with contextlib.suppress(KeyError), clock.on("save"):
    ticking.now += 2
    raise KeyError
  ticking.now += 3
  clock.steps, clock.examples = 7, 70
  dumped = json.loads(json.dumps(clock.dump()))
  ticking.now += 1000  # The run is down.
  again = Clock()
  again.load(dumped)
  ticking.now += 4
  with again.on("train"):
    ticking.now += 1
  assert again.wall == 15
  assert again.seconds["train"] == 6
  assert again.seconds["save"] == 2
  assert (again.steps, again.examples) == (7, 70)


def test_compilation_is_no_training(ticking, monkeypatch, tmp_path):
  clock, config = Clock(), toy_tabular.Toy()

  class Lifted:
    def __init__(self, fn):
      self.fn = fn

    def compile(self, state, table):
      ticking.now += 50
      return self.fn

  monkeypatch.setattr(accel, "data_parallel", lambda fn, **how: Lifted(fn))
  session = Session(None, None, clock, Reporter(quiet=True), config)
  state = np.zeros(3)
  for _ in range(2):
    assert session.compile("a", "program", state, None) == "program"
  assert clock.seconds["compile"] == 50
  session.compile("a", "program", np.zeros(4), None)  # Another shape.
  session.compile("b", "program", state, None)
  session.compile("a", "program", state.astype(np.float32), None)
  assert clock.seconds["compile"] == 200
  assert clock.seconds["train"] == 0
