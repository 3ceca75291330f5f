"""The step's own arithmetic; its lifting is in accel_test.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.metrics import compute
from kd_jax.training.state import State, row_keys, step_key
from kd_jax.training.step import make_train_step

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = X @ np.array([1.0, -2.0, 0.5], np.float32)
BATCH = {"x": X, "y": Y, "where": np.arange(6) != 2}
TX = optax.sgd(0.1)


def forward(params, state, batch, key, *, axis_name=None):
  return batch["x"] @ params["w"], {"seen": state.model_state["seen"] + 1.0}


def terms(outputs, batch, *, axis_name=None):
  return {"square": (outputs - batch["y"]) ** 2}


def begin(seed=0):
  params = {"w": jnp.ones(3)}
  return State.create(
    seed=seed,
    params=params,
    opt_state=TX.init(params),
    model_state={"seen": jnp.float32(0)},
  )


def test_a_step_by_hand():
  step = jax.jit(make_train_step(forward, terms, {"square": 2.0}, TX))
  state, found = step(begin(), BATCH)
  keep = [0, 1, 3, 4, 5]
  x, y = X[keep], Y[keep]
  error = x @ np.ones(3, np.float32) - y
  grad = 2 * 2 * (error[:, None] * x).mean(0)
  np.testing.assert_allclose(state.params["w"], 1 - 0.1 * grad, rtol=1e-5)
  found = compute(found)
  assert found["square"] == pytest.approx((error**2).mean(), rel=1e-5)
  assert found["loss"] == pytest.approx(2 * (error**2).mean(), rel=1e-5)
  assert found["grad_norm"] == pytest.approx(np.linalg.norm(grad), rel=1e-5)
  assert int(state.step) == 1
  assert float(state.model_state["seen"]) == 1


def test_schedules_and_extra_terms():
  def size(outputs, batch, *, axis_name=None):
    return {"size": outputs**2}

  step = make_train_step(
    forward,
    terms,
    {"square": lambda step: 1.0 + step},
    TX,
    extra_terms=[(size, {"size": 0.25})],
  )
  step = jax.jit(step)
  for at in (0, 3):
    state = begin().replace(step=jnp.int32(at))
    found = compute(step(state, BATCH)[1])
    expect = (1 + at) * found["square"] + 0.25 * found["size"]
    assert found["loss"] == pytest.approx(expect, rel=1e-5)


def test_terms_and_weights_must_match():
  def again(outputs, batch, *, axis_name=None):
    return {"square": outputs}

  twice = make_train_step(
    forward, terms, {"square": 1.0}, TX, extra_terms=[(again, {})]
  )
  with pytest.raises(ValueError, match=r"share the names \['square'\]"):
    twice(begin(), BATCH)
  unweighted = make_train_step(forward, terms, {}, TX)
  with pytest.raises(ValueError, match="'square' has no weight"):
    unweighted(begin(), BATCH)


def test_keys_are_functions_of_seed_step_stream_and_row():
  def data(seed, step, stream, row):
    state = begin(seed).replace(step=jnp.int32(step))
    keys = row_keys(step_key(state, stream), jnp.asarray([row, row + 1]))
    return tuple(np.asarray(jax.random.key_data(keys)).ravel().tolist())

  places = [
    (s, t, m, r) for s in (0, 1) for t in (0, 1) for m in (0, 1) for r in (0, 4)
  ]
  drawn = {data(*place) for place in places}
  assert len(drawn) == len(places)
  assert data(1, 1, 1, 4) == data(1, 1, 1, 4)
  # A row's key does not depend on what stands beside it.
  assert data(0, 0, 0, 3)[2:] == data(0, 0, 0, 4)[:2]
