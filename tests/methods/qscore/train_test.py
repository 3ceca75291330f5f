"""A representation of one's own through the public command."""

import json

import jax
import numpy as np
import pytest

import kd_jax
from kd_jax import cli, metrics
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import METHOD, checked, files, measuring

R, SIDE = 48, 3
SETTINGS = {
  "discovery.eps": 1.5,
  "study.kept": (0.25, 0.6),
  "study.draws": 2,
  "heat.shown": 3,
}


def representations():
  """Sparse maps of a class's own channels, with images and masks."""
  rng = np.random.default_rng(5)
  found = {}
  for split, n in (("train", 90), ("test", 60)):
    labels = rng.integers(0, 3, n)
    own = labels[:, None] == np.arange(R) // 8
    maps = np.maximum(rng.normal(size=(n, SIDE, SIDE, R)) - 1.5, 0)
    maps[:, 1, 1] += own * rng.uniform(0, 1, (n, R))
    found |= {f"{split}_features": maps.mean((1, 2)), f"{split}_labels": labels}
  core = np.zeros((60, 12, 12), bool)
  core[:, 4:8, 4:8] = True
  return found | {
    "test_maps": maps,
    "test_core": core,
    "test_spurious": ~core,
    "test_image": rng.integers(0, 255, (60, 12, 12, 3)).astype(np.uint8),
  }


@pytest.fixture(scope="module")
def arrays():
  """Arrays in the form of a user's file."""
  return representations()


@pytest.fixture(scope="module")
def path(arrays, tmp_path_factory):
  """The file."""
  file = tmp_path_factory.mktemp("data") / "mine.npz"
  np.savez(file, **arrays)
  return file


@pytest.fixture(scope="module")
def folder(path, tmp_path_factory):
  """A run of the command on the file."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  words = ["train", "qscore", "tiny", "--workdir", str(workdir)]
  words += ["--features", str(path), "--discovery.eps", "1.5"]
  words += ["--study.kept", "0.25", "0.6", "--heat.shown", "3"]
  with pytest.raises(SystemExit) as done:
    cli.main(words)
  assert done.value.code == 0
  return workdir


@pytest.fixture(scope="module")
def run(folder, path):
  """The same, as Python sees it: nothing is computed again."""
  return kd_jax.train(
    "qscore",
    "tiny",
    workdir=folder,
    features=str(path),
    quiet=True,
    **SETTINGS,
  )


def test_the_command_leaves_numbers_and_pictures(folder):
  summary = json.loads((folder / "summary.json").read_text())
  for name in ("accuracy", "auroc", "auprc", "empty", "full"):
    assert 0 <= summary["metrics"][f"own.{name}"] <= 1, name
  drawn = {p.stem for p in (folder / "plots").glob("*.png")}
  assert {"profile", "risk", "compression", "grid", "best", "worst"} <= drawn


def test_every_claims_number_is_there(run):
  found = {tuple(k.rsplit(".", 1)) for k in run.metrics}
  missing = {
    side
    for claim in METHOD.claims
    for side in (claim.treatment, claim.baseline)
    if isinstance(side, tuple) and side[0] == "own" and side not in found
  }
  # The tiny run keeps a quarter in the place of a tenth.
  assert missing == {("own", "kept_10_middle"), ("own", "kept_10_random")}


def test_claims_compare_what_they_say():
  """Of the planted codes' the same, by another arm."""

  def of(arm):
    return {
      "1: found in what is right": (
        (arm, "own_right"),
        (arm, "own_wrong"),
        0,
      ),
      "1: each belongs to a class": (
        (arm, "class_share"),
        (arm, "class_share_others"),
        0,
      ),
      "2: 40 % can go": ((arm, "kept_60_middle"), (arm, "full"), -0.03),
      "2: more than at random": (
        (arm, "kept_60_middle"),
        (arm, "kept_60_random"),
        0,
      ),
      "2: at 10 %": ((arm, "kept_10_middle"), (arm, "kept_10_random"), 0.01),
      "3: predicts mistakes, AUROC": ((arm, "auroc"), 0.5, 0),
      "3: predicts mistakes, AUPRC": ((arm, "auprc"), (arm, "accuracy"), 0),
      "3: better than the first version": (
        (arm, "q_auroc"),
        (arm, "v1_auroc"),
        0,
      ),
      "3: better than the length": ((arm, "q_auroc"), (arm, "norm_auroc"), 0),
      "3: D matters": ((arm, "q_auroc"), (arm, "q_all_auroc"), 0),
      "5: on the object": ((arm, "miou_core"), (arm, "miou_spurious"), 0),
      "5: more than even heat": ((arm, "heat_core"), (arm, "area_core"), 0),
      "5: more so where it is right": (
        (arm, "miou_core_right"),
        (arm, "miou_core_wrong"),
        0,
      ),
    }

  def between(treatment, baseline, metric):
    return (treatment, metric), (baseline, metric), 0

  more = ("continued", "probe_accuracy")
  expect = of("base") | {
    "4: higher accuracy": between("qscore", "base", "probe_accuracy"),
    "4: than without it": between("qscore", *more),
    "4: balanced": between("balanced", *more),
    "4: the lasso does not": between("continued", "lasso", "probe_accuracy"),
    "3: predicts less after it": between("base", "qscore", "auroc"),
    "6: more on the object": between("qscore", "continued", "miou_core"),
    "6: where it is right": between("qscore", "continued", "miou_core_right"),
    "6: where it is wrong": between("qscore", "continued", "miou_core_wrong"),
    "6: balanced": between("balanced", "continued", "miou_core"),
    "lambda_1 raises scores": between("strong", "continued", "mean_q"),
    "it concentrates": between("strong", "continued", "concentration"),
    "lambda_2 holds it": between("strong", "strong_held", "concentration"),
  }
  expect |= {f"{name} (own)": value for name, value in of("own").items()}
  found = {c.name: (c.treatment, c.baseline, c.margin) for c in METHOD.claims}
  assert found == expect


