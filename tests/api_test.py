import dataclasses
import json
import pathlib

import numpy as np
import pytest
import toy_net
import toy_seeds
import toy_tabular

import kd_jax
from kd_jax import api, registry
from kd_jax.errors import UsageError
from kd_jax.experiment import Config

METHOD = toy_tabular.METHOD


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("api") / "run"
  return kd_jax.train(
    METHOD, "tiny", workdir=folder, quiet=True, samples=50, save_every=20
  )


def test_a_runs_folder(run):
  names = {p.name for p in run.workdir.iterdir() if p.name[0] != "."}
  assert names == {
    "checkpoints",
    "config.json",
    "data.json",
    "metrics.csv",
    "metrics.jsonl",
    "plots",
    "products",
    "summary.json",
  }
  assert not list((run.workdir / "checkpoints").iterdir())
  assert (run.workdir / "plots" / "loss.png").read_bytes()[1:4] == b"PNG"
  assert list(run.plot()) == ["loss"]
  summary = json.loads((run.workdir / "summary.json").read_text())
  assert list(summary) == [
    "method",
    "preset",
    "config",
    "seed",
    "steps",
    "examples",
    "devices",
    "compile_s",
    "train_s",
    "wall_s",
    "metrics",
  ]
  assert summary["steps"] == 150
  assert summary["examples"] == 150
  assert len(summary["devices"]) == 4
  assert summary["config"]["samples"] == 50
  times = [summary[f"{k}_s"] for k in ("compile", "train", "wall")]
  assert all(t > 0 for t in times)
  assert sum(times[:2]) < times[2]


def test_evaluate_gives_the_summarys_numbers(run):
  before = sorted(run.workdir.rglob("*"))
  assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
  product = run.products["decay.learn"]
  gap = np.abs(product["q"] - product["exact"]).max()
  assert run.metrics["decay.test_gap"] == pytest.approx(gap, rel=1e-6)
  assert sorted(run.workdir.rglob("*")) == before


def test_load_gives_a_model_to_apply(run, tmp_path):
  apply, variables = kd_jax.load(run.workdir, METHOD)
  np.testing.assert_array_equal(variables, run.state["q"])
  states = np.array([0, 3])
  np.testing.assert_array_equal(
    apply(variables, states), run.state["q"][states].argmax(-1)
  )
  without = dataclasses.replace(METHOD, apply=None)
  with pytest.raises(UsageError, match="toy_tabular leaves no model"):
    kd_jax.load(run.workdir, without)
  with pytest.raises(UsageError, match=r"no finished run: config\.json is"):
    kd_jax.load(tmp_path)
  # By the name that the folder holds, through the entry point.
  assert kd_jax.load(run.workdir)[1].tobytes() == variables.tobytes()


def test_open_run_is_what_train_gave(run):
  again = api.open_run(run.workdir)
  assert again.config == run.config
  assert (again.preset, again.method.name) == ("tiny", "toy_tabular")
  assert again.rows() == run.rows()
  assert again.table() == run.table()
  assert dict(again.metrics) == dict(run.metrics)


def test_train_reads_a_finished_folder(run):
  events = []
  how = {"workdir": run.workdir, "quiet": True, "samples": 50}
  again = kd_jax.train(
    METHOD,
    "tiny",
    save_every=20,
    observer=lambda *event: events.append(event),
    **how,
  )
  assert events == []
  assert again.summary == json.loads((run.workdir / "summary.json").read_text())
  # Another preset with the same fields is the same run.
  config = dataclasses.replace(METHOD.presets["tiny"], samples=50)
  with pytest.raises(UsageError, match="save_every: 20 there, 100 here"):
    kd_jax.train(METHOD, config=config, **how)


def test_a_users_data_is_part_of_the_run(tmp_path):
  data = {"world": toy_tabular.world()}
  how = {"workdir": tmp_path, "quiet": True, "samples": 20}
  plain = kd_jax.train(METHOD, "tiny", data=data, **how)
  changed = toy_tabular.world()
  changed["rewards"] = changed["rewards"] + 1
  with pytest.raises(UsageError, match=r"data\.world\.rewards: \d+ there"):
    kd_jax.train(METHOD, "tiny", data={"world": changed}, **how)
  with pytest.raises(
    UsageError, match=r"data\.world\.chances: \d+ there, None"
  ):
    kd_jax.train(METHOD, "tiny", **how)
  assert kd_jax.evaluate(METHOD, tmp_path, data) == dict(plain.metrics)
  # Larger rewards are larger values: the data was used.
  other = kd_jax.train(
    METHOD,
    "tiny",
    data={"world": changed},
    quiet=True,
    samples=20,
    workdir=tmp_path / "other",
  )
  gain = other.products["exact"]["q"] - plain.products["exact"]["q"]
  np.testing.assert_allclose(gain, 1 / (1 - toy_tabular.DISCOUNT), rtol=1e-4)


def test_configure():
  method, preset, config = api.configure("toy_seeds", rates=[0.1])
  assert (method, preset) == (toy_seeds.METHOD, "small")
  assert config == toy_seeds.Toy(arms=("search",), rates=(0.1,))
  given = toy_seeds.Toy(arms=("search",), steps=3)
  assert api.configure("toy_seeds", config=given)[2] == given
  for wrong, says in [
    ({"preset": "smal"}, "no preset 'smal'; did you mean 'small'"),
    ({"sampels": 1}, "no field 'sampels'"),
    ({"arms": ("x",)}, "no arm 'x'; there is: search"),
    ({"arms": "search"}, "arms cannot be 'search'; it is a list"),
    ({"arms": (3,)}, "each of arms cannot be 3"),
    ({"steps": np.eye(2)}, "steps cannot be array.*1.*; it is a whole"),
    ({"arms": ()}, "arms is empty; there is: search"),
    ({"arms": ("search", "search")}, "arms has 'search' twice"),
    ({"config": Config(), "steps": 3}, "no field 'steps'"),
  ]:
    with pytest.raises(UsageError, match=says):
      api.configure("toy_seeds", **wrong)


@pytest.mark.parametrize("data", [[1, 2], np.eye(2), "digits"])
def test_data_goes_by_roles(tmp_path, data):
  with pytest.raises(UsageError, match="; it is a dict, from what a method"):
    kd_jax.train(METHOD, "tiny", data=data, quiet=True, workdir=tmp_path / "r")
  assert not (tmp_path / "r").exists()


def test_the_default_folder_names_the_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  done = kd_jax.train(METHOD, "tiny", quiet=True, samples=20)
  assert done.workdir.parent == pathlib.Path("runs")
  assert done.workdir.name.startswith("toy_tabular-tiny-2")


def test_registry():
  assert {"toy_net", "toy_seeds", "toy_tabular"} <= set(registry.names())
  assert registry.find("toy_net") is toy_net.METHOD
  assert registry.find(METHOD) is METHOD
  with pytest.raises(
    UsageError, match="no method 'toy_nte'; did you mean 'toy"
  ):
    registry.find("toy_nte")
  assert registry.nearest("zzz", ["b", "a"]) == "there is: a, b"


def test_verbs_are_functions_of_the_package():
  assert kd_jax.train is api.train
  for name in kd_jax.__all__:
    assert getattr(kd_jax, name)
  with pytest.raises(AttributeError, match="no attribute 'trian'"):
    kd_jax.trian  # noqa: B018
