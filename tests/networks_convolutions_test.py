"""The benchmark's single layers: wherever a step stands, it is the same one."""

import jax
import numpy as np
import pytest

from kd_jax import flops, throughput, timing
from kd_jax.errors import UsageError
from kd_jax.networks import convolutions
from kd_jax.networks.convolutions import Layer

LAYERS = [Layer(6, 4, 4), Layer(6, 4, 6, stride=2), Layer(6, 4, 4, groups=4)]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(convolutions, "BATCH", 2)
  monkeypatch.setattr(convolutions, "RATE", 1.0)  # Inputs move, too.


def close(a, b, begin):
  """Two ways from the same beginning: what has moved is compared."""
  for x, y, z in zip(*map(jax.tree.leaves, (a, b, begin)), strict=True):
    assert np.abs(y - z).max() > 1e-3
    np.testing.assert_allclose(x - z, y - z, rtol=1e-2, atol=2e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_steps_are_the_same_inside_and_outside(layer):
  expected = jax.device_get(convolutions.create_state(layer, 0).params)
  step = convolutions.make_step(layer, native=True)

  def loss(state):
    return float(step(state)[1]["loss"].total)

  runs = [
    convolutions.alone(layer),
    convolutions.alone(layer, native=True),
    convolutions.in_cond(layer),
    convolutions.native_loop(layer),
  ]
  begin = loss(runs[0].state)
  for run in runs:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
      run.state.params,
      expected,
    )
    run(3)
    assert int(run.state.step) == 3
    close(run.state.params, runs[0].state.params, expected)
  assert loss(runs[0].state) < begin


def test_the_timed_program_takes_the_same_steps():
  layer = LAYERS[0]
  program = timing.Program(convolutions.layer_case(layer), "jit")
  run = convolutions.native_loop(layer)
  run(int(program.state.step) + 2)
  program.steps(2)
  begin = convolutions.create_state(layer, 0).params
  close(program.state.params, run.state.params, begin)


def test_members_are_seeds():
  layer = LAYERS[1]
  program = timing.Program(convolutions.layer_case(layer, 3), "jit")
  likewise = convolutions.native_loop(layer, 3)
  likewise(int(program.state.step))
  for member in range(3):
    state = begin = convolutions.create_state(layer, member)
    for _ in range(int(program.state.step)):
      state, _ = convolutions.make_step(layer)(state)
    for many in (program.state, likewise.state):
      one = jax.tree.map(lambda x, m=member: x[m], many.params)
      close(one, state.params, begin.params)


@pytest.mark.parametrize("layer", convolutions.LAYERS)
def test_operations_are_counted(layer):
  made = jax.eval_shape(lambda: convolutions.create_state(layer, np.uint32(0)))
  counted = flops.count(convolutions.make_step(layer, native=True), made)
  assert convolutions.layer_flops(layer) == pytest.approx(counted, rel=0.02)


def test_several_devices_are_refused():
  _, case = throughput.cases("convolutions")[0]
  with pytest.raises(UsageError, match="on one device; there are 4"):
    case.make()


def test_they_are_rows_of_the_benchmark():
  cases = throughput.cases("convolutions")
  assert {name for name, _ in cases} == {"convolutions"}
  titles = [case.name for _, case in cases]
  assert len(set(titles)) == len(titles) == 2 * len(convolutions.LAYERS)
  assert "64 to 64 at 32x32, depthwise, in a scan" in titles
  assert "64 to 128 at 32x32, stride 2, 5 members vmapped, in a scan" in titles
