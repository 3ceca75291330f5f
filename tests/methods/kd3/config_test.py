import dataclasses

import pytest

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.kd3 import arms, validate
from kd_jax.methods.kd3 import config as configs


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"select.rule": "clever"}, "select.rule is 'clever'; it is one of"),
    ({"loss.mix": "style"}, "loss.mix is 'style'"),
    ({"teacher.name": "resnet1"}, "teacher.name is 'resnet1'"),
    ({"epochs": 0}, "epochs is 0; it must be at least 1"),
    ({"select.p_cutoff": 1.5}, "select.p_cutoff is 1.5; it must be 0.0 to 1.0"),
    ({"loss.temperature": 0.0}, "loss.temperature is 0.0"),
    ({"optim.momentum": -0.1}, "optim.momentum is -0.1"),
  ],
)
def test_a_wrong_value_is_named_with_what_it_could_be(values, words):
  with pytest.raises(UsageError, match=words.replace(".", r"\.")):
    fields.override(configs.Config(), values)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"loss.feature_weight": 0.0}, "nothing teaches"),
    (
      {"loss.feature_weight": 0.0, "loss.kl_weight": 1.0},
      "take loss.classifier own",
    ),
    ({"loss.mix": "none", "loss.cross": True}, "loss.cross is a contrast"),
    ({"data.web": "photos"}, "go together"),
    ({"data.std": (0.0,)}, "std above 0"),
    ({"student.widths": (8,)}, "student.widths and student.strides"),
    ({"optim.drops": (0.5, 0.2)}, "optim.drops"),
  ],
)
def test_fields_that_contradict_each_other_are_refused(values, words):
  config = fields.override(configs.Config(), values)
  with pytest.raises(UsageError, match=words):
    validate.check(config)


@pytest.mark.parametrize("arm", arms.CHANGES)
def test_every_arm_is_a_change_of_fields_that_agree(arm):
  config = configs.Config()
  own = arms.of_arm(config, arm)
  validate.check(own)
  known = dict(fields.walk(config))
  assert set(arms.CHANGES[arm]) <= set(known)
  learns_features = own.loss.feature_weight > 0
  rate = config.optim.learning_rate if learns_features else 0.1
  assert own.optim.learning_rate == rate


def test_a_selection_made_once_is_not_of_one_augmentation():
  assert configs.Config().select.augment
  assert not arms.of_arm(configs.Config(), "dfnd").select.augment


def test_the_presets_agree_with_themselves():
  for preset in arms.PRESETS.values():
    validate.check(preset)
    assert dataclasses.replace(preset, seed=3).seed == 3
