"""End to end: through the public verbs, stopped, resumed, loaded, judged."""

import dataclasses
import signal
import types

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import kd_jax
from kd_jax import api, cli
from kd_jax.errors import Interrupted, UsageError
from kd_jax.experiment import WholeRun
from kd_jax.methods.hyper_ensembles import (
  METHOD,
  arms,
  data,
  loading,
  pools,
  train,
)
from kd_jax.methods.hyper_ensembles.plots import reliability, warn_of_collapse

FEW = {"steps": 12, "runs": 4, "log_every": 4, "quiet": True}
ARMS = ("deep", "hyper_deep", "hyper_batch")


@pytest.fixture(scope="module")
def programs():
  return {}


@pytest.fixture(scope="module")
def run(tmp_path_factory, programs):
  folder = tmp_path_factory.mktemp("run") / "run"
  return kd_jax.train(
    "hyper_ensembles",
    "tiny",
    workdir=folder,
    arms=ARMS,
    programs=programs,
    **FEW,
  )


def plain(params, x):
  """A single mlp's logits in NumPy."""
  h = x.reshape(len(x), -1)
  for i in range(2):
    p = params[f"dense_{i}"]
    h = h @ np.asarray(p["kernel"]) + np.asarray(p["bias"])[0]
    h = np.maximum(h, 0) if i == 0 else h
  return h


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def third(run):
  """Each member of the deep ensemble of the third seed, in NumPy; labels."""
  products = run.products
  tables = data.load(run.config, {}, lambda line: None)
  rows = tables.test["test"][2]
  x = tables.test["image"][rows] / np.float32(255)
  y = tables.test["label"][rows]
  best = products["chosen"]["picks"][2, 0]
  members = [jax.tree.map(lambda a: a[2, best], products["search"].params)]
  members += [
    jax.tree.map(lambda a, j=j: a[2, j], products["strata"].params)
    for j in range(2)
  ]
  return np.stack([softmax(plain(p, x)) for p in members]), y


def test_an_arms_numbers_are_those_of_its_members(run, third):
  """The deep ensemble of the third seed, from the parameters."""
  per_seed = run.summary["per_seed"]
  each, y = third
  p = each.mean(0)
  nll = -np.log(p[np.arange(len(y)), y]).mean()
  assert per_seed["deep.nll"][2] == pytest.approx(nll, rel=1e-3)
  accuracy = (p.argmax(-1) == y).mean()
  assert per_seed["deep.accuracy"][2] == pytest.approx(accuracy, abs=2e-3)
  pairs = [(0, 1), (0, 2), (1, 2)]
  differ = [(each[i].argmax(-1) != each[j].argmax(-1)).mean() for i, j in pairs]
  assert per_seed["deep.disagreement"][2] == pytest.approx(
    np.mean(differ), abs=2e-3
  )
  member = -np.log(each[:, np.arange(len(y)), y]).mean()
  assert per_seed["deep.member_nll"][2] == pytest.approx(member, rel=1e-3)


