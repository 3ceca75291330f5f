import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields, metrics
from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.experiment import WholeRun
from kd_jax.methods.kd3 import METHOD, arms, evaluation, model, train, web
from kd_jax.training import run as running
from kd_jax.training.progress import Reporter
from kd_jax.training.writers import read_rows

CONFIG = fields.override(
  arms.PRESETS["tiny"],
  {
    "data.train_images": 20,
    "data.val_images": 5,
    "data.test_images": 12,
    "data.relevant": 8,
    "data.quota": 12,
    "teacher.widths": (4, 6),
    "teacher.strides": (2, 2),
    "student.widths": (3, 4),
    "student.strides": (2, 1),
    "teacher_steps": 2,
    "epochs": 2,
    "epoch_steps": 2,
    "batch_size": 8,
    "score_batch_size": 48,
  },
)


@pytest.fixture
def digits(monkeypatch):
  """Random images in place of the digits."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (100, 28, 28, 1)).astype(np.uint8)
  label = (np.arange(100) % 10).astype(np.int32)

  def load(spec, split, **_):
    assert (spec, split) == ("mnist_5k", "all")
    return {"image": image, "label": label}

  monkeypatch.setattr(sources, "load", load)


def _phases(**values):
  return train.phases(
    dataclasses.replace(CONFIG, **values), {}, lambda line: None
  )


def _images(tree):
  """Every image among a tree's arrays, as bytes."""
  return {
    row.tobytes()
    for leaf in jax.tree.leaves(tree)
    if np.ndim(leaf) == 4
    for row in np.asarray(leaf)
  }


@pytest.mark.usefixtures("digits")
def test_no_student_gets_an_original_training_image():
  others = tuple(a for a in METHOD.arms if a != "kd_original")
  teacher, pool, *students = _phases(arms=others)
  original = _images(teacher.data)
  # The first twenty are the clean ones, the rest their shifted copies.
  assert len(original) == 40
  assert len(students) == len(others)
  for phase in students:
    given = _images(phase.data)
    if phase.epoch:
      given |= _images(phase.epoch.data)
      assert "label" not in phase.epoch.data
    # DAFL's student gets none at all.
    web = set() if phase.arm == "dafl" else _images(pool.data["web"])
    assert given == web
    assert not original & given
    assert "label" not in phase.data


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(("own", "size"), [(0, 8), (5, 5)])
def test_the_teacher_s_batch(own, size):
  """Each step counts so many images, and the clock as many."""
  teacher = _phases(arms=("kd_all",), teacher_batch_size=own)[0]
  state = teacher.init({}, np.uint32(0))
  _, found = jax.jit(teacher.step)(state, teacher.data)
  assert found["cross_entropy"].count == size
  assert teacher.batch_size == size


@pytest.mark.usefixtures("digits")
def test_the_upper_bound_does_get_them():
  teacher, _, bound = _phases(arms=("kd_original",))
  assert _images(bound.data) == _images(teacher.data)


def test_every_arm_is_described():
  assert set(METHOD.arms) == set(arms.CHANGES)
  assert set(METHOD.settings_tried) == set(METHOD.reproduce_arms)
  assert len(set(METHOD.settings_tried.values())) == 1


@pytest.mark.usefixtures("digits")
def test_every_claim_names_what_is_measured():
  measured, products, seed = set(), {}, np.uint32(0)
  for phase in _phases(arms=METHOD.reproduce_arms):
    arm = phase.arm or phase.name
    if isinstance(phase, WholeRun):
      product, found = jax.eval_shape(phase.run, products, phase.data, seed)
      measured |= {(arm, metric) for metric in found}
    else:
      state = jax.eval_shape(phase.init, products, seed)
      product = jax.eval_shape(phase.product, state)
      for name, evaluation in phase.evaluations.items():
        found = jax.eval_shape(evaluation.run, product, evaluation.data)
        measured |= {(arm, f"{name}_{metric}") for metric in found}
    products[phase.key] = product
  for claim in METHOD.claims:
    assert {claim.treatment, claim.baseline} <= measured


def test_fields_that_contradict_are_refused_before_data_is_read():
  with pytest.raises(UsageError, match="go together"):
    _phases(data=dataclasses.replace(CONFIG.data, web="photos"))


@pytest.mark.parametrize(
  "rates", [(("kd_al", 0.1),), (("kd3", 0.0),), (("kd3", float("nan")),)]
)
def test_an_arms_own_rate_is_of_an_arm_and_above_0(rates):
  with pytest.raises(UsageError, match="own_rates"):
    _phases(own_rates=rates)


def test_an_arms_own_rate_goes_before_the_others():
  config = dataclasses.replace(CONFIG, own_rates=(("kd_all", 0.7),))
  assert arms.of_arm(config, "kd_all").optim.learning_rate == 0.7
  assert arms.of_arm(config, "dfnd").optim.learning_rate == 0.1
  assert arms.of_arm(config, "kd3").optim.learning_rate == 0.3


def test_balancing_keeps_the_relevant_and_equally_many_of_each_class():
  predicted = jnp.array([0, 0, 1, 1, 1, 2, 2, 0, 1])
  relevant = jnp.array([0, 0, 0, 0, 0, 0, 0, 1, 1], bool)
  kept = web.balance(predicted, relevant, 5, 3)
  # Two of each class: 2 zeros, 3 ones, 2 twos are irrelevant.
  assert kept.tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1]
  kept = web.balance(predicted, relevant, 1, 3)
  assert kept.tolist() == [1, 0, 1, 0, 0, 1, 0, 1, 1]


