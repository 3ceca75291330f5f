"""The presets' numbers, beside the paper's as literals."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import METHOD, arms, bounds, fast
from kd_jax.methods.hyper_ensembles.plans import Plan
from kd_jax.methods.hyper_ensembles.space import Space

IMAGES = 47_500
# CIFAR, WRN-28-10: what single networks, batch and hyper-batch ensembles share.
_CIFAR = {
  "model": "wrn28_10",
  "members": 4,
  "runs": 100,
  "tuned": ("l2", "smoothing"),
  "l2_range": (0.01, 100.0),
  "batch_size": 128,
  "steps": 250 * (IMAGES // 128),
  "warmup": IMAGES // 128,
  "optimizer": "sgd",
  "learning_rate": 0.1,
  "schedule": "stairs",
  "stairs": (100 / 250, 200 / 250, 225 / 250),
  "fast_rate": 0.5,
  "fast_init": -0.5,
  "objective": "nll",
  "data.mean": (0.4914, 0.4822, 0.4465),
  "data.std": (0.247, 0.2435, 0.2616),
  "data.augment": True,
  "data.train": IMAGES,
  "data.val": 2500,
  "data.wrong": 0.0,
  "data.foreign": "svhn_cropped",
  "hyper.fast_init": -0.75,
  "hyper.norm_l2": 15.0,
  "hyper.embed_scale": 1e-4,
  "hyper.embed_hidden": (),
  "hyper.symmetric": False,
  "hyper.bounds": "narrow",
  "hyper.rate": 1e-3,
  "hyper.batch": 128,
  "hyper.longer": 1.0,
}
_CIFAR10 = {
  **_CIFAR,
  "data.name": "cifar10",
  "data.corrupted": "cifar10_c",
  "smoothing_range": (1e-5, 0.2),
  "norm_l2": 2e-4 * IMAGES,
  "l2": 2e-4 * IMAGES,
}
_MNIST = {
  "model": "lenet",
  "members": 3,
  "runs": 50,
  "tuned": ("l2", "dropout"),
  "l2_range": (1e-3, 1e3),
  "dropout_range": (1e-3, 0.9),
  "optimizer": "adam",
  "learning_rate": 1e-3,
  "fast_rate": 0.5,
  "fast_init": -0.5,
  "data.name": "fashion_mnist",
  "data.train": 50_000,
  "data.val": 10_000,
  "data.wrong": 0.0,
  "data.augment": False,
  "hyper.fast_init": -0.75,
  "hyper.embed_scale": 1e-4,
  "hyper.embed_hidden": (32,),
  "hyper.symmetric": False,
  "hyper.bounds": "full",
  "hyper.rate": 1e-3,
  "hyper.longer": 1.0,
}
PAPER = {
  "paper": _CIFAR10,
  "paper_cifar100": {
    **_CIFAR,
    "data.name": "cifar100",
    "data.corrupted": "cifar100_c",
    "smoothing_range": (1e-5, 2e-5),
    "norm_l2": 1e-4 * IMAGES,
    "l2": 1e-4 * IMAGES,
  },
  "paper_resnet20": {**_CIFAR10, "model": "resnet20"},
  "paper_lenet": _MNIST,
  "paper_mlp": {**_MNIST, "model": "mlp", "widths": (200, 200)},
}
# What every preset has, of hyper-batch ensembles.
DEFAULTS = {
  "tune": True,
  "tau": 1e-3,
  "every": 3,
  "warmup": 0,
  "rows": "example",
  "loss": "gibbs",
  "tied": True,
  "regularize_fast": False,
  "samples": 0,
}


@pytest.mark.parametrize("preset", PAPER)
def test_a_papers_preset_has_its_numbers(flat, preset):
  found = flat(arms.PRESETS[preset])
  expect = PAPER[preset]
  assert {name: found[name] for name in expect} == expect


def test_what_is_tuned_and_how_is_the_papers_in_every_preset():
  for preset, config in arms.PRESETS.items():
    found = dataclasses.asdict(config.hyper)
    assert {k: found[k] for k in DEFAULTS} == DEFAULTS, preset
  assert set(arms.PRESETS) == {"tiny", "small", *PAPER}


@pytest.mark.parametrize("preset", ["small", *PAPER])
def test_batch_ensembles_keep_their_own_first_fast_weights(preset):
  found = {}
  for kind in ("batch", "hyper"):
    plan = Plan(arms.PRESETS[preset], kind, 10, 100)
    found[kind] = plan.net.kit.fast_init
  assert found == {"batch": -0.5, "hyper": -0.5 if preset == "small" else -0.75}


def test_norms_have_the_l2_of_their_kind():
  for preset, single in (("paper", 9.5), ("paper_cifar100", 4.75)):
    found = {
      kind: Plan(arms.PRESETS[preset], kind, 10, IMAGES).norm_l2
      for kind in ("single", "batch", "hyper", "stn")
    }
    expect = {"single": single, "batch": single, "hyper": 15.0, "stn": 15.0}
    assert found == pytest.approx(expect)


def test_narrow_bounds_start_about_the_mean_with_a_spread_of_002():
  assert bounds.SHORTEST == 5e-7
  space = Space(("l2",), (0.1,), (100.0,))
  found = bounds.initial("narrow", jax.random.key(1), space, 4000)
  low, high = (np.exp(np.asarray(x, float)) for x in found)
  np.testing.assert_allclose(high - low, 2 * 0.2, rtol=1e-3)
  middle = (high + low) / 2
  expect = (100 - 0.1) / math.log(1000)
  assert middle.mean() == pytest.approx(expect, abs=2e-3)
  assert middle.std() == pytest.approx(0.1 * 0.2, rel=0.05)


def test_kernels_start_with_a_variance_of_two_over_the_inputs():
  kernel = fast.he_normal(jax.random.key(0), (3, 3, 50, 400))
  assert float(kernel.std()) == pytest.approx(math.sqrt(2 / 450), rel=0.01)
  # Cut off at two deviations of the normal distribution before.
  cut = 2 * math.sqrt(2 / 450) / 0.87962566
  assert 0.99 * cut < float(np.abs(kernel).max()) <= 1.0001 * cut


def test_claims_have_the_margins_and_sources_that_they_state():
  found = {c.name: (c.margin, c.published) for c in METHOD.claims}
  assert {name: m for name, (m, _) in found.items() if m} == {
    "hyper-deep beats deep": 0.003,
    "hyper-deep beats single": 0.007,
    "an ensemble beats its mean member": 0.015,
  }
  published = {name: text for name, (_, text) in found.items() if text}
  assert published == {
    "deep beats single": ".661 against .811",
    "hyper-deep beats deep": ".652 against .661",
    "hyper-deep beats single": ".652 against .811",
    "stratification at equal budget": "slightly better (MLP and LeNet)",
    "hyper-batch beats batch": ".678 against .690",
    "an ensemble beats its mean member": ".678 against .904",
    "hyper-deep is better calibrated": ".019 against .022",
    "hyper-deep under corruption": "2.26 against 2.27 (released code)",
    "clean: deep beats single": ".661 against .811",
    "clean: hyper-deep beats deep": ".652 against .661",
    "clean: hyper-batch beats batch": ".678 against .690",
    "MNIST-5k: hyper-batch beats batch": ".678 against .690",
  }
  (differ,) = (c for c in METHOD.claims if c.name == "members differ")
  assert (differ.baseline, differ.sign) == (1e-3, 1)
  lower = [c for c in METHOD.claims if c is not differ]
  assert {c.sign for c in lower} == {-1}
