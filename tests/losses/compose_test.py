import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, losses
from kd_jax.metrics import Mean, compute

RNG = np.random.default_rng(4)
V, U = RNG.normal(size=(2, 4)).astype(np.float32)
W = RNG.uniform(0.1, 1, size=4).astype(np.float32)
WHERE = np.array([True, False, True, True])


def test_value_and_parts():
  terms = {"a": V, "b": U, "s": jnp.float32(5)}
  weights = {"s": 0.5, "a": 2, "b": W}
  total, parts = losses.combine(terms, weights, WHERE)
  keep = [0, 2, 3]
  expect = 2 * sum(V[i] for i in keep) / 3
  expect += sum(W[i] * U[i] for i in keep) / 3 + 0.5 * 5
  np.testing.assert_allclose(total, expect, rtol=1e-6)
  means = compute(parts)
  assert list(means) == ["a", "b", "s"]
  np.testing.assert_allclose(
    list(means.values()), [V[keep].mean(), U[keep].mean(), 5], rtol=1e-6
  )
  assert [float(p.count) for p in parts.values()] == [3, 3, 1]


def test_normalize_by_weight_leaves_single_weights_alone():
  total, _ = losses.combine(
    {"a": V, "b": U}, {"a": 3.0, "b": W}, WHERE, normalize="weight"
  )
  expect = 3 * V[WHERE].mean() + np.average(U[WHERE], weights=W[WHERE])
  np.testing.assert_allclose(total, expect, rtol=1e-6)


def test_masked_places_poison_nothing():
  v, w = V.copy(), W.copy()
  v[1] = w[1] = np.nan
  for normalize in ("count", "weight"):

    def loss(v, w, normalize=normalize):
      return losses.combine({"a": v}, {"a": w}, WHERE, normalize=normalize)[0]

    grads = jax.grad(loss, (0, 1))(v, w)
    clean = jax.grad(loss, (0, 1))(V, W)
    for got, expect in zip(grads, clean, strict=True):
      np.testing.assert_array_equal(got, expect)
      assert got[1] == 0
      assert np.abs(got[0]) > 0


def test_trained_weights_see_their_own_sum():
  def loss(w):
    return losses.combine({"a": V}, {"a": w}, normalize="weight")[0]

  expect = (V - np.average(V, weights=W)) / W.sum()
  np.testing.assert_allclose(jax.grad(loss)(W), expect, rtol=1e-4, atol=1e-6)


def test_weights_that_are_all_zero():
  def loss(v, w):
    return losses.combine({"a": v}, {"a": w}, normalize="weight")[0]

  value, grads = jax.value_and_grad(loss, (0, 1))(V, 0 * W)
  assert value == 0
  np.testing.assert_array_equal(np.stack(grads), 0)


@pytest.mark.parametrize("normalize", ["count", "weight"])
def test_nothing_counts(normalize):
  def loss(v, w):
    terms, none = {"a": v, "b": v}, np.zeros(4, bool)
    weights = {"a": 1.0, "b": w}
    return losses.combine(terms, weights, none, normalize=normalize)[0]

  value, grads = jax.value_and_grad(loss, (0, 1))(V, W)
  assert value == 0
  np.testing.assert_array_equal(np.stack(grads), 0)


def test_half_precision_sums_in_float32():
  ones = np.ones(5000, np.float16)
  total, parts = losses.combine({"a": ones}, {"a": 1.0})
  assert total.dtype == jnp.float32
  assert (float(total), float(parts["a"].total)) == (1, 5000)


