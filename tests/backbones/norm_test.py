import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.backbones.norm import BatchNorm

# Padding that falls on one device of four only, and leaves another one row.
WHERE = jnp.array([1, 1, 1, 0, 0, 0, 1, 1], bool)


def train(x, where=None, **fields):
  norm = BatchNorm(use_running_average=False, **fields)
  variables = norm.init(jax.random.key(0), x)
  params = {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -1.0])}
  return norm.apply(
    {**variables, "params": params}, x, where, mutable=["batch_stats"]
  )


def images(dtype=jnp.float32):
  x = jax.random.normal(jax.random.key(3), (8, 3, 2, 2)) * 2 + 1
  return x.astype(dtype)


def test_is_the_textbook_formula():
  x = np.asarray(images(), np.float64)
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  y, updated = train(images())
  expected = (x - mean) / np.sqrt(var + 1e-5) * [2, 3] + [0.5, -1]
  np.testing.assert_allclose(y, expected, atol=1e-5)
  stats = updated["batch_stats"]
  np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_are_those_of_the_formula(masked, order):
  """Of the inputs, scale and bias; also of a penalty on the gradients."""
  where = WHERE if masked else None

  def layer(x, params):
    norm = BatchNorm(use_running_average=False)
    stats = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    variables = {"params": params, "batch_stats": stats}
    return norm.apply(variables, x, where, mutable=["batch_stats"])[0]

  def formula(x, params):
    counted = x[WHERE] if masked else x
    mean, var = counted.mean((0, 1, 2)), counted.var((0, 1, 2))
    y = (x - mean[None, None, None]) / jnp.sqrt(var + 1e-5)[None, None, None]
    scale, bias = (params[k][None, None, None] for k in ("scale", "bias"))
    return y * scale + bias

  def loss(forward, x, params):
    y = forward(x, params)
    return (jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size).sum()

  def penalty(forward, *args):
    grads = jax.grad(loss, (1, 2))(forward, *args)
    return sum((g**2).sum() for g in jax.tree.leaves(grads))

  args = (
    images(),
    {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -1])},
  )
  of = jax.grad({1: loss, 2: penalty}[order], (1, 2))
  got, expected = (
    jax.jit(of, static_argnums=0)(f, *args) for f in (layer, formula)
  )
  for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


def test_evaluation_uses_the_running_statistics():
  norm = BatchNorm(use_running_average=True)
  x = images()
  variables = {
    "params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)},
    "batch_stats": {
      "mean": jnp.array([1.0, 2.0]),
      "var": jnp.array([4.0, 9.0]),
    },
  }
  expected = (np.asarray(x) - [1, 2]) / np.sqrt(np.array([4, 9]) + 1e-5)
  np.testing.assert_allclose(norm.apply(variables, x), expected, atol=1e-5)


def test_masked_rows_equal_a_sub_selection():
  x = jnp.where(WHERE[:, None, None, None], images(), jnp.nan)
  y, updated = train(x, WHERE)
  kept, expected = train(images()[WHERE])
  np.testing.assert_allclose(y[WHERE], kept, atol=1e-6)
  for a, b in zip(*map(jax.tree.leaves, (updated, expected)), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_gradients_past_masked_rows_are_finite_and_those_of_the_selection():
  def loss(x, where):
    y = train(x, where)[0]
    kept = y if where is None else jnp.where(where[:, None, None, None], y, 0)
    return (kept**3).sum()

  grad = jax.jit(jax.grad(loss))(images().at[3].set(1e6), WHERE)
  expected = jax.jit(jax.grad(loss))(images()[WHERE], None)
  np.testing.assert_allclose(grad[WHERE], expected, atol=1e-3)
  assert not np.any(grad[~WHERE])


def test_a_batch_without_rows_moves_nothing():
  y, updated = train(images(), jnp.zeros(8, bool))
  assert np.isfinite(y).all()
  np.testing.assert_array_equal(updated["batch_stats"]["mean"], [0, 0])
  np.testing.assert_array_equal(updated["batch_stats"]["var"], [1, 1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_are_float32(dtype):
  # The sum of the squares is past float16's range and bfloat16's digits.
  x = (images() + 20).astype(dtype)
  x = jnp.tile(x, (1, 16, 1, 1))
  y, updated = train(x)
  var = np.asarray(x, np.float64).var((0, 1, 2))
  assert y.dtype == dtype
  np.testing.assert_allclose(
    updated["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-4
  )


@pytest.mark.parametrize("mode", ["jit", "pmap", "shard_map"])
def test_one_device_equals_four_with_gradient(mode):
  def step(scale, data, *, axis_name=None):
    x, where = data
    norm = BatchNorm(use_running_average=False, axis_name=axis_name)

    def loss(scale):
      params = {"scale": scale, "bias": jnp.zeros(2)}
      stats = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
      # The input depends on the parameter: the gradient crosses the devices
      # through the statistics too.
      y, updated = norm.apply(
        {"params": params, "batch_stats": stats},
        x * scale[None, None, None] ** 2 + jnp.sin(x * scale[0]),
        where,
        mutable=["batch_stats"],
      )
      y = jnp.where(where[:, None, None, None], y, 0.0)
      return (y**3).sum(), updated

    grad, updated = jax.grad(loss, has_aux=True)(scale)
    return accel.sum(grad, axis_name), updated

  data = images(), WHERE
  scale = jnp.array([0.7, 1.3])
  lift = functools.partial(accel.data_parallel, donate=False)
  one = lift(step, devices=jax.devices()[:1])(scale, data)
  four = lift(step, mode=mode)(accel.place(scale), data)
  assert np.abs(one[0]).min() > 1e-2
  for a, b in zip(*map(jax.tree.leaves, (one, four)), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
  accel.check_replicated(four)


def test_shapes_are_checked(monkeypatch):
  # linen holds the method, the type hook cannot be taken off it.
  monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
  with pytest.raises(ValueError, match=r"\(5,\).*\(8, 3, 2, 2\)"):
    train(images(), jnp.ones(5, bool))


def test_without_scale_or_bias():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
  layer = BatchNorm(False, use_scale=False, use_bias=False)
  variables = layer.init(jax.random.key(0), x)
  assert "params" not in variables
  y, _ = layer.apply(variables, x, mutable=["batch_stats"])
  np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(y.var(0), 1, rtol=1e-3)
  half = BatchNorm(False, use_bias=False)
  assert set(half.init(jax.random.key(0), x)["params"]) == {"scale"}
