"""DAFL's generator and its losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, metrics
from kd_jax.methods.kd3 import arms, dafl
from kd_jax.training.state import step_key

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def arm(config):
  return arms.of_arm(config, "dafl")


@pytest.fixture(scope="module")
def start(arm, teacher):
  web = {
    "index": jnp.arange(8, dtype=jnp.int32),
    "count": jnp.int32(8),
    "teacher_accuracy": jnp.float32(0.9),
  }
  return dafl.create_state(arm, 3, SHAPE, teacher, web)


BATCH = {"row": jnp.arange(8, dtype=jnp.int32)}


@pytest.mark.parametrize("shape", [(14, 14, 1), (32, 32, 3)])
def test_images_are_normalised_and_of_any_size(shape):
  generator = dafl.Generator(shape)
  v = jax.random.normal(jax.random.key(0), (6, 100))
  variables = jax.jit(generator.init)(jax.random.key(1), v)
  apply = functools.partial(generator.apply, mutable=["batch_stats"])
  x, _ = jax.jit(apply)(variables, v)
  assert x.shape == (6, *shape)
  np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(x.var((0, 1, 2)), 1, atol=1e-2)
  # 100 numbers to 128 maps a quarter of the size, as the paper's for 32x32.
  kernel = variables["params"]["dense"]["kernel"]
  assert kernel.shape == (100, 128 * (-(-shape[0] // 4)) ** 2)


def test_losses_are_those_of_the_paper(arm, start):
  key = step_key(start)
  forward = jax.jit(functools.partial(dafl.forward, arm))
  out, _ = forward(start.params, start, BATCH, key)
  found = dafl.terms(arm, out, BATCH)
  out = jax.tree.map(lambda a: np.asarray(a, np.float64), out)
  p = np.exp(out.zT) / np.exp(out.zT).sum(1, keepdims=True)
  q = np.exp(out.zS) / np.exp(out.zS).sum(1, keepdims=True)
  np.testing.assert_allclose(found["one_hot"], -np.log(p.max(1)), rtol=1e-4)
  np.testing.assert_allclose(
    found["activation"], -np.abs(out.gT).mean(1), rtol=1e-5
  )
  mean = p.mean(0)
  np.testing.assert_allclose(
    found["balance"], (mean * np.log10(mean)).sum(), rtol=1e-4
  )
  kl = (p * (np.log(p) - np.log(q))).sum(1)
  np.testing.assert_allclose(found["kl"], kl, rtol=1e-3, atol=1e-6)
  _, logged = jax.jit(dafl.make_train_step(arm))(start, BATCH)
  total = -np.log(p.max(1)).mean() - 0.1 * np.abs(out.gT).mean() + kl.mean()
  total += 5 * (mean * np.log10(mean)).sum()
  np.testing.assert_allclose(metrics.compute(logged)["loss"], total, rtol=1e-3)


def test_neither_learns_from_the_other_s_loss(arm, start):
  def gradient(names):
    def loss(params):
      out, _ = dafl.forward(arm, params, start, BATCH, step_key(start))
      found = dafl.terms(arm, out, BATCH)
      return sum(found[name].mean() for name in names)

    grads = jax.jit(jax.grad(loss))(start.params)
    return {
      k: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(v))
      for k, v in grads.items()
    }

  generator = gradient(["one_hot", "activation", "balance"])
  student = gradient(["kl"])
  assert generator["generator"] > 1e-5
  assert generator["student"] == 0
  assert student["student"] > 1e-5
  assert student["generator"] == 0


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_one_device_equals_four(arm, start, mode):
  step = dafl.make_train_step(arm)
  lift = functools.partial(accel.data_parallel, donate=False)
  one, _ = lift(step, devices=jax.devices()[:1])(start, BATCH)
  four, _ = lift(step, mode=mode)(accel.place(start), BATCH)
  both = map(jax.tree.leaves, (one.model_state, four.model_state))
  for a, b in zip(*both, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  both = map(jax.tree.leaves, (one.params["student"], four.params["student"]))
  for a, b in zip(*both, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