def test_the_web_says_how_relevant_it_is(columns, config, teacher):
  image, label = columns["image"][:5], np.array([0, 1, 2, 0, 1])
  data = {"web": columns, "val": {"image": image, "label": label}}
  found, logged = web.find_web(config, 1, 8, {"teacher": teacher}, data, 0)
  kept = columns["relevant"][found["index"][: int(found["count"])]]
  assert kept.sum() == 8
  assert logged["share_relevant"] == np.float32(8 / len(kept))
  assert logged["twice_share_relevant"] == 2 * logged["share_relevant"]


def test_a_selection_of_nothing_counts_and_one_not_made_does_not():
  history = {
    "selected": jnp.array([4.0, 0.0, 2.0, -1.0]),
    "relevant": jnp.array([0.5, 0.0, 1.0, -1.0]),
  }
  found = metrics.compute(
    evaluation.selection_shares({"history": history}, None)
  )
  assert found == {
    "first_share": 0.5,
    "last_share": 1.0,
    "mean_share": 0.5,
    "mean_images": 2.0,
  }


def test_a_run_without_the_method_has_nothing_to_load():
  config = dataclasses.replace(CONFIG, arms=("kd_all",))
  with pytest.raises(UsageError, match="kd_all and not kd3"):
    METHOD.apply(config, {"kd_all.student": {}})


def test_a_users_web_stays_whole(columns, config, teacher):
  image, label = columns["image"][:5], np.array([0, 1, 2, 0, 1])
  data = {"web": {"image": columns["image"]}, "val": {"image": image}}
  data["val"]["label"] = label
  found, logged = web.find_web(config, 0, 0, {"teacher": teacher}, data, 0)
  assert found["index"].tolist() == list(range(24))
  assert found["count"] == logged["images"] == 24
  x = (image / 255 - 0.13) / 0.28
  logits = model.teacher_predict(config, teacher, jnp.asarray(x, jnp.float32))
  right = (logits.logits.argmax(-1) == label).mean()
  np.testing.assert_allclose(found["teacher_accuracy"], right, rtol=1e-6)


def test_evaluation_against_numpy():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (6, 4, 4, 1)).astype(np.uint8)
  batch = {
    "image": jnp.asarray(image),
    "shifted": jnp.asarray(image[::-1].copy()),
    "label": jnp.array([0, 1, 0, 1, 0, 0]),
    "row": jnp.arange(6),
    "index": jnp.arange(6),
    "where": jnp.arange(6) < 5,
  }

  def predict(config, product, x):
    flat = x.reshape(len(x), -1)
    return model.Prediction(flat[:, :3], flat[:, 3:5])

  teacher = model.network(CONFIG.teacher, 2).init(
    jax.random.key(0), jnp.zeros((1, 4, 4, 1)), train=False
  )
  step = evaluation.make_eval_step(CONFIG, predict)
  found = step(teacher, batch)
  x = (image / 255 - 0.13) / 0.28
  f, g = (a.reshape(6, -1)[:5, :3] for a in (x, x[::-1]))
  answers = x.reshape(6, -1)[:5, 3:5].argmax(1)
  right = (answers == np.array([0, 1, 0, 1, 0])).sum()
  assert found["accuracy"].total == right
  assert found["accuracy"].count == 5
  moved = np.linalg.norm(f - g, axis=1).sum()
  spread = np.linalg.norm(f - f.mean(0), axis=1).sum()
  change = found["shifted_change"]
  np.testing.assert_allclose(change.total / change.count, moved / spread, 1e-4)
  lengths = np.linalg.norm(f, axis=1) * np.linalg.norm(g, axis=1)
  cosine = (f * g).sum(1) / lengths
  distance = found["shifted_distance"].total / 5
  np.testing.assert_allclose(distance, (1 - cosine).mean(), rtol=1e-4)


@pytest.mark.usefixtures("digits")
def test_a_run_from_the_teacher_to_the_figures(tmp_path: pathlib.Path):
  # An untrained teacher is too unsure for thresholds.
  config = fields.override(CONFIG, {"select.rule": "top_k", "select.count": 5})
  config = dataclasses.replace(config, arms=("kd3",), log_every=2)
  phases = train.phases(config, {}, lambda line: None)
  result = running.execute(
    config, phases, tmp_path, reporter=Reporter(quiet=True)
  )
  found = result["metrics"]
  products = running.read_products(phases, tmp_path, config)
  product = products["kd3.student"]
  np.testing.assert_array_equal(product["history"]["selected"], [5, 5])
  assert product["front"] == found["kd3.selection_mean_images"] == 5
  shares = product["history"]["relevant"]
  np.testing.assert_allclose(shares[0], found["kd3.selection_first_share"])
  apply, variables = METHOD.apply(config, products)
  test = phases[0].evaluations["test"].data
  logits = apply(variables, test["image"])
  right = np.mean(np.argmax(logits, -1) == test["label"])
  np.testing.assert_allclose(right, found["kd3.test_accuracy"], atol=1e-6)
  # What is deployed holds nothing of the teacher but its classifier.
  assert set(variables["teacher"]["params"]) == {"head"}
  rows = list(read_rows(tmp_path / "metrics.jsonl"))
  epochs = [row for row in rows if row["kind"] == "epoch"]
  assert [row["step"] for row in epochs] == [0, 2]
  assert sum(epochs[0]["n_c"]) == found["web.images"]

  class Run:
    metrics, data = found, {}

    def rows(self):
      return rows

  run = Run()
  run.config, run.products = config, products
  figures = METHOD.plots(run)
  assert set(figures) == {"arms", "selection", "kept_and_thrown"}
  panels = figures["selection"].axes
  counts = [e["n_c"] for e in epochs]
  drawn = [line.get_ydata().tolist() for line in panels[0].lines]
  assert drawn == [list(c) for c in zip(*counts, strict=True)]
