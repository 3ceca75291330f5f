import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.linalg

from kd_jax.errors import UsageError
from kd_jax.methods.compression import structured, tables

RNG = np.random.default_rng(0)
KEY = jax.random.key(3)


def normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def mix(x):
  """MurmurHash3's finalizer in Python's integers."""
  x = ((x ^ (x >> 16)) * 0x85EBCA6B) % 2**32
  x = ((x ^ (x >> 13)) * 0xC2B2AE35) % 2**32
  return x ^ (x >> 16)


def hashed_loop(table, seed, m, n):
  v = np.zeros((m, n))
  for i in range(m):
    for j in range(n):
      flat = i * n + j
      bucket = mix(flat ^ mix(seed)) % len(table)
      coin = mix(flat ^ mix((seed + 0x9E3779B9) % 2**32)) >> 31
      v[i, j] = (1 - 2 * coin) * table[bucket]
  return v


def test_a_hashed_matrix_is_the_loops():
  table = normal(11)
  got = structured.hashed_matrix(jnp.asarray(table), 2**31 + 5, 9, 7)
  want = hashed_loop(table, 2**31 + 5, 9, 7)
  np.testing.assert_array_equal(got, want.astype(np.float32))


def test_a_buckets_gradient_is_the_signed_sum_over_its_entries():
  m, n, k = 9, 7, 11
  bucket, coin = structured.hashes(m, n, k, 5)
  x, d = normal(3, m), normal(3, n)
  got = jax.grad(
    lambda t: ((x @ structured.hashed_matrix(t, 5, m, n)) * d).sum()
  )(jnp.asarray(normal(k)))
  outer = np.einsum("bi,bj->ij", x, d) * np.asarray(coin)
  want = [outer[np.asarray(bucket) == b].sum() for b in range(k)]
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_buckets_and_signs_are_even():
  bucket, coin = structured.hashes(300, 200, 16, 1)
  counts = np.bincount(np.ravel(bucket), minlength=16)
  assert abs(counts - 3750).max() < 6 * 3750**0.5
  assert abs(float(coin.sum())) < 6 * 60_000**0.5


def test_one_block_is_the_surveys_circulant_matrix():
  n = 6
  r, sign = normal(n), np.sign(normal(n))
  x = normal(4, n)
  matrix = scipy.linalg.circulant(r).T  # Rows (r1 r2 ...), (rn r1 ...).
  np.testing.assert_array_equal(matrix[1, :2], [r[-1], r[0]])
  got = structured.circulant(
    jnp.asarray(r)[None, None], jnp.asarray(sign), jnp.asarray(x)
  )
  want = (matrix @ np.diag(sign) @ x.T).T
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_hadamard_is_the_matrix():
  x = normal(3, 16)
  want = x @ scipy.linalg.hadamard(16)
  np.testing.assert_allclose(structured.hadamard(jnp.asarray(x)), want,
                             rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_the_cosine_transform_is_scipys_and_comes_back(n):
  x = normal(3, n)
  got = structured.dct(jnp.asarray(x))
  want = scipy.fft.dct(x, norm="ortho")
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  back = structured.idct(got)
  np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)


def explicit(name, p, m, n):
  """The matrix of a row vector's layer, from its definition."""
  p = {k: np.asarray(v) for k, v in p.items()}
  if name == "hashed":
    return hashed_loop(p["table"], int(p["seed"]), m, n)
  if name == "circulant":
    blocks = [[scipy.linalg.circulant(r).T.T for r in row] for row in p["r"]]
    blocks = [[scipy.linalg.circulant(r) for r in row] for row in p["r"]]
    return (np.diag(p["sign"]) @ np.block(blocks))[:m, :n]
  if name == "fastfood":
    size = len(p["s"])
    h = scipy.linalg.hadamard(size)
    perm = np.eye(size)[p["perm"]]
    column = np.diag(p["s"]) @ h @ np.diag(p["g"]) @ perm @ h @ np.diag(p["b"])
    return (column / size).T[:m, :n]
  size = p["a"].shape[1]
  c = scipy.fft.dct(np.eye(size), norm="ortho", axis=0)
  column = np.eye(size)
  for i, (a, d) in enumerate(zip(p["a"], p["d"], strict=True)):
    if i:
      column = np.eye(size)[p["perm"]] @ column
    column = c.T @ np.diag(d) @ c @ np.diag(a) @ column
  return column.T[:m, :n]


@pytest.mark.parametrize(("m", "n"), [(5, 12), (13, 6)])
@pytest.mark.parametrize(
  ("name", "amount"),
  [("hashed", 0.2), ("circulant", 4), ("fastfood", 1), ("acdc", 3)],
)
def test_layers_and_their_gradients_are_the_explicit_matrixs(
  name, amount, m, n
):
  p = structured.create(name, KEY, m, n, amount)
  x = normal(3, m)
  want = explicit(name, p, m, n)
  run = jax.jit(functools.partial(structured.apply, name), static_argnums=2)
  np.testing.assert_allclose(run(p, x, n), x @ want, rtol=1e-4, atol=1e-4)
  units = np.eye(m, dtype=np.float32)
  np.testing.assert_allclose(run(p, units, n), want, rtol=1e-4, atol=1e-4)
  # Every parameter's derivative, by a difference of the explicit matrix.
  free = {k: v for k, v in p.items() if k in ("table", "r", "s", "g", "a")}
  d = normal(3, n)

  def loss(free):
    y = structured.apply(name, {**p, **free}, jnp.asarray(x), n)
    return (y * d).sum()

  grads = jax.jit(jax.grad(loss))(free)
  for k, v in free.items():
    way = normal(*v.shape)
    # Each is linear in one of its arrays; ACDC of several layers is not.
    step = 1e-3 if name == "acdc" else 1.0
    ends = [
      (x @ explicit(name, {**p, k: v + s * step * way}, m, n) * d).sum()
      for s in (1, -1)
    ]
    want = (ends[0] - ends[1]) / (2 * step)
    got = float((grads[k] * way).sum())
    np.testing.assert_allclose(got, want, rtol=5e-3, atol=5e-3)


def test_what_is_fixed_is_not_trained():
  params = {"a": {"kernel": jnp.zeros((8, 6)), "bias": jnp.zeros(6)},
            "head": {"kernel": jnp.zeros((6, 3))}}  # fmt: skip
  for name in tables.NAMES:
    scheme = tables.table(name, 2 if name != "hashed" else 0.25)
    free, state = scheme.init(KEY, params)
    leaves = jax.tree.leaves(free)
    assert all(jnp.issubdtype(w.dtype, jnp.floating) for w in leaves)
    whole = scheme.project(free, state)
    assert set(whole["a"]["kernel"][name]) >= set(free["a"]["kernel"][name])
    assert not isinstance(whole["head"]["kernel"], dict)
  with pytest.raises(UsageError, match="above 0"):
    tables.table("hashed", 0)
