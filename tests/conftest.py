"""Strict settings for every test.

Four host devices, so that one process can compare one device with four; rank
promotion raises; warnings are errors; and the shapes in the signatures of the
suite are checked at run time (beartype).
"""

import inspect
import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jaxtyping

# Installed before any module of the suite is imported.
jaxtyping.install_import_hook(
  ["kd_jax.losses", "kd_jax.metrics", "kd_jax.augment", "kd_jax.backbones"],
  "beartype.beartype",
)

import jax
import pytest

from kd_jax import accel

jax.config.update("jax_numpy_rank_promotion", "raise")
accel.start()


@pytest.fixture
def unhooked():
  """Gives a function without the run-time shape check.

  The check speaks before the library's own ValueError would; a test of that
  message asks for the plain function: `unhooked(losses.nt_xent)(...)`.
  """
  return inspect.unwrap
