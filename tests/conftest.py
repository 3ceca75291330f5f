"""Strict settings for every test.

Four host devices, so that one process can compare one device with four; rank
promotion raises; warnings are errors; and the shapes in the signatures of the
suite are checked at run time (beartype).

The suite compiles some thousand programs and runs each for milliseconds, so
the compiler is told not to optimize them (two to four times less time a
program), and what a module compiled goes when the module ends.
"""

import importlib.metadata
import inspect
import os

_FLAGS = ["--xla_force_host_platform_device_count=4"]
# XLA ends the process over a flag that it does not know: these were seen with
# JAX 0.7.2 and 0.10.2.
if tuple(map(int, importlib.metadata.version("jax").split(".")[:2])) < (0, 11):
  _FLAGS += [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
  ]
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))
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


@pytest.fixture(scope="module", autouse=True)
def programs_go_with_their_module():
  """Else a worker keeps every program of the suite: 7 GB of them."""
  yield
  jax.clear_caches()


@pytest.fixture
def unhooked():
  """Gives a function without the run-time shape check.

  The check speaks before the library's own ValueError would; a test of that
  message asks for the plain function: `unhooked(losses.nt_xent)(...)`.
  """
  return inspect.unwrap
