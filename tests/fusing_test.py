"""Members that a CPU takes in parts, against all of them at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, metrics

SPLIT = {"w": True, "count": False}


def members(n):
  return {"w": jnp.arange(1.0, n + 1), "count": jnp.int32(0)}


def step(state, data, *, axis_name=None):
  w = state["w"] * data
  found = {"loss": metrics.mean(w)}
  return {"w": w, "count": state["count"] + 1}, found


def taken(step, state, n, parts):
  run = jax.jit(accel.scan_steps(step, SPLIT, parts))
  state, (found, healthy) = run(state, (jnp.float32(1.5), jnp.int32(n)))
  return state, metrics.compute(found)["loss"], int(healthy)


@pytest.mark.parametrize(
  ("count", "parts", "sizes"),
  [
    (6, 1, [6]),
    (6, 2, [3, 3]),
    (6, 4, [2, 2, 2]),
    (7, 2, [7]),
    (3, 9, [1] * 3),
  ],
)
def test_parts_are_the_whole(count, parts, sizes):
  seen = []

  def watched(state, data, **how):
    seen.append(len(state["w"]))
    return step(state, data, **how)

  state, loss, healthy = taken(watched, members(count), 3, parts)
  # Once for the metrics' shapes, then each part in the loop's body.
  assert seen[1 : 1 + len(sizes)] == sizes
  np.testing.assert_allclose(state["w"], np.arange(1, count + 1) * 1.5**3)
  assert int(state["count"]) == healthy == 3
  np.testing.assert_allclose(
    loss, (count + 1) / 2 * (1.5 + 1.5**2 + 1.5**3) / 3
  )


def test_a_part_that_diverges_is_noticed():
  state = members(4)
  state["w"] = state["w"].at[3].set(3e38)  # Infinite after the first step.
  _, _, healthy = taken(step, state, 5, 2)
  assert healthy == 0
  state["w"] = state["w"].at[3].set(2e38)
  assert taken(step, state, 5, 2)[2] == 1


def test_other_devices_take_them_at_once(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  text = jax.jit(accel.scan_steps(step, SPLIT, 2)).lower(
    members(4), (jnp.float32(1), jnp.int32(1))
  )
  assert "tensor<2xf32>" not in text.as_text()


def losing(state, data, *, axis_name=None):
  """Its metric does not depend on what becomes infinite."""
  return (
    {**state, "w": state["w"] * data, "count": state["count"] + 1},
    {"loss": accel.sum(metrics.mean(jnp.zeros(2)), axis_name)},
  )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("devices", [1, 4])
def test_what_a_dispatch_lost_is_named(fused, devices):
  """A member of one device; neither counters nor what was infinite before."""
  state = {**members(8), "best": jnp.float32(jnp.inf), "key": jax.random.key(0)}
  split = {"w": True, "count": False, "best": False, "key": False}
  taken = accel.scan_steps(losing, split) if fused else accel.one_step(losing)
  devices = jax.devices()[:devices]
  run = accel.data_parallel(
    accel.guarded(taken, split),
    devices=devices,
    data="replicated",
    split=split,
  )

  def lost(last):
    held = {**state, "w": state["w"].at[5].set(last)}
    data = jnp.float32(2.0)
    held = accel.place(held, devices, split=split)
    held, ((_, healthy), lost) = run(held, (data, 1) if fused else data)
    assert int(healthy) == 1
    assert int(held["count"]) == 1
    names = sorted(state)  # The order of the leaves of a dict.
    return [n for n, x in zip(names, lost, strict=True) if x]

  assert lost(1.0) == []
  assert lost(3e38) == ["w"]
  assert lost(jnp.nan) == []