def test_the_divisions_share_nothing(run):
  tables = data.load(run.config, {}, lambda line: None)
  for s in range(4):
    parts = [
      set(tables.learn["train"][s]),
      set(tables.learn["val"][s]),
      set(tables.test["test"][s]),
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
  assert (tables.learn["train"][0] != tables.learn["train"][1]).any()


def test_strata_have_the_chosen_lambdas_and_other_starts(run):
  chosen, strata = run.products["chosen"], run.products["strata"]
  lams = np.exp(np.asarray(strata.bounds.low))[:, :, 0]
  np.testing.assert_allclose(lams, np.repeat(chosen["lams"], 2, 1), rtol=1e-5)
  # Every training has an order and masks of its own.
  seeds = [run.products["search"].seed[0], strata.seed[0]]
  assert len(np.unique(np.concatenate(seeds))) == 4 + 6


def test_a_search_has_one_start_and_strata_have_others(run):
  config = api.fields.override(run.config, {"arms": ("deep",)})
  made = {
    p.key: p
    for p in train.phases(config, {}, lambda line: None)
    if p.key in ("search", "strata")
  }
  seed = np.uint32(0)
  search = jax.jit(made["search"].init)({}, seed).members.params
  kernel = np.asarray(search["dense_0"]["kernel"]).reshape(4, 4, -1)
  assert (kernel == kernel[:, :1]).all()
  assert (kernel[0] != kernel[1]).any()
  strata = jax.jit(made["strata"].init)(run.products, seed).members.params
  other = np.asarray(strata["dense_0"]["kernel"]).reshape(4, 3, 2, -1)
  assert (other == other[:, :1]).all()
  for j in range(2):
    assert abs(np.corrcoef(other[0, 0, j], kernel[0, 0])[0, 1]) < 0.2


def test_jensen_and_the_briers_identity(run, third):
  m = {name: np.array(v) for name, v in run.summary["per_seed"].items()}
  for arm in ARMS:
    assert (m[f"{arm}.nll"] <= m[f"{arm}.member_nll"] + 1e-5).all()
    assert (m[f"{arm}.members"] <= 3).all()
    assert (m[f"{arm}.brier_variance"] >= 0).all()
  # Members differ (trap 9).
  assert m["hyper_batch.disagreement"].min() > 1e-3
  # The mean member's Brier score is the ensemble's and the members' variance.
  each, y = third
  member = np.square(each - np.eye(10)[y]).sum(-1).mean()
  brier, variance = m["deep.brier"][2], m["deep.brier_variance"][2]
  assert variance > 0.01 * brier
  assert brier + variance == pytest.approx(member, rel=1e-4)


def test_a_stopped_run_ends_with_the_same_bits(run, tmp_path, programs):
  def stop(event, step):
    if event == "step" and step == 8:
      signal.raise_signal(signal.SIGTERM)

  how = {**FEW, "arms": ARMS, "workdir": tmp_path, "programs": programs}
  with pytest.raises(Interrupted):
    kd_jax.train("hyper_ensembles", "tiny", observer=stop, **how)
  again = kd_jax.train("hyper_ensembles", "tiny", **how)
  assert again.summary["per_seed"] == run.summary["per_seed"]
  for name in ("search", "hyper_batch.train"):
    for a, b in zip(
      jax.tree.leaves(again.products[name]),
      jax.tree.leaves(run.products[name]),
      strict=True,
    ):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("arm", ["deep", "batch_search"])
def test_a_search_has_one_start_and_each_run_its_own_order(monkeypatch, arm):
  found = {}
  make = pools.phase

  def phase(regime, plan, name, arm, count, choose):
    found[name] = count, choose
    return make(regime, plan, name, arm, count, choose)

  monkeypatch.setattr(pools, "phase", phase)
  preset = METHOD.presets["tiny"]
  config = dataclasses.replace(preset, arms=(arm,), runs=4)
  train.phases(config, {}, lambda line: None)
  count, choose = found["search" if arm == "deep" else "train"]
  made = choose({}, np.uint32(5), 0)
  assert count == 4
  assert len(set(np.asarray(made.seeds).tolist())) == 4
  assert len(set(np.asarray(made.starts).tolist())) == 1
  assert len(np.unique(np.asarray(made.lams), axis=0)) == 4


def test_an_ensemble_to_use(run):
  apply, variables = kd_jax.load(run.workdir)
  tables = data.load(run.config, {}, lambda line: None)
  rows = tables.test["test"][0]
  p = np.asarray(apply(variables, tables.test["image"][rows]))
  nll = -np.log(p[np.arange(len(rows)), tables.test["label"][rows]]).mean()
  first = run.summary["per_seed"]["hyper_deep.nll"][0]
  assert nll == pytest.approx(first, rel=1e-4)
  np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
  with pytest.raises(UsageError, match="neither hyper_deep nor hyper_batch"):
    METHOD.apply(run.config, {})


def test_the_last_layer_says_how_many_classes():
  layers = {f"dense_{i}": {"kernel": np.zeros((1, 5, 7))} for i in range(12)}
  layers["dense_11"] = {"kernel": np.zeros((1, 7, 3))}
  assert loading._classes(types.SimpleNamespace(params=layers)) == 3


def test_figures_show_what_was_found(run):
  figures = run.plot()
  assert {"reliability", "severity", "bounds"} <= set(figures)
  final = run.products["deep.final"]
  # The diagram's bars are the shares of right answers.
  panel = next(
    a for a in figures["reliability"].axes if a.get_title().startswith("deep")
  )
  heights = np.array([bar.get_height() for bar in panel.patches])
  count, correct = (np.asarray(final[k]).sum(0) for k in ("count", "correct"))
  there = count > 0
  np.testing.assert_allclose(
    heights[there], (correct / np.maximum(count, 1))[there], rtol=1e-5
  )
  # As many answers as test images, of four seeds.
  assert count.sum() == 4 * (1797 - 300)
  c_nll = np.asarray(final["c_nll"])
  assert c_nll.shape == (4, 3, 5)
  np.testing.assert_allclose(
    c_nll.mean((1, 2)), run.summary["per_seed"]["deep.c_nll"], rtol=1e-5
  )
  # The bounds' figure: an interval for each member and hyperparameter.
  (axes,) = figures["bounds"].axes
  assert len(axes.lines) == 4 * (1 + 3)


@pytest.mark.parametrize("count", [3.0, 7.0, 997.0, 9970.0])
def test_no_bar_is_shaded_beyond_one(count):
  bins = np.zeros((2, 15), np.float32)
  bins[:, 14] = count
  final = {"confidence": bins, "correct": bins, "count": bins}
  (axes,) = reliability({"deep": final}).axes
  assert max(bar.get_alpha() for bar in axes.patches) == 1.0


def test_members_that_do_not_differ_are_warned_of():
  with pytest.warns(UserWarning, match="hyper_batch: members answer alike"):
    warn_of_collapse({"hyper_batch.collapsed": 0.5, "x.nll": 1.0})
  warn_of_collapse({"hyper_batch.collapsed": 0.0})


def test_every_claim_names_what_is_measured():
  named = {arm for claim in METHOD.claims for arm, _ in _sides(claim)}
  assert named <= set(METHOD.reproduce_arms) <= set(METHOD.arms)
  _, _, config = api.configure("hyper_ensembles", "tiny", arms=("deep",))
  products, found = {}, {}
  for phase in train.phases(config, {}, lambda line: None):
    if isinstance(phase, WholeRun):
      products[phase.key], found = jax.eval_shape(
        phase.run, products, phase.data, np.uint32(0)
      )
    else:
      state = jax.eval_shape(phase.init, products, np.uint32(0))
      products[phase.key] = jax.eval_shape(phase.product, state)
  assert all(x.shape == (4,) for x in found.values())
  for claim in METHOD.claims:
    assert {metric for _, metric in _sides(claim)} <= set(found)


def _sides(claim):
  both = (claim.treatment, claim.baseline)
  return [side for side in both if isinstance(side, tuple)]


def test_arms_change_what_they_say():
  config = arms.PRESETS["small"]
  assert arms.of_arm(config, "tau_0").hyper.tau == 0
  assert arms.of_arm(config, "clean_hyper_batch").data.wrong == 0
  assert arms.of_arm(config, "mnist_stn").data.name == "mnist_5k"
  assert arms.of_arm(config, "hyper_batch") == config
  assert set(arms.NAMES) == set(METHOD.arms)


def test_ones_own_images_through_the_command(tmp_path, capsys):
  digits = load_digits()
  path = tmp_path / "mine.npz"
  image = np.round(digits.images[:400] / 16 * 255).astype(np.uint8)
  np.savez(path, image=image, label=digits.target[:400])
  words = (
    f"train hyper_ensembles tiny --workdir {tmp_path / 'w'} --data.name {path} "
    "--data.train 100 --data.val 50 --steps 4 --seeds 4 --arms hyper_batch "
    "--widths 6"
  )
  with pytest.raises(SystemExit) as stop:
    cli.main(words.split())
  assert stop.value.code == 0
  run = api.open_run(tmp_path / "w")
  products = run.products["hyper_batch.final"]
  # Every fifth of each class is for tests.
  assert 4 * 70 < products["count"].sum() < 4 * 90
