"""The benchmark's single layers: wherever a step stands, it is the same one."""

import jax
import numpy as np
import pytest

from kd_jax import flops, throughput, timing
from kd_jax.networks import convolutions
from kd_jax.networks.convolutions import Layer

LAYERS = [Layer(6, 4, 4), Layer(6, 4, 6, stride=2), Layer(6, 4, 4, groups=4)]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(convolutions, "BATCH", 2)


def close(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_steps_are_the_same_inside_and_outside(layer):
  expected = convolutions.create_state(layer, 0).params
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
    close(run.state.params, expected)
    run(3)
    assert int(run.state.step) == 3
    close(run.state.params, runs[0].state.params)
  assert loss(runs[0].state) < begin


def test_the_timed_program_takes_the_same_steps():
  layer = LAYERS[0]
  program = timing.Program(convolutions.layer_case(layer), "jit")
  run = convolutions.native_loop(layer)
  run(int(program.state.step) + 2)
  program.steps(2)
  close(program.state.params, run.state.params)


def test_members_are_seeds():
  layer = LAYERS[1]
  program = timing.Program(convolutions.layer_case(layer, 3), "jit")
  likewise = convolutions.native_loop(layer, 3)
  likewise(int(program.state.step))
  close(program.state.params, likewise.state.params)
  for member in range(3):
    state = convolutions.create_state(layer, member)
    for _ in range(int(program.state.step)):
      state, _ = convolutions.make_step(layer)(state)
    close(
      jax.tree.map(lambda x, m=member: x[m], program.state.params), state.params
    )


@pytest.mark.parametrize("layer", convolutions.LAYERS)
def test_operations_are_counted(layer):
  made = jax.eval_shape(lambda: convolutions.create_state(layer, np.uint32(0)))
  counted = flops.count(convolutions.make_step(layer, native=True), made)
  assert convolutions.layer_flops(layer) == pytest.approx(counted, rel=0.02)


def test_they_are_rows_of_the_benchmark():
  cases = throughput.cases("convolutions")
  assert {name for name, _ in cases} == {"convolutions"}
  titles = [case.name for _, case in cases]
  assert len(set(titles)) == len(titles) == 2 * len(convolutions.LAYERS)
  assert "64 to 64 at 32x32, depthwise, in a scan" in titles
  assert "64 to 128 at 32x32, stride 2, 5 members vmapped, in a scan" in titles