@pytest.mark.parametrize(
  ("terms", "weights", "where", "message"),
  [
    ({"a": V, "b": V}, {"a": 1}, None, "term 'b' has no weight"),
    ({"a": V}, {"a": 1, "b": 1}, None, "weight 'b' has no term"),
    ({}, {}, None, "no term"),
    ({"a": V[None]}, {"a": 1}, None, r"term 'a' is \(1, 4\)"),
    ({"a": V}, {"a": W[:2]}, None, r"'a' is \(2,\), the term is \(4,\)"),
    ({"a": np.float32(1)}, {"a": W}, None, r"'a' is \(4,\), the term is \(\)"),
    ({"a": V}, {"a": 1}, WHERE[:3], r"where is \(3,\), term 'a' is \(4,\)"),
  ],
)
def test_errors(terms, weights, where, message):
  with pytest.raises(ValueError, match=message):
    losses.combine(terms, weights, where)


def test_unknown_normalize(unhooked):
  with pytest.raises(ValueError, match="normalize is 'sum'"):
    unhooked(losses.combine)({"a": V}, {"a": 1}, normalize="sum")


# One device against four. Two pairs a device; of the masks, one falls evenly,
# one leaves a device with nothing, one leaves a single pair, the last none.
FIRST, SECOND = RNG.normal(size=(2, 8, 3)).astype(np.float32)
MASKS = np.array(
  [[1] * 8, [1, 1, 0, 0, 1, 0, 1, 1], [0] * 5 + [1, 0, 0], [0] * 8], bool
)
PARAMS = {
  "net": RNG.normal(size=(3, 4)).astype(np.float32),
  "score": RNG.normal(size=3).astype(np.float32),
}


def loss(params, data, axis_name):
  a, b = (jnp.matmul(data[k], params["net"], precision="highest") for k in "ab")
  where = data["where"]
  terms = {
    "contrast": losses.nt_xent(
      a, b, temperature=0.3, where=where, axis_name=axis_name
    ),
    "match": losses.feature_regression(
      a, b, where=where, stop_target_gradient=False
    ),
    "minmax": losses.distillation_kl(a, b, where=where),
    "size": (params["net"] ** 2).sum(),
  }
  weights = {
    "contrast": 1.0,
    # Weights that are trained: their sum is differentiated across devices too.
    "match": jnp.exp((data["a"] * params["score"][None, :]).sum(1)),
    "minmax": losses.disagreement_weights(
      a,
      b,
      kind="one_minus_minmax",
      where=where,
      axis_name=axis_name,
      stop_gradient=False,
    ),
    "size": 0.1,
  }
  return losses.combine(terms, weights, where, axis_name, "weight")


def step(params, data, *, axis_name=None):
  (value, parts), grads = jax.value_and_grad(loss, has_aux=True)(
    params, data, axis_name
  )
  value, grads = accel.mean((value, grads), axis_name)
  return value, grads, accel.sum(parts, axis_name)


@pytest.mark.parametrize("mode", ["pmap", "shard_map", "jit"])
def test_one_device_equals_four(mode):
  four = accel.data_parallel(step, mode=mode, donate=False)
  assert len(four.devices) == 4
  for where in MASKS:
    data = {"a": FIRST, "b": SECOND, "where": where}
    value, grads, parts = four(PARAMS, data)
    one, expect, logged = step(PARAMS, data)
    np.testing.assert_allclose(value, one, rtol=1e-5)
    jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
      grads,
      expect,
    )
    accel.check_replicated(grads)
    np.testing.assert_allclose(
      list(compute(parts).values()), list(compute(logged).values()), rtol=1e-5
    )
    assert isinstance(parts["size"], Mean)
    # Not zero for zero's sake.
    if where.sum() > 1:
      assert all(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(expect))


def test_scalars_alone_cross_devices():
  def scalar(params, data, *, axis_name=None):
    total, parts = losses.combine({"s": params}, {"s": 2}, axis_name=axis_name)
    return accel.mean(total, axis_name), accel.sum(parts, axis_name)

  lifted = accel.data_parallel(scalar, mode="pmap", donate=False)
  total, parts = lifted(jnp.float32(3), {"x": np.zeros(4, np.float32)})
  assert total == 6
  assert compute(parts) == {"s": 3}
