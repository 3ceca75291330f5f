"""Wrong fields are answered in one sentence, before anything runs."""

import dataclasses

import pytest

from kd_jax import api, fields
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import METHOD, arms, claim, train, validate
from kd_jax.methods.robust_mdp.config import Config


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"divergence": "renyi"}, "divergence is 'renyi'"),
    ({"inner_rate": "linear"}, "inner_rate"),
    ({"discount": 1.0}, "discount is 1"),
    ({"lams": ()}, "lams is empty"),
    ({"lams": (1.0, 0.5)}, "must increase"),
    ({"lams": (0.0, 0.5)}, "lams has 0"),
    ({"lams": (float("nan"),)}, "finite"),
    ({"seeds": 0}, "seeds is 0"),
    ({"outer_steps": 0}, "outer_steps"),
    ({"share": 1.5}, "share"),
    ({"restart": 0.0}, "restart"),
    ({"seed": 2**32 - 1, "seeds": 4}, "pass 2"),
  ],
)
def test_a_wrong_field(values, words):
  with pytest.raises(UsageError, match=words):
    dataclasses.replace(Config(), **values)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"environment": "chian"}, "chain"),
    ({"environment": "nowhere.npz"}, "nowhere"),
    ({"environment": "nowhere.npz", "discount": 0.9}, "gamma of its own"),
  ],
)
def test_a_wrong_task(values, words):
  config = dataclasses.replace(Config(), **values)
  with pytest.raises(UsageError, match=words):
    train.phases(config, {}, lambda line: None)


def test_data_by_role_are_refused():
  with pytest.raises(UsageError, match="environment"):
    train.phases(Config(), {"mdp": {}}, lambda line: None)


def test_every_arm_is_described_and_can_be_configured():
  assert set(METHOD.arms) == set(arms.ARMS)
  assert set(claim.REPRODUCED) <= set(METHOD.arms)
  for preset in METHOD.presets:
    _, _, config = api.configure("robust_mdp", preset)
    for arm in arms.ARMS:
      own = arms.of_arm(config, arm)
      assert own.outer_steps >= 1
      assert own.transitions >= 1


def test_every_field_is_documented():
  for name, _ in fields.walk(Config()):
    assert fields.document(Config(), name), name


def test_the_trajectory_goes_around_the_ring():
  assert arms.of_arm(Config(), "algorithm_2").environment == "ring"
  assert arms.of_arm(Config(), "algorithm_1").environment == "chain"
  other = dataclasses.replace(Config(), environment="riverswim")
  assert arms.of_arm(other, "algorithm_2").environment == "riverswim"


def test_the_floor_of_cold_starts_is_foretold():
  config = Config(warm=False, inner_steps=10, lams=(0.5, 1.0, 2.0))
  (line,) = validate.floors(config, 10.0)
  assert "lam 0.5, 1;" in line  # 2 lam sqrt(10) is 3.2 and 6.3, then 12.6.
  assert validate.floors(dataclasses.replace(config, warm=True), 10.0) == []
  assert validate.floors(config, 1.0) == []
  said = []
  config = dataclasses.replace(config, arms=("cold_10",))
  train.phases(config, {}, said.append)
  assert len(said) == 1
  assert said[0].startswith("cold_10: cold start")
