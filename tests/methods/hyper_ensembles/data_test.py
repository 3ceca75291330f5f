"""Corrupted test images must be the test images; what a LeNet can take."""

import dataclasses

import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import data, pools
from kd_jax.methods.hyper_ensembles.config import Config, DataConfig

RNG = np.random.default_rng(0)
LABELS = np.arange(30) % 3


def images(count, side=4):
  return RNG.integers(0, 256, (count, side, side)).astype(np.uint8)


def own(side=4):
  """Thirty images to divide, and twelve for tests."""
  return {
    "train_image": images(30, side),
    "train_label": LABELS,
    "test_image": images(12, side),
    "test_label": LABELS[:12],
  }


def loaded(path, labels):
  """With corrupted images of these labels."""
  splits = {
    f"{kind}_{severity}": labels
    for kind in data.CORRUPTIONS
    for severity in range(1, 6)
  }
  np.savez(
    path,
    **{f"{k}_image": images(len(v)) for k, v in splits.items()},
    **{f"{k}_label": v for k, v in splits.items()},
  )
  config = Config(
    seeds=2, data=DataConfig(train=15, val=10, corrupted=str(path))
  )
  return data.load(config, {"images": own()}, lambda line: None)


def test_corrupted_images_follow_the_test(tmp_path):
  tables = loaded(tmp_path / "c.npz", LABELS[:12])
  shape = (len(data.CORRUPTIONS), 5, 12, 4, 4, 1)
  assert tables.test["corrupted"].shape == shape
  assert tables.kinds == data.CORRUPTIONS


def test_every_file_of_a_run_is_known(tmp_path):
  paths = {}
  for field in ("name", "foreign", "corrupted"):
    paths[field] = str(tmp_path / f"{field}.npz")
    np.savez(paths[field], train_image=images(3))
  found = data.files(Config(data=DataConfig(**paths)))
  assert found == {f"data.{field}": path for field, path in paths.items()}
  assert data.files(Config(data=DataConfig(corrupted="cifar10_c"))) == {}


@pytest.mark.parametrize("labels", [LABELS[:9], LABELS[1:13]])
def test_others_are_refused(tmp_path, labels):
  words = f"c.npz has {len(labels)} images with other labels than the 12 test"
  with pytest.raises(UsageError, match=words):
    loaded(tmp_path / "c.npz", labels)


def test_images_without_a_test_split_have_none_that_follow():
  config = Config(data=DataConfig(train=100, val=50, corrupted="cifar10_c"))
  with pytest.raises(UsageError, match="no test split for it to follow"):
    data.load(config, {"images": "digits"}, lambda line: None)


def test_a_lenet_needs_images_that_can_be_halved_twice():
  config = Config(seeds=1, model="lenet", data=DataConfig(train=15, val=10))
  small = data.load(config, {"images": own(2)}, lambda line: None)
  with pytest.raises(UsageError, match="4x4 at least"):
    pools.Regime("", config, small).plan(config, "single")
  mlp = dataclasses.replace(config, model="mlp")
  assert pools.Regime("", mlp, small).plan(mlp, "single").images == 15
