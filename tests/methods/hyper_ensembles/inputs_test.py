"""Wrong fields and data, each refused in a sentence."""

import numpy as np
import pytest

from kd_jax import api
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import arms, data, train
from kd_jax.methods.hyper_ensembles.config import (
  Config,
  DataConfig,
  HyperConfig,
)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"model": "vgg"}, "model is 'vgg'"),
    ({"members": 1}, "members is 1"),
    ({"tuned": ("l3",)}, "tuned has 'l3'"),
    ({"l2_range": (0.0, 1.0)}, "l2_range"),
    ({"dropout_range": (0.1, 1.0)}, "dropout_range must end below 1"),
    ({"model": "resnet20", "tuned": ("dropout",)}, "no dropout to tune"),
    ({"widths": ()}, "widths"),
    ({"l2_range": (1.0, np.inf)}, "l2_range"),
    ({"learning_rate": np.nan}, "learning_rate is nan"),
    ({"stairs": (0.5, 0.5)}, "stairs"),
    ({"stairs": (0.5, 1.5)}, "stairs"),
    ({"warmup": 1000}, "warmup is 1000"),
    ({"data": DataConfig(mean=())}, "data.mean"),
    ({"data": DataConfig(std=(0.0,))}, "data.std"),
    ({"fast_init": 1.5}, "^fast_init is 1.5; .* at most 1"),
    ({"hyper": HyperConfig(fast_init=2.0)}, "hyper.fast_init is 2; .* most 1"),
    ({"hyper": HyperConfig(norm_l2=-1.0)}, "hyper.norm_l2"),
    ({"hyper": HyperConfig(embed_hidden=(0,))}, "embed_hidden"),
  ],
)
def test_wrong_fields_are_refused(fields, words):
  with pytest.raises(UsageError, match=words):
    Config(arms=("deep",), **fields)


def test_a_search_has_as_many_runs_as_members():
  _, _, config = api.configure(
    "hyper_ensembles", "tiny", arms=("batch",), runs=2
  )
  with pytest.raises(UsageError, match="runs is 2; 3 members"):
    train.phases(config, {}, lambda line: None)


def test_wrong_data_is_refused():
  config = arms.PRESETS["tiny"]
  with pytest.raises(UsageError, match="images and foreign, not webb"):
    data.load(config, {"webb": {}}, print)
  few = api.fields.override(config, {"data.train": 1700})
  with pytest.raises(UsageError, match="leave nothing of 1797 images"):
    data.load(few, {}, print)
  other = {"image": np.zeros((10, 9, 9), np.uint8)}
  other["label"] = np.arange(10) % 2
  with pytest.raises(UsageError, match=r"foreign images are \(9, 9, 1\)"):
    data.load(config, {"foreign": {"test": other}}, print)


def test_wrong_labels_are_as_many_as_asked_for():
  labels = np.arange(1000) % 10
  changed = data.noisy(np.random.default_rng(0), labels, 0.3, 10)
  # A tenth of those that are drawn anew come out as they were.
  assert abs((changed != labels).sum() - 270) < 25
