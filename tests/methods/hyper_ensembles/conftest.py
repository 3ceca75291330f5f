"""A small world: two divisions of sixty digits, and plans to learn them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kd_jax.methods.hyper_ensembles import plans
from kd_jax.methods.hyper_ensembles.config import (
  Config,
  DataConfig,
  HyperConfig,
)

TRAIN, VAL = 40, 20


@pytest.fixture(scope="session")
def world():
  """Tables as `data.load` gives them, on the device."""
  digits = load_digits()
  images = np.round(digits.images / 16 * 255).astype(np.uint8)[..., None]
  order = np.stack([np.random.default_rng(s).permutation(200) for s in (0, 1)])
  labels = digits.target.astype(np.int32)
  train = order[:, :TRAIN].astype(np.int32)
  return {
    "image": jnp.asarray(images[:200]),
    "label": jnp.asarray(labels[:200]),
    "train": jnp.asarray(train),
    "train_label": jnp.asarray(labels[train]),
    "val": jnp.asarray(order[:, TRAIN : TRAIN + VAL].astype(np.int32)),
  }


@pytest.fixture(scope="session")
def plan_of():
  """Gives a plan of a kind, with fields of the configuration changed."""

  def make(kind="single", *, split=True, hyper=None, **fields):
    config = Config(
      arms=("hyper_batch",),
      hyper=HyperConfig(**{"batch": 8, "longer": 1.0, **(hyper or {})}),
      **{
        **{"widths": (6,), "steps": 6, "batch_size": 8, "seeds": 2},
        **{"data": DataConfig(train=TRAIN, val=VAL), **fields},
      },
    )
    return plans.Plan(dataclasses.replace(config), kind, 10, TRAIN, split)

  return make


@pytest.fixture(scope="session")
def flat():
  """Gives a configuration's fields by name, nested ones with a dot."""

  def fields(config):
    found = {}
    for name, value in dataclasses.asdict(config).items():
      nested = value if isinstance(value, dict) else None
      found |= {f"{name}.{k}": v for k, v in (nested or {}).items()}
      found |= {} if nested else {name: value}
    return found

  return fields
