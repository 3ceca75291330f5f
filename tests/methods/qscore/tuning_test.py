"""Encoders that are trained here: fine-tuning, its arms, and their measures."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import accel, losses
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import METHOD, encoders, tuning
from kd_jax.methods.qscore.config import DiscoveryConfig
from kd_jax.methods.ssl import data as tables

TINY = dataclasses.replace(
  METHOD.presets["tiny"],
  arms=("base", "qscore"),
  discovery=DiscoveryConfig(eps=1.0),
)


@pytest.fixture(scope="module")
def images():
  """Squares on two sides of an image, by class."""
  rng = np.random.default_rng(3)
  found = {}
  for split, n in (("train", 64), ("test", 24)):
    label = np.arange(n) % 2
    image = rng.integers(0, 60, (n, 8, 8, 1))
    image[np.arange(n), 2:6, 1 + 3 * label] += 150
    found[f"{split}_image"] = image.astype(np.uint8)
    found[f"{split}_label"] = label.astype(np.int32)
  return found


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
  """A run of three arms."""
  return kd_jax.train(
    "qscore",
    "tiny",
    config=TINY,
    data={"images": images},
    workdir=tmp_path_factory.mktemp("runs") / "run",
    quiet=True,
  )


def test_every_arm_is_measured(run):
  for arm in TINY.arms:
    for name in ("auroc", "probe_accuracy", "kept_60_middle", "mean_q"):
      assert f"{arm}.{name}" in run.metrics
  drawn = {p.stem for p in (run.workdir / "plots").glob("*.png")}
  assert {"profile-base", "best-qscore", "grid-qscore"} <= drawn


def test_fine_tuning_starts_from_the_whole_pretrained_state(run, images):
  config = encoders.resolve(TINY)
  found = tables.load(config.encoder, {"images": images}, lambda line: None)
  phase = encoders.tune_phase(config, "qscore", found)
  state = phase.init(run.products, np.uint32(0))
  base = run.products["base.pretrain"]
  for mine, theirs in (
    (state.learner.params, base["params"]),
    (state.learner.model_state, base["model_state"]),
  ):
    for a, b in zip(
      jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True
    ):
      np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    state.chosen, run.products["base.discover"]["chosen"]
  )
  assert int(state.step) == 0
  # Other batches than those of pre-training.
  assert int(state.seed) != 0


def test_the_penalties_are_in_the_step(run):
  base, own = (
    jax.tree.leaves(run.products[key]["params"])
    for key in ("base.pretrain", "qscore.tune")
  )
  assert any((a != b).any() for a, b in zip(base, own, strict=True))
  rows = [r for r in run.rows() if r["kind"] == "train"]
  tuned = next(r for r in rows if r["phase"] == "tune")
  assert tuned["gain"] < 0 < tuned["columns"]


class Views:
  """What a forward pass gives, as far as penalties look."""

  def __init__(self, h):
    self.views = [type("Seen", (), {"h": x})() for x in h]


@pytest.mark.parametrize("where", [None, np.array([True, False, True])])
def test_terms_are_the_losses_of_all_views(where):
  rng = np.random.default_rng(0)
  h = np.maximum(rng.normal(size=(3, 3, 10)), 0).astype(np.float32)
  chosen = rng.uniform(size=10) < 0.5
  own = tuning.Penalties(0.5, 2.0, "sum", 0.1)
  terms, weights = tuning.make_terms(TINY.tune, own, chosen, jnp.float32(1.0))
  batch = {} if where is None else {"where": where}
  found = terms(Views(h), batch)
  assert weights == {"gain": 0.5, "columns": 2.0, "lasso": 0.1}
  # The two global views, as one batch of all.
  rows = h[:2].reshape(6, 10)
  every = None if where is None else np.tile(where, 2)
  q = losses.q_score_loss(rows, chosen, eps=1.0, where=every)
  np.testing.assert_allclose(found["gain"], q.reshape(2, 3).mean(0), rtol=1e-6)
  kept = rows if every is None else rows[every]
  unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
  column = unit.sum(0)
  printed = column[column > column.mean()].sum()
  total, _ = losses.combine(found, weights, where=where)
  gain = float(q.sum()) / len(kept)
  assert float(total) == pytest.approx(
    0.5 * gain + 2 * printed + 0.1 * kept.sum(), rel=1e-5
  )


def test_every_arm_has_its_weights():
  c = TINY.tune
  assert tuning.penalties(c, "continued") == tuning.Penalties()
  assert tuning.penalties(c, "qscore") == (1e-4, 1e-4, "sum", 0.0)
  for arm in METHOD.arms:
    if arm not in ("own", "base"):
      assert isinstance(tuning.penalties(c, arm), tuning.Penalties)


def test_four_devices_take_one_devices_step(run, images):
  config = encoders.resolve(TINY)
  found = tables.load(config.encoder, {"images": images}, lambda line: None)
  phase = encoders.tune_phase(config, "balanced", found)
  state = phase.init(run.products, np.uint32(0))
  step = tuning.make_train_step(config, "balanced")
  drawn = pipeline.from_columns(step, config.encoder.batch_size)
  _, alone = jax.jit(drawn)(state, found.train)
  spread = accel.data_parallel(drawn, mode="pmap", data="replicated")
  _, four = spread(accel.place(state), accel.place(dict(found.train)))
  for name in ("gain", "columns"):
    a, b = (m[name].total / m[name].count for m in (alone, four))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_a_trained_encoders_score_is_there_to_use(run, images):
  # `kd_jax.load` takes no images by role, so that the method is asked.
  apply, variables = METHOD.apply(run.config, run.products)
  q, _ = apply(variables, images["test_image"])
  expect = run.products["qscore.predict"]["scores"]["q"]
  np.testing.assert_allclose(q, expect, rtol=1e-3, atol=1e-5)


@pytest.fixture
def finished(run, monkeypatch):
  """A run of ssl that keeps what such runs keep."""
  base = run.products["base.pretrain"]
  kept = {k: base[k] for k in ("params", "batch_stats")}
  own = types.SimpleNamespace(
    config=dataclasses.replace(TINY.encoder, arms=("simclr", "byol"), seed=5),
    products={"simclr.pretrain": kept, "byol.pretrain": kept},
  )
  monkeypatch.setattr(encoders.api, "open_run", lambda *args: own)
  return dataclasses.replace(TINY, run="there")


def phases_of(config, images):
  return encoders.phases(
    config, config.arms, {"images": images}, lambda line: None
  )


def test_a_finished_runs_encoder_is_taken_as_it_is(finished, run, images):
  assert encoders.resolve(finished).encoder.seed == 5
  first, *_ = phases_of(finished, images)
  product, _ = first.run({}, first.data, 0)
  tune = next(p for p in phases_of(finished, images) if p.name == "tune")
  state = tune.init({**run.products, "base.pretrain": product}, np.uint32(0))
  for a, b in zip(
    jax.tree.leaves(state.learner.params),
    jax.tree.leaves(run.products["base.pretrain"]["params"]),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


def test_what_a_finished_run_lacks_is_said(finished, images):
  other = dataclasses.replace(finished, learner="vicreg")
  with pytest.raises(UsageError, match="has the arms simclr, byol and not"):
    encoders.resolve(other)
  slow = dataclasses.replace(finished, learner="byol")
  with pytest.raises(UsageError, match="take --arms base, or train here"):
    phases_of(slow, images)
  assert phases_of(dataclasses.replace(slow, arms=("base",)), images)


def test_what_is_not_trained_is_not_tuned(images):
  fixed = dataclasses.replace(TINY, learner="random")
  with pytest.raises(UsageError, match="random is not trained"):
    phases_of(fixed, images)
