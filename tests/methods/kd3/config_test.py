import dataclasses
import re

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
    ({"loss.mix_weight": float("inf")}, "loss.mix_weight is inf; it must be f"),
    ({"loss.mix_weight": float("nan")}, "loss.mix_weight is nan"),
    ({"data.mean": (float("nan"),)}, "data.mean is (nan,); it must be finite"),
    ({"loss.kl_temperature": 0.0}, "it must be above 0"),
    ({"batch_size": 10**9}, "batch_size is 1000000000; it must be 2 to"),
    ({"score_batch_size": 10**9}, "score_batch_size is 1000000000"),
    ({"teacher_steps": 2**31}, "teacher_steps is 2147483648"),
    ({"loss.embedding": 10**9}, "loss.embedding is 1000000000"),
  ],
)
def test_a_wrong_value_is_named_with_what_it_could_be(values, words):
  with pytest.raises(UsageError, match=re.escape(words)):
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
    ({"data.original": "photos", "data.web": "digits_0_4"}, "go together"),
    (
      {"data.original": "shifted_digits", "data.web": "digits_0_4"},
      "go together",
    ),
    ({"epochs": 2**30}, "epochs times epoch_steps must be at most"),
    ({"student.widths": (8, 0, 8)}, "student.widths and .* are 1 to 16384"),
    ({"teacher.strides": (2, -1, 1)}, "teacher.widths and .* are 1 to 16384"),
    ({"loss.projector_factor": 65}, "is 65; the teacher's features have 64 ch"),
    (
      {"teacher.name": "resnet18_half", "loss.projector_factor": 257},
      "features have 256 channels",
    ),
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
