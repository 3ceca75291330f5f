import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.backbones.conv import Conv


def plain(x, kernel, stride, pad):
  """The sums written out, one output at a time."""
  x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))).astype(np.float64)
  kh, kw, _, features = kernel.shape
  h = (x.shape[1] - kh) // stride + 1
  w = (x.shape[2] - kw) // stride + 1
  y = np.zeros((x.shape[0], h, w, features))
  for n, i, j, f in np.ndindex(*y.shape):
    window = x[n, i * stride : i * stride + kh, j * stride : j * stride + kw]
    y[n, i, j, f] = (window * kernel[..., f]).sum()
  return y


@pytest.mark.parametrize(("stride", "pad"), [(1, 1), (2, 1), (2, 0)])
def test_is_the_plain_sum(stride, pad):
  x = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
  conv = Conv(5, (3, 3), strides=stride, padding=pad)
  variables = conv.init(jax.random.key(1), x)
  kernel, bias = (
    np.asarray(variables["params"][k]) for k in ("kernel", "bias")
  )
  expected = plain(np.asarray(x), kernel, stride, pad) + bias
  np.testing.assert_allclose(conv.apply(variables, x), expected, atol=1e-5)


def test_one_and_three_space_axes():
  kernel = np.array([1.0, 10.0, 100.0])
  x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
  conv = Conv(1, (3,), padding="VALID", use_bias=False)
  variables = {"params": {"kernel": jnp.asarray(kernel).reshape(3, 1, 1)}}
  np.testing.assert_allclose(conv.apply(variables, x)[0, :, 0], [321.0, 432.0])
  deep = Conv(1, (1, 1, 3), padding="VALID", use_bias=False)
  variables = {"params": {"kernel": jnp.asarray(kernel).reshape(1, 1, 3, 1, 1)}}
  got = deep.apply(
    variables, jnp.tile(x.reshape(1, 1, 1, 4, 1), (1, 2, 2, 1, 1))
  )
  np.testing.assert_allclose(got[0, 1, 1, :, 0], [321.0, 432.0])


def test_initial_values_fill_their_interval():
  conv = Conv(64, (3, 3))
  params = conv.init(jax.random.key(0), jnp.zeros((1, 4, 4, 16)))["params"]
  bound = (3 * 3 * 16) ** -0.5
  for name in ("kernel", "bias"):
    assert np.abs(params[name]).max() <= bound
    assert np.abs(params[name]).max() > 0.9 * bound
  np.testing.assert_allclose(params["kernel"].var(), bound**2 / 3, rtol=0.05)


def test_dtype_is_the_computation_s_and_parameters_stay_float32():
  conv = Conv(2, (3, 3), dtype=jnp.bfloat16)
  x = jnp.ones((1, 4, 4, 1))
  variables = conv.init(jax.random.key(0), x)
  assert conv.apply(variables, x).dtype == jnp.bfloat16
  assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_rank_is_checked():
  with pytest.raises(ValueError, match=r"\(4, 4, 1\).*\(3, 3\)"):
    Conv(2, (3, 3)).init(jax.random.key(0), jnp.ones((4, 4, 1)))