def test_the_numbers_are_those_of_the_parts(run, arrays):
  product = run.products["own.discover"]
  h, labels = arrays["test_features"], arrays["test_labels"]
  unit = h / np.linalg.norm(h, axis=1, keepdims=True)
  mu, sigma = unit.mean(1, keepdims=True), unit.std(1, keepdims=True)
  own = (unit > mu + 1.5 * sigma) & product["chosen"]
  q = np.where(own, unit - mu, 0).sum(1) / np.maximum(own.sum(1), 1)
  predicted = run.products["own.predict"]
  np.testing.assert_allclose(predicted["scores"]["q"], q, atol=1e-5)
  assert run.metrics["own.mean_q"] == pytest.approx(q.mean(), rel=1e-4)
  right = np.asarray(predicted["correct"])
  assert run.metrics["own.accuracy"] == pytest.approx(right.mean())
  assert run.metrics["own.probe_accuracy"] == run.metrics["own.accuracy"]
  auc = metrics.roc_auc(np.float32(q), right)
  assert run.metrics["own.auroc"] == pytest.approx(float(auc), abs=1e-5)
  assert run.metrics["own.grid_eps_1_5_band_50_95"] == pytest.approx(
    run.metrics["own.auroc"]
  )
  assert run.metrics["own.kept_60_random"] == pytest.approx(
    np.asarray(run.products["own.compress"]["random"])[1].mean()
  )
  assert len(labels) == len(right)


def test_the_score_is_there_to_use(run, arrays):
  apply, variables = kd_jax.load(run.workdir)
  h = np.float32(arrays["test_features"])
  q, made_of = apply(variables, h)
  np.testing.assert_allclose(
    q, run.products["own.predict"]["scores"]["q"], rtol=1e-5, atol=1e-7
  )
  assert not (np.asarray(made_of) & ~variables["chosen"]).any()
  grads = jax.grad(lambda h: apply(variables, h)[0].sum())(h)
  assert np.isfinite(grads).all()


def test_heat_lies_where_the_channels_are(run):
  # Classes are told by the middle place, which the core mask covers.
  assert run.metrics["own.area_core"] == pytest.approx(1 / 9)
  assert run.metrics["own.heat_core"] > 1.5 / 9
  heat = np.asarray(run.products["own.interpret"]["heat"], np.float32)
  taken = np.asarray(run.products["own.predict"]["scores"]["q"]) > 0
  np.testing.assert_allclose(heat[taken].max((1, 2)), 1, rtol=1e-3)
  np.testing.assert_array_equal(heat[~taken], 0)


def test_a_logistic_probe_may_judge(arrays, run):
  table = checked.table("x", arrays)
  config = METHOD.presets["tiny"]
  config = kd_jax.fields.override(
    config, {**SETTINGS, "probe.kind": "softmax", "probe.steps": 5}
  )
  data = {k: v for k, v in table.arrays.items() if k not in checked.MASKS}
  _, values = jax.jit(measuring.make_predict(config, "own", 3))(
    {"own.discover": run.products["own.discover"]}, data, 0
  )
  assert 1 / 3 < float(values["probe_accuracy"]) <= 1


