"""Encoders of finished runs, and what pre-training leaves to fine-tuning."""

import dataclasses

import jax
import numpy as np
import pytest

from kd_jax import api, cli
from kd_jax.errors import UsageError
from kd_jax.methods import ssl
from kd_jax.methods.qscore import METHOD, encoders, tuning
from kd_jax.methods.qscore.config import ProbeConfig, StudyConfig, TuneConfig
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import recipes

TINY = METHOD.presets["tiny"]


def command(*words):
  """A command that succeeds."""
  with pytest.raises(SystemExit) as done:
    cli.main([str(word) for word in words])
  assert done.value.code == 0


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
  """A run of ssl, of a method that has a slow network and a queue."""
  folder = tmp_path_factory.mktemp("ssl")
  np.savez(folder / "squares.npz", **images)
  words = ["--data.images", folder / "squares.npz", "--data.val_images", 4]
  words += ["--arms", "moco_v2", "--probe.steps", 0, "--steps", 3]
  command("train", "ssl", "tiny", "--workdir", folder / "run", *words)
  return folder / "run"


def test_a_finished_run_is_measured_and_tuned(finished, tmp_path):
  words = ["--run", finished, "--learner", "moco_v2", "--arms", "continued"]
  words += ["--discovery.eps", 1, "--tune.steps", 2]
  command("train", "qscore", "tiny", "--workdir", tmp_path / "run", *words)
  theirs = api.open_run(finished).products["moco_v2.pretrain"]
  run = api.open_run(tmp_path / "run")
  jax.tree.map(
    np.testing.assert_array_equal, run.products["base.pretrain"], theirs
  )
  assert "continued.auroc" in run.metrics
  # The slow network and the queue are those that pre-training left.
  phase = next(p for p in run.phases() if p.key == "continued.tune")
  learner = jax.jit(phase.init)(run.products, np.uint32(0)).learner
  assert jax.tree.leaves(theirs["slow"])
  assert jax.tree.leaves(theirs["model_state"]["memory"])
  for name in ("params", "slow", "model_state"):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(learner, name), theirs[name]
    )


def test_what_a_finished_run_lacks_is_said(finished):
  other = dataclasses.replace(TINY, run=str(finished), learner="byol")
  with pytest.raises(UsageError, match="has the arms moco_v2 and not byol"):
    encoders.resolve(other)


@pytest.mark.parametrize("learner", ["swav", "byol", "dino", "moco_v3"])
def test_what_ssl_keeps_is_all_that_tuning_reads(learner, images):
  config = encoders.resolve(dataclasses.replace(TINY, learner=learner))
  found = tables.load(config.encoder, {"images": images}, lambda line: None)
  first = encoders.base_phase(config, found, {})
  seed = np.uint32(0)
  begun = jax.eval_shape(first.init, {}, seed)
  products = {
    "base.pretrain": jax.eval_shape(first.product, begun),
    "base.discover": {"chosen": np.ones(16, bool), "eps": np.float32(1)},
  }
  phase = encoders.tune_phase(config, "qscore", found)
  tuned = jax.eval_shape(phase.init, products, seed)
  assert jax.tree.map(lambda x: x.shape, tuned.learner.slow) == jax.tree.map(
    lambda x: x.shape, begun.slow
  )
  assert tuned.learner.model_state == begun.model_state
  after, _ = jax.eval_shape(phase.step, tuned, found.train)
  assert jax.tree.structure(after) == jax.tree.structure(tuned)


def test_what_is_not_trained_is_not_tuned(images):
  fixed = dataclasses.replace(TINY, learner="random")
  with pytest.raises(UsageError, match="random is not trained"):
    encoders.phases(fixed, fixed.arms, {"images": images}, lambda line: None)


def test_the_encoders_of_small_are_those_that_were_judged():
  """Settings come from a recipe of ssl; the README's numbers are of these."""
  encoder = METHOD.presets["small"].encoder
  assert (encoder.steps, encoder.batch_size) == (400, 96)
  every = {
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "warmup": 0.05,
    "views": "digits",
    "projector": "r bn relu, 64 bias",
  }
  predictor = {"predictor": "128 bn relu, 64 bias"}
  prototypes = {"prototypes": 64, "temperature": 0.1}
  own = {
    "simclr": {"joint_statistics": True},
    "swav": {**prototypes, "joint_statistics": True, "freeze": 0.02},
    "moco_v2": {"queue": 960},
    "moco_v3": {**predictor, "ema_end": 1.0},
    "byol": {**predictor, "ema": 0.95, "ema_end": 1.0},
    "dino": {
      **prototypes,
      "joint_statistics": True,
      "projector": "r bias gelu, 64 bias",
      "ema_end": 1.0,
      "freeze": 0.05,
      "clip": 3.0,
    },
    "simsiam": {"predictor": "32 bn relu, 64 bias", "predictor_constant": True},
    "vicreg": {"projector": "r bn relu, 128"},
    "barlow": {"projector": "r bn relu, 128"},
  }
  for learner, values in own.items():
    found = recipes.settings(encoder, learner)
    # The rate of ssl's own probe has no part in it.
    every["probe_rate"] = found.probe_rate
    expect = dataclasses.replace(recipes.BASE, **{**every, **values})
    assert found == expect, learner


def test_fine_tuning_has_its_own_optimizer_and_waits_for_nothing():
  """The rest is the recipe's."""
  own = TuneConfig(steps=7, optimizer="adam", learning_rate=0.5, warmup=0.3)
  for learner, waits in {
    "dino": ("freeze", "teacher_warmup"),
    "swav": ("freeze", "queue_start"),
  }.items():
    config = dataclasses.replace(
      METHOD.presets["imagenet100"], learner=learner, tune=own
    )
    encoder, got = tuning.schedule(config)
    assert encoder == dataclasses.replace(config.encoder, steps=7)
    theirs = recipes.settings(config.encoder, learner)
    assert all(getattr(theirs, name) > 0 for name in waits)
    assert got == dataclasses.replace(
      theirs,
      optimizer="adam",
      learning_rate=0.5,
      warmup=0.3,
      final_rate=0.0,
      freeze=0.0,
      teacher_warmup=0.0,
      queue_start=0.0,
    )


def test_presets_have_the_papers_numbers():
  for name, images in (("cifar10", 45_000), ("imagenet100", 121_689)):
    preset = METHOD.presets[name]
    assert preset.encoder == ssl.METHOD.presets[name]
    epochs = preset.tune.steps * preset.encoder.batch_size / images
    assert epochs == pytest.approx(50, abs=0.01)
    assert preset.tune == TuneConfig(
      preset.tune.steps, "lars_clipped", 1e-5, gain=1e-4, columns=1e-4
    )
    assert preset.probe == ProbeConfig("softmax")
    assert preset.study == StudyConfig()
  eps = {name: p.discovery.eps for name, p in METHOD.presets.items()}
  assert eps == {
    "tiny": 2,
    "own": 0,
    "small": 0,
    "mnist": 0,
    "cifar10": 0,
    "imagenet100": 4,
  }
  for preset in METHOD.presets.values():
    band = preset.discovery
    assert (band.low, band.high, band.most_empty) == (50, 95, 0.05)
  small, mnist = METHOD.presets["small"], METHOD.presets["mnist"]
  assert small.arms == mnist.arms == tuple(METHOD.arms)[1:]
  assert small.tune == mnist.tune == TuneConfig()
  assert small.encoder.data.images == "cluttered_mnist"
  assert mnist.encoder.data.images == "mnist_5k"
