"""The paper's tasks as models, and float64 for exact tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.robust_mdp import backups, environments


@pytest.fixture
def x64():
  """Gives a context in which arrays are float64."""
  if hasattr(jax, "enable_x64"):
    return lambda: jax.enable_x64(True)
  from jax.experimental import enable_x64  # Before JAX 0.8.

  return enable_x64


@pytest.fixture
def double(x64):
  """Float64 while a test runs."""
  with x64():
    yield


@pytest.fixture
def model_of():
  """Gives a task's model on the device, in float64 unless told otherwise."""

  def make(name, dtype=np.float64, **settings):
    made = backups.model(environments.make(name, **settings), dtype)
    return jax.tree.map(jnp.asarray, made)

  return make
