"""Layers against kernels that are really built, one member and example at a
time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import fast, penalty
from kd_jax.methods.hyper_ensembles.hyper_layers import (
  ConvHyperBatchEnsemble,
  DenseHyperBatchEnsemble,
)
from kd_jax.methods.hyper_ensembles.layers import (
  ConvBatchEnsemble,
  DenseBatchEnsemble,
  Nu,
)

K, B, C, F, H = 3, 4, 5, 2, 6
RNG = np.random.default_rng(0)
DENSE = RNG.normal(size=(K, B, C)).astype(np.float32)
IMAGE = RNG.normal(size=(K, B, 6, 6, C)).astype(np.float32)
Z = RNG.uniform(-1, 1, (K, B, H)).astype(np.float32)
NU = Nu(*RNG.uniform(0.1, 3, (2, K, B)).astype(np.float32))


def filled(variables, seed=1):
  """Every parameter drawn anew, so that zeros hide nothing."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), variables
  )


def made(layer, *args):
  """Parameters for inputs like these; nothing is compiled for them."""
  shapes = jax.eval_shape(layer.init, jax.random.key(0), *args)
  return filled({"params": shapes["params"]})


def applied(layer, variables, *args, **how):
  """As one program, where each operation would be one."""
  return jax.jit(lambda *a: layer.apply(*a, **how))(variables, *args)


def embedded(p, z):
  """e, by NumPy."""
  return np.asarray(z) @ np.asarray(p["embedding"]["Dense_0"]["kernel"])


def convolved(x, kernel, stride=1, padding="SAME"):
  y = jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return np.asarray(y)


def scaled(w, ins, outs):
  """W * ins outs^T, whatever the window."""
  return np.asarray(w) * np.asarray(ins)[:, None] * np.asarray(outs)


