"""Micro-batches: the large batch's gradient, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy_net

from kd_jax import accel
from kd_jax.errors import UsageError
from kd_jax.metrics import accuracy, compute, mean
from kd_jax.training.state import State, row_keys
from kd_jax.training.step import make_train_step

FOUR = jax.devices()
TX = optax.sgd(0.5)
DRAW = np.random.default_rng(0)
BATCH = {
  "x": DRAW.normal(size=(16, 3)).astype(np.float32),
  "y": DRAW.integers(0, 2, 16).astype(np.int32),
  "row": np.arange(16, dtype=np.int32),
  # Uneven over parts (every fourth row) as over devices (four in a row); of
  # the fourth part nothing counts.
  "where": np.array([1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0], bool),
}


def forward(params, state, batch, key, *, axis_name=None):
  keys = row_keys(key, batch["row"])
  x = batch["x"] + 0.1 * jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys)
  logits = jnp.tanh(x @ params["w"]) @ params["v"]
  return logits, {"seen": state.model_state["seen"] + 1.0}


def terms(logits, batch, *, axis_name=None):
  loss = optax.softmax_cross_entropy_with_integer_labels
  return {"ce": loss(logits, batch["y"]), "square": (logits**2).sum(-1)}


def measures(logits, batch):
  return {
    "accuracy": accuracy(logits, batch["y"], batch["where"]),
    "rows": mean(batch["where"].astype(jnp.float32)),
  }


def begin():
  key = jax.random.key(1)
  params = {
    "w": jax.random.normal(key, (3, 4)),
    "v": jax.random.normal(key, (4, 2)),
  }
  return State.create(
    seed=0,
    params=params,
    opt_state=TX.init(params),
    model_state={"seen": jnp.float32(0)},
  )


def take(microbatches, devices, mode="auto", batch=BATCH, steps=2):
  step = make_train_step(
    forward,
    terms,
    {"ce": 1.0, "square": lambda step: 0.1 * (1.0 + step)},
    TX,
    measures=measures,
    microbatches=microbatches,
  )
  lifted = accel.data_parallel(step, mode=mode, devices=devices)
  state = accel.place(begin(), devices)
  for _ in range(steps):
    state, found = lifted(state, batch)
  accel.check_replicated(state)
  return jax.device_get(state), compute(found)


@pytest.fixture(scope="module")
def large():
  return take(1, FOUR[:1])


@pytest.mark.parametrize(
  ("microbatches", "count", "mode"),
  [(4, 1, "auto"), (2, 4, "pmap"), (4, 4, "shard_map"), (4, 4, "jit")],
)
def test_parts_are_the_large_batch(large, microbatches, count, mode):
  state, found = take(microbatches, FOUR[:count], mode)
  expect, expected = large
  for name in ("w", "v"):
    moved = np.abs(expect.params[name] - begin().params[name]).max()
    assert moved > 1e-2
    np.testing.assert_allclose(
      state.params[name], expect.params[name], rtol=1e-5, atol=1e-6
    )
  assert found == pytest.approx(expected, rel=1e-5)
  assert int(state.step) == 2
  # What the forward pass carries goes from part to part.
  assert state.model_state["seen"] == 2 * microbatches


def test_a_mask_of_nothing_moves_nothing():
  batch = {**BATCH, "where": np.zeros(16, bool)}
  state, found = take(4, FOUR[:1], batch=batch, steps=1)
  for a, b in zip(
    jax.tree.leaves(state.params), jax.tree.leaves(begin().params), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  assert np.isnan(found["ce"])


def test_without_a_mask_all_rows_count():
  plain = {k: v for k, v in BATCH.items() if k != "where"}

  def step(microbatches):
    return jax.jit(
      make_train_step(
        forward,
        terms,
        {"ce": 1.0, "square": 0.1},
        TX,
        microbatches=microbatches,
      )
    )

  one, other = (step(n)(begin(), plain)[0] for n in (1, 4))
  np.testing.assert_allclose(other.params["w"], one.params["w"], rtol=1e-5)


def test_batch_statistics_are_those_of_a_part():
  """BatchNorm's exception, said in numbers: two moves of the running mean."""

  def step(microbatches):
    return make_train_step(
      toy_net.forward,
      toy_net.terms,
      {"ce": 1.0, "contrast": 0.5},
      toy_net.TX,
      microbatches=microbatches,
    )

  batch = toy_net.make_batch()
  stats = {}
  for n in (1, 2):
    state, _ = jax.jit(step(n))(toy_net.create_state(), batch)
    stats[n] = np.asarray(state.model_state["BatchNorm_0"]["mean"])
  # 0.9 (0.1 a) + 0.1 b with a, b the parts' means, whose mean is the batch's.
  part = {k: v[::2] for k, v in batch.items()}
  state, _ = jax.jit(step(1))(toy_net.create_state(), part)
  first = np.asarray(state.model_state["BatchNorm_0"]["mean"])
  second = 2 * stats[1] - first
  np.testing.assert_allclose(stats[2], 0.9 * first + second, rtol=1e-4)
  assert np.abs(stats[2] - stats[1]).max() > 1e-4


def test_parts_must_divide_a_devices_rows():
  with pytest.raises(UsageError, match="batch of 4 rows does not divide"):
    take(3, FOUR)
