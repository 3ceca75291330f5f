"""What the compiler is told, and a compiler that does not understand it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.accel import compiling
from kd_jax.backbones.convolution import convolve


def test_no_convolution_goes_to_the_library_with_one_thread():
  x, kernel = jnp.ones((64, 14, 14, 32)), jnp.ones((3, 3, 32, 32))
  lowered = jax.jit(lambda x, k: convolve(x, k, native=True)).lower(x, kernel)
  if "ynn" not in lowered.compile().as_text():
    pytest.skip("this compiler does not use it for convolutions")
  told = accel.compiled(lowered)
  assert "ynn" not in told.as_text()
  np.testing.assert_allclose(told(x, kernel), convolve(x, kernel), rtol=1e-6)


def test_a_step_is_compiled_so():
  def step(state, data, *, axis_name=None):
    return convolve(data, state, native=True), ()

  x, kernel = jnp.ones((64, 14, 14, 32)), jnp.ones((3, 3, 32, 32))
  run = accel.data_parallel(step, devices=jax.devices()[:1], donate=False)
  if "ynn" not in run.lower(kernel, x).compile().as_text():
    pytest.skip("this compiler does not use it for convolutions")
  assert "ynn" not in run.compile(kernel, x)._call.as_text()


def test_a_compiler_that_does_not_know_an_option(monkeypatch):
  options = compiling.CPU_OPTIONS | {"xla_cpu_no_such": "1"}
  monkeypatch.setattr(compiling, "CPU_OPTIONS", options)
  doubled = accel.compiled(jax.jit(lambda x: 2 * x).lower(3.0))
  assert doubled(3.0) == 6.0


def test_other_errors_are_the_callers():
  class Broken:
    def compile(self, **_):
      raise jax.errors.JaxRuntimeError("INTERNAL: no memory")

  with pytest.raises(jax.errors.JaxRuntimeError, match="no memory"):
    accel.compiled(Broken())


def test_accelerators_are_told_nothing():
  class Lowered:
    def compile(self, **how):
      return how

  assert accel.compiled(Lowered(), "gpu") == {}
  assert accel.compiled(Lowered(), "cpu")["compiler_options"]


@pytest.mark.parametrize(
  ("flags", "level"), [("", 2), ("--xla_backend_optimization_level=0", None)]
)
def test_a_level_that_was_asked_for_stays(monkeypatch, flags, level):
  monkeypatch.setenv("XLA_FLAGS", flags)

  class Lowered:
    def compile(self, compiler_options):
      return compiler_options.get("xla_backend_optimization_level")

  assert accel.compiled(Lowered(), "cpu") == level
