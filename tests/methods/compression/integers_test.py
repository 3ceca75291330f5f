import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import backbones
from kd_jax.methods.compression import (
  channels,
  hosts,
  integers,
  network,
  ranges,
)
from kd_jax.methods.compression.model import Model

RNG = np.random.default_rng(0)


def normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_weights_are_the_nearest_code_of_their_channel(bits):
  w = normal(3, 4, 5)
  top = 2 ** (bits - 1) - 1
  got = np.asarray(integers.fake_weights(w, bits))
  for t in range(5):
    scale = np.abs(w[..., t]).max() / top
    codes = scale * np.arange(-top, top + 1)
    best = np.abs(w[..., t][..., None] - codes).min(-1)
    np.testing.assert_allclose(np.abs(got[..., t] - w[..., t]), best, atol=1e-6)
    assert len(np.unique(got[..., t])) <= 2 * top + 1


def test_gradients_go_straight_through_inside_the_range_only():
  w = jnp.array([[0.2, -3.0, 0.9, 1.4]]).T
  grad = jax.grad(
    lambda w: integers.fake_weights(w, 3, jnp.array([0.5])).sum()
  )(w)
  # Three bits at a scale of .5 reach 1.5.
  np.testing.assert_array_equal(grad[:, 0], [1, 0, 1, 1])
  x = jnp.array([-1.0, 0.1, 2.9, 3.5])
  low, high = jnp.float32(-0.5), jnp.float32(3.0)
  grad = jax.grad(lambda x: integers.fake_activations(x, low, high).sum())(x)
  np.testing.assert_array_equal(grad, [0, 1, 1, 0])


@pytest.mark.parametrize("ends", [(-1.0, 2.0), (0.5, 3.0), (-3.0, -1.0)])
def test_zero_is_a_number_exactly(ends):
  scale, zero = integers.range_of(*map(jnp.float32, ends))
  assert zero == round(float(zero))
  assert 0 <= zero <= 255
  code = integers.encode(jnp.zeros(1), scale, zero)
  assert (scale * (code - zero) == 0).all()


def parts(shape, low=-1.5, high=2.5):
  w = normal(*shape)
  scale = integers.scale_of(jnp.asarray(w), 8)
  s, z = integers.range_of(jnp.float32(low), jnp.float32(high))
  q = integers.quantize(jnp.asarray(w), scale, 8).astype(jnp.int8)
  return {"q": q, "scale": scale, "in_scale": s, "in_zero": z}


def test_the_integer_layer_is_the_rounded_float_layer():
  p = parts((300, 7))
  x = jnp.asarray(normal(5, 300))
  got = integers.dense(x, p)
  low, high = jnp.float32(-1.5), jnp.float32(2.5)
  seen = integers.fake_activations(x, low, high)
  want = seen @ integers.dequantize(p["q"], p["scale"])
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_on_integers_the_integer_path_is_exact():
  p = parts((40, 7))
  p |= {"in_scale": jnp.float32(1), "scale": jnp.ones(7)}
  z = int(p["in_zero"])
  x = jnp.asarray(RNG.integers(-z, 256 - z, (6, 40)), jnp.float32)
  got = integers.dense(x, p)
  want = np.asarray(x, np.int64) @ np.asarray(p["q"], np.int64)
  np.testing.assert_array_equal(got, want)
  assert np.abs(want).max() > 127  # Eight bits would have overflown.


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 1), (2, 0))])
def test_a_convolution_pads_with_the_code_of_zero(padding):
  p = parts((3, 3, 4, 5))
  p |= {"in_scale": jnp.float32(1), "scale": jnp.ones(5)}
  z = int(p["in_zero"])
  x = jnp.asarray(RNG.integers(-z, 256 - z, (2, 6, 7, 4)), jnp.float32)
  got = integers.conv(x, p, network.Geometry((2, 1), padding))
  want = jax.lax.conv_general_dilated(
    x, p["q"].astype(jnp.float32), (2, 1), padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )  # fmt: skip
  np.testing.assert_array_equal(got, want)


class Net(nn.Module):
  """A norm that follows its layer, and one that does not."""

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Conv(4, (3, 3), name="a")(x)
    x = nn.relu(nn.BatchNorm(not train, name="norm_a")(x))
    x = nn.BatchNorm(not train, name="apart")(x)
    x = nn.Conv(5, (3, 3), use_bias=False, name="b")(x)
    x = backbones.BatchNorm(not train, name="norm_b")(x)
    return nn.Dense(3, name="head")(nn.relu(x).mean((1, 2)))


def trained(model):
  """Variables whose norms have something to say."""
  made = jax.device_get(model.init(jax.random.key(0)))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda w: (w + 0.3 * rng.random(w.shape)).astype(np.float32), made
  )


def test_norms_are_folded_where_they_follow_a_layer():
  model = Model(Net(), (6, 6, 3))
  variables = trained(model)
  found = ranges.foldable(model, variables)
  assert {k: v[0] for k, v in found.items()} == {"norm_a": "a", "norm_b": "b"}
  small = ranges.fold(model, variables)
  assert set(small["params"]) == {"a", "b", "apart", "head"}
  assert channels.difference(model, variables, small) < 1e-5


def test_ranges_are_moving_averages_and_round_after_the_delay():
  model = Model(hosts.MLP(3, (4,)), (2, 2, 1))
  params = model.init(jax.random.key(0))["params"]
  scheme = ranges.eight_bit(delay=2)
  view = scheme.project(params, {})
  x = jnp.asarray(normal(5, 2, 2, 1))
  found, outputs = {"ranges": {}}, []
  for scale in (1.0, 3.0, 1.0):
    out, found = model.train(
      {"params": view, **found}, scale * x, jax.random.key(0)
    )
    outputs.append(out)
  low = 1.0
  for scale in (3.0, 1.0):
    low = ranges.DECAY * low + (1 - ranges.DECAY) * scale
  got = found["ranges"]["fc_0"]
  np.testing.assert_allclose(got["low"], low * float(x.min()), rtol=1e-5)
  assert got["count"] == 3
  plain = {"params": jax.tree.map(lambda w: integers.fake_weights(w, 8)
                                  if w.ndim > 1 else w, params)}  # fmt: skip
  np.testing.assert_allclose(outputs[0], model.logits(plain, x), rtol=1e-5)
  # Rounded in the end: what integers give, bit by bit up to the last float.
  done = scheme.finalize(params, {})
  done = ranges.attach(done, found["ranges"])
  assert "quantized" in done["fc_0"]["kernel"]
  got = model.logits({"params": done}, x)
  want = model.logits({"params": view, "ranges": found["ranges"]}, x)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
