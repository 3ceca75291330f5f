"""Published settings: rates, lengths, probes, and what fits together."""

import dataclasses

import pytest

from kd_jax import fields
from kd_jax.methods.ssl import METHOD, arms, recipes, validate


@pytest.mark.parametrize("preset", arms.PRESETS)
def test_every_presets_arms_have_settings_that_fit(preset):
  config = arms.PRESETS[preset]
  every = dataclasses.replace(config, arms=tuple(METHOD.arms))
  validate.check(every if preset != "imagenet" else config)
  for arm in METHOD.arms:
    values = dataclasses.asdict(recipes.settings(config, arm))
    assert None not in values.values()


def test_rates_are_for_a_batch():
  base = arms.PRESETS["cifar10_1000"]
  double = dataclasses.replace(base, batch_size=512)
  assert recipes.settings(base, "byol").learning_rate == 1.0
  assert recipes.settings(double, "byol").learning_rate == 2.0
  # lightly does not scale SimSiam's.
  lightly = arms.PRESETS["cifar10"]
  # Its encoder lost the stem's ReLU; solo-learn's has it.
  assert lightly.net.name == "resnet18_linear_stem"
  assert base.net.name == "resnet18"
  assert recipes.settings(lightly, "simsiam").learning_rate == 0.06
  assert recipes.settings(lightly, "simclr").learning_rate == 0.24
  # With SGD a factor of the loss counts: its BYOL has a quarter of the paper's
  # slope, its MoCo is the mean of two ways.
  assert recipes.settings(lightly, "byol").scale == 0.25
  assert recipes.settings(lightly, "moco_notebook").scale == 0.5
  assert not recipes.settings(lightly, "simsiam").predictor_constant
  # VICReg is not finite at the others' rate, without a warm-up.
  own = recipes.settings(lightly, "vicreg")
  assert (own.optimizer, own.learning_rate) == ("lars_clipped", 0.6)
  assert (own.warmup, own.variance) == (0.05, 50.0)
  assert recipes.settings(base, "simsiam").predictor_constant
  mine = fields.override(lightly, {"settings.temperature": 0.9})
  assert recipes.settings(mine, "simclr").temperature == 0.9


def test_a_collapse_may_have_settings_of_its_own():
  """With a last norm BYOL would not collapse."""
  small = arms.PRESETS["small"]
  for arm, projector in (
    ("byol", "r bn relu, 64 bn-"),
    ("byol_no_stop", "r bn relu, 64 bias"),
    ("byol_no_predictor", "r bn relu, 64 bias"),
  ):
    assert recipes.settings(small, arm).projector == projector
  own = fields.override(small, {"settings.projector": "8 bias"})
  assert recipes.settings(own, "byol_no_stop").projector == "8 bias"


# Of an SGD probe by method (solo-learn's), 0.3 for all others.
PROBES = {
  "simclr": 1.0,
  "swav": 0.15,
  "moco_v1": 3.0,
  "moco_v2": 3.0,
  "moco_v2plus": 3.0,
  "moco_notebook": 3.0,
  "simsiam": 30.0,
  "barlow": 0.1,
}


@pytest.mark.parametrize("preset", arms.PRESETS)
def test_every_probe_has_its_methods_rate(preset):
  for arm in recipes.LEARNERS:
    found = recipes.settings(arms.PRESETS[preset], arm).probe_rate
    assert found == PROBES.get(arm, 0.3), arm


@pytest.mark.parametrize(
  ("preset", "arm", "field", "epochs"),
  [
    ("cifar10_1000", "byol", "warmup", 10),
    ("cifar10_1000", "swav", "freeze", 2),
    ("cifar10_1000", "swav", "queue_start", 50),
    ("cifar10_1000", "dino", "freeze", 1),
    ("imagenet100", "byol", "warmup", 10),
    ("imagenet100", "swav", "freeze", 2),
    ("imagenet100", "swav", "queue_start", 50),
    ("imagenet100", "dino", "freeze", 1),
    ("imagenet100", "dino", "teacher_warmup", 50),
    ("imagenet", "vicreg", "warmup", 10),
    ("imagenet", "swav", "freeze", 1),
    ("imagenet", "swav", "queue_start", 15),
    ("imagenet", "dino", "freeze", 1),
  ],
)
def test_epochs_of_the_published_trainings(preset, arm, field, epochs):
  length = {"cifar10_1000": 1000, "imagenet100": 400, "imagenet": 100}[preset]
  part = getattr(recipes.settings(arms.PRESETS[preset], arm), field)
  assert part * length == pytest.approx(epochs)


def test_libraries_send_each_view_by_itself():
  """The papers' SimCLR, SwAV and DINO make one batch of views of a size."""
  together = {
    preset: {
      arm
      for arm in arms.METHODS
      if recipes.settings(config, arm).joint_statistics
    }
    for preset, config in arms.PRESETS.items()
  }
  papers = {"simclr", "swav", "dino"}
  assert together["imagenet"] == together["small"] == papers
  for preset in ("cifar10", "cifar10_1000", "imagenet100"):
    assert not together[preset]


def test_prototypes_that_cannot_be_shared_are_told_of():
  for preset, config in arms.PRESETS.items():
    every = dataclasses.replace(config, arms=arms.METHODS)
    assert bool(validate.uneven(every)) == (preset == "tiny"), preset
  (line,) = validate.uneven(
    fields.override(arms.PRESETS["tiny"], {"arms": ("swav", "dino")})
  )
  assert line.startswith("swav: 32 images of a batch and a queue share 64")
