"""A task of a second: three classes of 8x8 images, each a bright corner."""

import numpy as np
import pytest

from kd_jax import fields
from kd_jax.methods.compression import presets


def draw(n, seed):
  rng = np.random.default_rng(seed)
  label = (np.arange(n) % 3).astype(np.int32)
  image = rng.integers(0, 90, (n, 8, 8, 1)).astype(np.uint8)
  for i, y in enumerate(label):
    corner = image[i, 4 * (y // 2) :, 4 * (y % 2) :]
    corner[:4, :4] += 100
  return {"image": image, "label": label}


@pytest.fixture(scope="session")
def images():
  """The user's own data, as `train` takes it."""
  return {"images": {"train": draw(90, 0), "test": draw(30, 1)}}


@pytest.fixture(scope="session")
def config():
  """A configuration for them."""
  return fields.override(
    presets.PRESETS["tiny"],
    {
      "widths": (10, 8),
      "train_images": 60,
      "val_images": 12,
      "batch_size": 12,
      "dense_steps": 6,
      "tune_steps": 4,
      "distil.teacher": (6,),
      "distil.student": (4,),
      "distil.images": 24,
    },
  )
