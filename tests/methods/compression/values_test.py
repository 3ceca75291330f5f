import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  binary_connect,
  convolutional,
  forms,
  integers,
  network,
  values,
)
from kd_jax.methods.compression.model import Model

RNG = np.random.default_rng(0)


def normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def test_binary_filters_and_their_gradient():
  w, g = normal(3, 3, 4, 5), normal(3, 3, 4, 5)
  w[0, 0, 0, 0] = 0.0
  got, back = jax.vjp(values.binary, jnp.asarray(w))
  (grad,) = back(jnp.asarray(g))
  for t in range(5):
    alpha = np.abs(w[..., t]).mean()
    sign = np.where(w[..., t] >= 0, 1, -1)  # +1 at 0.
    np.testing.assert_allclose(got[..., t], alpha * sign, rtol=1e-5)
    n = w[..., t].size
    want = g[..., t] * (1 / n + alpha * (np.abs(w[..., t]) < 1))
    np.testing.assert_allclose(grad[..., t], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_filter", [True, False])
def test_ternary_filters(per_filter):
  w = normal(6, 4)
  t, alpha = values.ternary_parts(jnp.asarray(w), per_filter)
  for j in range(4):
    column = w[:, j] if per_filter else w
    delta = 0.7 * np.abs(column).mean()
    big = np.abs(w[:, j]) > delta
    np.testing.assert_array_equal(t[:, j], np.sign(w[:, j]) * big)
    want = np.abs(column)[np.abs(column) > delta].mean()
    np.testing.assert_allclose(alpha[j], want, rtol=1e-5)


def test_binary_connect_clips_and_draws_by_the_hard_sigmoid():
  high = binary_connect.glorot((30, 20))
  assert abs(high - (1.5 / 50) ** 0.5) < 1e-7
  assert binary_connect.glorot((3, 3, 2, 4)) == (1.5 / (9 * 6)) ** 0.5
  params = {"a": {"kernel": jnp.asarray(normal(30, 20))}}
  scheme = binary_connect.binary_connect(exclude=())
  params, state = scheme.init(jax.random.key(0), params)
  clipped = scheme.constrain(params, state)["a"]["kernel"]
  assert np.abs(clipped).max() == np.float32(high)
  seen = scheme.project({"a": {"kernel": clipped}}, state)["a"]["kernel"]
  np.testing.assert_allclose(np.abs(seen), high, rtol=1e-6)
  w = jnp.full((20_000,), 0.25 * high)
  drawn = binary_connect.stochastic_sign(jax.random.key(1), w, high)
  np.testing.assert_allclose((drawn > 0).mean(), 0.625, atol=0.015)


def test_stochastic_signs_change_with_the_step_and_are_tested_latent():
  params = {"a": {"kernel": jnp.asarray(0.01 * normal(9, 8))}}
  scheme = binary_connect.binary_connect(stochastic=True, exclude=())
  params, state = scheme.init(jax.random.key(0), params)
  one, two = (scheme.project(params, state, s)["a"]["kernel"] for s in (1, 2))
  assert (one != two).any()
  np.testing.assert_array_equal(
    one, scheme.project(params, state, 1)["a"]["kernel"]
  )
  done = scheme.finalize(params, state)["a"]["kernel"]
  np.testing.assert_array_equal(done, params["a"]["kernel"])


def xnor_loop(x, w):
  """I * W ~ (sign(I) * sign(W)) K alpha, place by place (VALID)."""
  kh, kw, _, t = w.shape
  b, h, width, _ = x.shape
  out = np.zeros((b, h - kh + 1, width - kw + 1, t))
  for i in range(out.shape[1]):
    for j in range(out.shape[2]):
      window = x[:, i : i + kh, j : j + kw]
      k = np.abs(window).mean(-1).mean((1, 2))
      for c in range(t):
        signs = np.where(w[..., c] >= 0, 1, -1)
        inner = (np.where(window >= 0, 1, -1) * signs).sum((1, 2, 3))
        out[:, i, j, c] = inner * k * np.abs(w[..., c]).mean()
  return out


def test_xnor_layers_are_the_loops_in_training_and_in_the_file():
  x, w = normal(2, 5, 6, 3), normal(3, 3, 3, 4)
  how = network.Geometry((1, 1), ((0, 0), (0, 0)))
  want = xnor_loop(x, w)
  got = forms.conv({"xnor": {"latent": jnp.asarray(w)}}, jnp.asarray(x), how)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
  params = {"first": {"kernel": w}, "a": {"kernel": w}, "head": {"kernel": w}}
  scheme = values.xnor(first="first/kernel")
  done = scheme.finalize(jax.tree.map(jnp.asarray, params), {})
  assert not isinstance(done["first"]["kernel"], dict)
  assert not isinstance(done["head"]["kernel"], dict)
  got = forms.conv(done["a"]["kernel"], jnp.asarray(x), how)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
  grad = jax.grad(lambda x: values.binary_input(x).sum())(
    jnp.array([-2.0, -0.5, 0.0, 0.99, 1.0])
  )
  np.testing.assert_array_equal(grad, [0, 1, 1, 1, 0])


def test_xnors_network_trains_signs_of_both_kinds():
  model = Model(convolutional.XnorCNN(3, (3, 4, 5)), (8, 8, 1))
  variables = model.init(jax.random.key(0))
  order = model.order(variables)
  scheme = values.xnor(first=order[0], exclude=(order[-1],))
  x = jnp.asarray(normal(4, 8, 8, 1))

  @jax.jit
  def loss(params):
    view = {**variables, "params": scheme.project(params, {})}
    return jnp.square(model.logits(view, x)).sum()

  grads = jax.grad(loss)(variables["params"])
  for name in ("conv_0", "conv_1", "conv_2", "head"):
    assert (grads[name]["kernel"] != 0).any()
  done = scheme.finalize(variables["params"], {})
  written = {**variables, "params": done}
  np.testing.assert_allclose(
    jnp.square(model.logits(written, x)).sum(),
    loss(variables["params"]),
    rtol=1e-4,
  )
  made = {
    k for k, v in done.items() if forms.form(v.get("kernel", 0)) == "xnor"
  }
  assert made == {"conv_1", "conv_2"}


@pytest.mark.parametrize(
  "scheme",
  [
    values.integer(8),
    values.integer(2),
    values.bwn(exclude=()),
    values.ternary(exclude=()),
    binary_connect.binary_connect(exclude=()),
  ],
  ids=lambda s: s.name,
)
def test_what_is_trained_is_what_is_written(scheme):
  params = {"a": {"kernel": jnp.asarray(0.1 * normal(12, 6))}}
  params, state = scheme.init(jax.random.key(0), params)
  params = scheme.constrain(params, state)
  seen = scheme.project(params, state, 3)["a"]["kernel"]
  done = scheme.finalize(params, state)["a"]["kernel"]
  assert done["scaled"]["q"].dtype == jnp.int8
  np.testing.assert_allclose(forms.value(done), seen, rtol=1e-6, atol=1e-8)


def test_bits_out_of_range_are_refused():
  with pytest.raises(UsageError, match="2 to 8"):
    values.integer(1)
  assert integers.highest(2) == 1


def test_a_binary_layers_rate_is_one_over_its_magnitude():
  params = {"a": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}
  scaled = binary_connect.rates(params)(params)
  np.testing.assert_allclose(scaled["a"]["kernel"], (6 / 1.5) ** 0.5)
  np.testing.assert_array_equal(scaled["a"]["bias"], 1.0)