NOTHING = np.zeros((60, 12, 12))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"train_labels": None}, "no train_labels; expected train_features"),
    ({"labels": np.zeros(3)}, "unknown labels; known: train_features"),
    ({"train_labels": np.zeros(90)}, "train_labels holds float64"),
    ({"train_labels": np.zeros(90, int)}, "train_labels has one class"),
    ({"train_labels": np.arange(90) - 1}, "a label is -1"),
    ({"train_labels": np.eye(90, dtype=int)}, r"\(90, 90\); expected 1 axes"),
    ({"test_labels": np.zeros(9, int)}, r"test_labels is \(9,\); expected 1"),
    ({"test_labels": np.full(60, 7)}, "the class 7, of which there is nothing"),
    ({"train_features": np.zeros((90, 4))}, "test_features has 48 coordinates"),
    ({"train_features": np.zeros((90, 2))}, "of fewer than 3 none can"),
    ({"train_features": np.ones((90, R))}, "one number over and over"),
    ({"train_features": [[1.0], [1.0, 2.0]]}, "train_features is no array"),
    (
      {"test_features": np.full((60, R), 1e30)},
      "test_features is too long",
    ),
    ({"test_features": "nan"}, "row 7 of test_features is not finite"),
    ({"test_correct": np.full(60, 0.5)}, "test_correct holds 0.5; expected"),
    ({"test_correct": np.ones(60)}, "test_correct is True everywhere"),
    ({"test_core": NOTHING[:, :3, :3]}, "test_core is 0 everywhere"),
    ({"test_core": NOTHING + 255}, "test_core goes from 255 to 255"),
    ({"test_core": 1 + NOTHING[:, :3]}, r"test_core is \(60, 3, 12\)"),
    ({"test_core": None}, "test_maps and test_spurious without the others"),
    ({"test_core": NOTHING[:, :0]}, r"\(60, 0, 12\); there is nothing in it"),
    (
      {"test_features": np.zeros((0, R))},
      r"test_features is \(0, 48\); expect",
    ),
    ({"test_image": np.zeros((60, 12, 12, 2))}, "expected 1 or 3 channels"),
    ({"test_image": np.zeros((60, 9, 9, 1))}, "masks have the images' height"),
    ({"test_image": "nan"}, "row 7 of test_image is not finite"),
  ],
)
def test_bad_arrays_are_one_sentence(arrays, change, message):
  (name, value), *_ = change.items()
  own = {k: v for k, v in arrays.items() if k != name}
  if isinstance(value, str):
    own[name] = arrays[name].astype(np.float32)
    own[name][7] = np.nan
  elif value is not None:
    own[name] = value
  with pytest.raises(UsageError, match=message) as said:
    checked.table("mine", own)
  assert "\n" not in str(said.value)


def test_labels_with_gaps_are_counted_without(arrays):
  names = {"train_labels", "test_labels"}
  far = {k: 10**12 * v if k in names else v for k, v in arrays.items()}
  table = checked.table("mine", far)
  assert table.classes == 3
  for name in names:
    np.testing.assert_array_equal(table.arrays[name], arrays[name])


@pytest.mark.parametrize(
  ("words", "message"),
  [
    ("--features nowhere.npz", "nowhere.npz: no such file; features is"),
    ("--discovery.low 96", "the band between them is empty"),
    ("--study.kept 0 0.5", "it holds shares of the coordinates"),
    ("--study.kept 0.601 0.602", "shares differ in whole per cents"),
    ("--probe.kind tree", "it is one of ['ridge', 'softmax']"),
    ("--arms base --learner tree", "learner is 'tree'; it is one of simclr"),
    ("--arms base --encoder.net.name x", "x"),
    ("--discovery.eps nan", "discovery.eps is nan; it must be finite"),
    ("--discovery.eps 30", "of 512 coordinates none is more than 22.6"),
    ("--heat.threshold 1", "heat.threshold is 1.0; it must be 0.0 to"),
    ("--tune.optimizer adamax", "tune.optimizer is 'adamax'; it is one of"),
    ("--arms base --features mine.npz", "which no arm of base looks at"),
    ("--run there", "run is given, which the arm own does not look at"),
    ("--arms base --run there", "there holds no finished run"),
    ("--heat.masks x", "heat.masks is given, which the arm own does not look"),
  ],
)
def test_wrong_uses_are_one_line(words, message, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit) as done:
    cli.main(["train", "qscore", "tiny", *words.split()])
  assert done.value.code == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  "content", [b"", b"x", b"PK\x03\x04", np.lib.format.MAGIC_PREFIX]
)
def test_a_file_that_is_none_is_refused(tmp_path, content):
  (tmp_path / "mine.npz").write_bytes(content)
  with pytest.raises(UsageError, match=r"not an \.npz of plain arrays"):
    files.read(tmp_path / "mine.npz")


def test_nothing_in_a_file_is_executed(tmp_path):
  np.savez(tmp_path / "mine.npz", train_features=np.array([{"a": 1}]))
  with pytest.raises(UsageError, match="Object arrays cannot be loaded"):
    files.read(tmp_path / "mine.npz")
  with pytest.raises(UsageError, match="features is a list; it is 'planted'"):
    files.load(METHOD.presets["tiny"], {"features": [1]})