@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_a_batch_ensemble_is_its_kernels(shape):
  if shape == "dense":
    layer, x = DenseBatchEnsemble(F, K), DENSE
  else:
    layer, x = ConvBatchEnsemble(F, (3, 3), K, strides=2, padding=1), IMAGE
  variables = made(layer, x)
  p, y = variables["params"], applied(layer, variables, x)
  for k in range(K):
    w = scaled(p["kernel"], p["r"][k], p["s"][k])
    if shape == "dense":
      expect = x[k] @ w + p["bias"][k]
    else:
      expect = convolved(x[k], w, 2, [(1, 1)] * 2) + p["bias"][k]
    np.testing.assert_allclose(y[k], expect, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_a_hyper_batch_ensemble_is_its_kernels(shape, tied):
  """A kernel and a bias for each member and example (eq. 7)."""
  if shape == "dense":
    layer, x = DenseHyperBatchEnsemble(F, K, tied=tied), DENSE
  else:
    layer, x = ConvHyperBatchEnsemble(F, (3, 3), K, tied=tied), IMAGE
  variables = made(layer, x, Z)
  p, y = variables["params"], applied(layer, variables, x, Z)
  e = embedded(p, Z)
  for k in range(K):
    u, v = (p["r"], p["s"]) if tied else (p["u"], p["v"])
    for i in range(B):
      w = scaled(p["kernel"], p["r"][k], p["s"][k])
      w = w + scaled(p["delta"], u[k], v[k]) * e[k, i, :F]
      bias = p["bias"][k] + p["bias_delta"][k] * e[k, i, F:]
      if shape == "dense":
        expect = x[k, i] @ w + bias
      else:
        expect = convolved(x[k, i][None], w)[0] + bias
      np.testing.assert_allclose(y[k, i], expect, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_without_embedding_it_is_a_batch_ensemble(shape):
  if shape == "dense":
    hyper, batch, x = (
      DenseHyperBatchEnsemble(F, K),
      DenseBatchEnsemble(F, K),
      DENSE,
    )
  else:
    hyper = ConvHyperBatchEnsemble(F, (3, 3), K)
    batch, x = ConvBatchEnsemble(F, (3, 3), K), IMAGE
  p = made(hyper, x, Z)["params"]
  p["embedding"] = jax.tree.map(jnp.zeros_like, p["embedding"])
  own = {name: p[name] for name in ("kernel", "r", "s", "bias")}
  np.testing.assert_allclose(
    applied(hyper, {"params": p}, x, Z),
    applied(batch, {"params": own}, x),
    rtol=1e-5,
    atol=1e-5,
  )


def test_an_ordinary_layer_is_one_member_without_fast_weights():
  layer = DenseBatchEnsemble(F, 1, fast=False)
  variables = made(layer, DENSE[:1])
  p = variables["params"]
  assert set(p) == {"kernel", "bias"}
  plain = {"params": {"kernel": p["kernel"], "bias": p["bias"][0]}}
  np.testing.assert_allclose(
    applied(layer, variables, DENSE[:1])[0],
    nn.Dense(F).apply(plain, DENSE[0]),
    rtol=1e-5,
    atol=1e-6,
  )


def test_a_self_tuning_layer_has_neither_members_nor_fast_weights():
  """Y = xW + b + e_w (xD) + e_b d (MacKay et al. 2019)."""
  layer = DenseHyperBatchEnsemble(F, 1, fast=False)
  variables = made(layer, DENSE[:1], Z[:1])
  p = variables["params"]
  assert set(p) == {"kernel", "delta", "bias", "bias_delta", "embedding"}
  x, e = DENSE[0], embedded(p, Z[0])
  expect = x @ p["kernel"] + p["bias"][0]
  expect = expect + e[:, :F] * (x @ p["delta"]) + e[:, F:] * p["bias_delta"][0]
  np.testing.assert_allclose(
    applied(layer, variables, DENSE[:1], Z[:1])[0], expect, rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("kind", ["batch", "hyper"])
def test_shared_inputs_are_tiled_ones(kind):
  z = (Z,) if kind == "hyper" else ()
  layer = (
    ConvHyperBatchEnsemble(F, (3, 3), K)
    if kind == "hyper"
    else ConvBatchEnsemble(F, (3, 3), K)
  )
  variables = made(layer, IMAGE, *z)
  shared, tiled = IMAGE[:1], np.repeat(IMAGE[:1], K, 0)
  np.testing.assert_allclose(
    applied(layer, variables, shared, *z),
    applied(layer, variables, tiled, *z),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize("fast_weights", ["none", "left out", "tied", "free"])
@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_the_exact_penalty_is_brute_force(shape, fast_weights):
  """Nu ||W_k(lambda)||^2 of every member and example, kernels built."""
  how = {
    "fast": fast_weights != "none",
    "tied": fast_weights != "free",
    "regularize_fast": fast_weights in ("tied", "free"),
  }
  if shape == "dense":
    layer, x = DenseHyperBatchEnsemble(F, K, **how), DENSE
  else:
    layer, x = ConvHyperBatchEnsemble(F, (3, 3), K, **how), IMAGE
  variables = made(layer, x, Z)
  _, found = applied(layer, variables, x, Z, NU, mutable=["l2"])
  (got,) = jax.tree.leaves(found)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
  e, total = embedded(p, Z), 0.0
  for k in range(K):
    a, d = p["kernel"], p["delta"]
    if how["regularize_fast"]:
      u, v = (p["r"], p["s"]) if how["tied"] else (p["u"], p["v"])
      a, d = scaled(a, p["r"][k], p["s"][k]), scaled(d, u[k], v[k])
    for i in range(B):
      w = a + d * e[k, i, :F]
      bias = p["bias"][k] + p["bias_delta"][k] * e[k, i, F:]
      total += NU.kernel[k, i] * (w**2).sum() + NU.bias[k, i] * (bias**2).sum()
  assert float(got) == pytest.approx(total / (K * B), rel=1e-5)


def test_the_mean_of_a_product_is_not_the_product_of_means():
  """Trap 4: nu and e both come from lambda."""
  e = np.ones((1, 2, 1), np.float32) * np.array([[[1.0], [-1.0]]])
  nu = np.array([[3.0, 1.0]], np.float32)
  norms = penalty.columns(jnp.ones((1, 1)), jnp.ones((1, 1)))
  # ||1 + 1||^2 * 3 and ||1 - 1||^2 * 1, meaned.
  assert float(penalty.hyper_l2(norms, e, nu)) == pytest.approx(6.0)


@pytest.mark.parametrize("shape", ["dense", "conv"])
def test_the_penalty_of_a_batch_ensemble_leaves_fast_weights_out(shape):
  if shape == "dense":
    layer, x = DenseBatchEnsemble(F, K), DENSE
  else:
    layer, x = ConvBatchEnsemble(F, (3, 3), K), IMAGE
  variables = made(layer, x)
  _, found = applied(layer, variables, x, NU, mutable=["l2"])
  p = variables["params"]
  expect = NU.kernel.mean() * np.square(p["kernel"]).sum()
  expect += (NU.bias.mean(1)[:, None] * np.square(p["bias"])).sum() / K
  assert float(jax.tree.leaves(found)[0]) == pytest.approx(expect, rel=1e-5)


def test_initial_values():
  key = jax.random.key(0)
  signs = fast.fast_init(0.7)(key, (4000,))
  assert set(np.unique(signs)) == {-1.0, 1.0}
  assert abs(float((signs > 0).mean()) - 0.7) < 0.03
  normal = fast.fast_init(-0.75)(key, (40_000,))
  assert abs(float(normal.mean()) - 1) < 0.02
  assert abs(float(normal.std()) - 0.75) < 0.02
  p = DenseHyperBatchEnsemble(F, K).init(key, DENSE, Z)["params"]
  for zero in ("bias", "bias_delta"):
    np.testing.assert_array_equal(p[zero], np.zeros((K, F)))
  # Trap 5: e tiny but not 0, D as large as W; else neither has a gradient.
  e = p["embedding"]["Dense_0"]["kernel"]
  assert 0 < np.abs(e).max() < 1e-3
  assert 0.3 < p["delta"].std() / p["kernel"].std() < 3
  assert np.abs(p["delta"] - p["kernel"]).max() > 1e-3


def test_a_hidden_layer_in_the_embedding():
  layer = DenseHyperBatchEnsemble(F, K, embed_hidden=(7,))
  variables = made(layer, DENSE, Z)
  e = variables["params"]["embedding"]
  hidden = np.tanh(Z @ e["Dense_0"]["kernel"] + e["Dense_0"]["bias"])
  other = variables["params"] | {
    "embedding": {"Dense_0": {"kernel": e["Dense_1"]["kernel"]}}
  }
  np.testing.assert_allclose(
    applied(layer, variables, DENSE, Z),
    applied(DenseHyperBatchEnsemble(F, K), {"params": other}, DENSE, hidden),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize("x", [DENSE[0], DENSE[:2]])
def test_a_missing_member_axis_is_refused(x):
  with pytest.raises(ValueError, match="the first of them 1 or 3 long"):
    DenseBatchEnsemble(F, K).init(jax.random.key(0), x)


def test_transformations():
  layer = ConvHyperBatchEnsemble(F, (3, 3), K)
  variables = made(layer, IMAGE, Z)

  def total(variables, z):
    y, found = layer.apply(variables, IMAGE, z, NU, mutable=["l2"])
    return (y**2).mean() + sum(jax.tree.leaves(found))

  gradient = jax.grad(total, (0, 1))
  plain = gradient(variables, Z)
  jitted = jax.jit(gradient)(variables, Z)
  two = jax.tree.map(lambda x: np.stack([x, 2 * x]), variables)
  mapped = jax.jit(jax.vmap(gradient, (0, None)))(two, Z)
  for a, b, c in zip(
    *map(jax.tree.leaves, (plain, jitted, mapped)), strict=True
  ):
    scale = np.abs(a).max() * 1e-4
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=scale)
    np.testing.assert_allclose(c[0], a, rtol=1e-3, atol=scale)
    assert np.isfinite(a).all()
