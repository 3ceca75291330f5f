"""What each arm changes, as literals, and what it chooses from."""

import jax
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import arms, bounds, claim
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.plans import Plan


def test_the_judged_setting(flat):
  small = flat(arms.PRESETS["small"])
  expect = {
    "seeds": 10,
    "model": "mlp",
    "widths": (64, 64),
    "members": 3,
    "runs": 30,
    "steps": 1000,
    "batch_size": 64,
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "tuned": ("l2", "dropout"),
    "l2_range": (1e-3, 10.0),
    "dropout_range": (1e-3, 0.7),
    "fast_rate": 0.5,
    "fast_init": -0.5,
    "norm_l2": 15.0,
    "objective": "nll",
    "data.name": "digits",
    "data.train": 600,
    "data.val": 200,
    "data.wrong": 0.3,
    "data.augment": False,
    "hyper.longer": 2.0,
    "hyper.rate": 5e-2,
    "hyper.batch": 64,
    "hyper.bounds": "full",
    "hyper.fast_init": -0.5,
    "hyper.norm_l2": 15.0,
    "hyper.embed_scale": 1e-2,
    "hyper.embed_hidden": (),
    "hyper.symmetric": True,
  }
  assert {name: small[name] for name in expect} == expect
  assert small == flat(Config(seeds=10)) | {
    "data.train": 600,
    "data.wrong": 0.3,
  }


# What an arm changes: a regime of `small` first.
CLEAN = {"data.train": 400, "data.wrong": 0.0, "runs": 24, "steps": 800}
MNIST = {
  "data.name": "mnist_5k",
  "data.train": 3000,
  "data.val": 1000,
  "data.wrong": 0.0,
  "runs": 8,
  "steps": 800,
}
CHANGES = {
  "hyper_batch": {},
  "stn": {},
  "batch": {},
  "batch_search": {},
  "unstratified": {},
  "tau_0": {"hyper.tau": 0.0},
  "tau_10": {"hyper.tau": 0.01},
  "untuned": {"hyper.tune": False},
  "untied": {"hyper.tied": False},
  "embed_mlp": {"hyper.embed_hidden": (32,)},
  "signs": {"hyper.fast_init": 0.5},
  "wide_init": {"hyper.fast_init": -0.75},
  "per_batch": {"hyper.rows": "batch"},
  "sampled": {"hyper.samples": 4},
  "ensemble_loss": {"hyper.loss": "ensemble"},
  "clean_hyper_deep": CLEAN,
  "clean_hyper_batch": CLEAN,
  "mnist_hyper_batch": MNIST,
  "mnist_stn": MNIST,
}


@pytest.mark.parametrize("arm", CHANGES)
def test_an_arm_changes_what_it_says_and_nothing_else(flat, arm):
  small = arms.PRESETS["small"]
  before, after = flat(small), flat(arms.of_arm(small, arm))
  changed = {k: v for k, v in after.items() if v != before[k]}
  assert changed == CHANGES[arm]


def test_every_arm_is_named_and_of_its_kind():
  kinds = {name: (arm.kind, arm.how) for name, arm in arms.ARMS.items()}
  chosen = ("single", "top", "fixed_init", "deep", "hyper_deep")
  assert kinds == {
    **{name: ("chosen", name) for name in (*chosen, "hyper_deep_once")},
    "unstratified": ("random", ""),
    "batch": ("batch", "best"),
    "batch_search": ("batch", "search"),
    "stn": ("stn", ""),
    **{
      name: ("hyper", "")
      for name, change in CHANGES.items()
      if name == "hyper_batch" or any(k.startswith("hyper.") for k in change)
    },
  }


@pytest.mark.parametrize("preset", arms.PRESETS)
def test_untuned_lambda_has_its_full_range_in_every_preset(preset):
  config = arms.of_arm(arms.PRESETS[preset], "untuned")
  plan = Plan(config, "hyper", 10, 100)
  assert not plan.tuning
  found = bounds.initial(
    config.hyper.bounds, jax.random.key(0), plan.space, plan.members
  )
  for side, end in zip(found, (plan.space.low, plan.space.high), strict=True):
    whole = np.tile(end, (plan.members, 1))
    np.testing.assert_allclose(np.exp(side), whole, rtol=1e-5)


def test_settings_are_as_many_as_an_arm_chooses_from():
  searched = ("single", "top", "fixed_init", "deep", "hyper_deep")
  searched = (*searched, "hyper_deep_once", "batch", "batch_search")
  noisy = dict.fromkeys(searched, 30) | {"unstratified": 30 + 3 * 2}
  for name in arms.ARMS:
    count = noisy.get(name, 1)
    assert claim.SETTINGS[name] == count
    assert claim.SETTINGS[f"clean_{name}"] == min(count, 24)
    assert claim.SETTINGS[f"mnist_{name}"] == min(count, 8)
  for regime, runs in (("clean", 24), ("mnist", 8)):
    assert arms.in_regime(arms.PRESETS["small"], regime).runs == runs
