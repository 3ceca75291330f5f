"""A small task that needs no data set: three classes, 8x8 images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields
from kd_jax.methods.kd3 import arms, model, state

SHAPE, CLASSES, N, BATCH = (8, 8, 1), 3, 24, 8
TINY = fields.override(
  arms.PRESETS["tiny"],
  {
    "teacher.widths": (6, 8),
    "teacher.strides": (2, 2),
    "student.widths": (4, 5),
    "student.strides": (2, 1),
    "loss.embedding": 4,
    # Large enough to be seen beside the features' term.
    "loss.mix_weight": 0.5,
    "select.count": 7,
    # An untrained teacher is hardly ever sure.
    "select.p_cutoff": 0.4,
    "batch_size": BATCH,
    "score_batch_size": BATCH,
  },
)


@pytest.fixture(scope="session")
def config():
  """A method's configuration for the small task."""
  return TINY


@pytest.fixture(scope="session")
def columns():
  """A web of random bytes, the first third relevant."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (N, *SHAPE)).astype(np.uint8)
  return {"image": image, "relevant": np.arange(N) < N // 3}


@pytest.fixture(scope="session")
def batch(columns):
  """A batch, two rows of which are padding."""
  return {
    "image": jnp.asarray(columns["image"][:BATCH]),
    "row": jnp.arange(BATCH),
    "index": jnp.arange(BATCH),
    "where": jnp.arange(BATCH) < BATCH - 2,
  }


@pytest.fixture(scope="session")
def teacher():
  """An untrained teacher's variables."""
  x = jnp.zeros((1, *SHAPE))
  network = model.network(TINY.teacher, CLASSES)
  return network.init(jax.random.key(5), x, train=False)


@pytest.fixture(scope="session")
def make_state(teacher):
  """Gives an arm's state at step 0, its arrays nobody else's."""

  def make(config):
    web = {
      "index": jnp.arange(N, dtype=jnp.int32),
      "count": jnp.int32(N - 2),
      "teacher_accuracy": jnp.float32(0.9),
    }
    made = state.create_state(config, 3, SHAPE, teacher, web)
    return jax.tree.map(lambda x: jnp.array(x, copy=True), made)

  return make
