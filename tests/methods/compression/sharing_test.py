import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from kd_jax.errors import UsageError
from kd_jax.methods.compression import forms, sharing

RNG = np.random.default_rng(0)


def lloyd(w, first, iterations):
  """The plain statement: every weight to its nearest centroid, then means."""
  c = np.array(first, np.float64)
  for _ in range(iterations):
    nearest = np.abs(w[:, None] - c).argmin(1)
    for j in range(len(c)):
      if (nearest == j).any():
        c[j] = w[nearest == j].mean()
  return c, np.abs(w[:, None] - c).argmin(1)


def weights(n=400, zeros=0.4):
  w = RNG.normal(size=n).astype(np.float32)
  return np.where(RNG.random(n) < zeros, np.float32(0), w)


@pytest.mark.parametrize("k", [1, 2, 7, 15])
def test_centroids_are_those_of_the_loop_and_leave_zeros_out(k):
  w = weights()
  c, code = jax.jit(sharing.kmeans, static_argnums=1)(w, k)
  some = w[w != 0].astype(np.float64)
  first = np.linspace(some.min(), some.max(), k)
  first = first if k > 1 else [some.min()]
  want, nearest = lloyd(some, first, sharing.ITERATIONS)
  np.testing.assert_allclose(c, want, atol=1e-5)
  np.testing.assert_array_equal(np.asarray(code)[w != 0], nearest + 1)
  assert (np.asarray(code)[w == 0] == 0).all()


def test_it_is_no_worse_than_scikit_learns_from_the_same_start():
  w = weights(1500)
  some = w[w != 0]
  c, code = sharing.kmeans(w, 15, iterations=200)
  mine = ((some - np.asarray(c)[np.asarray(code)[w != 0] - 1]) ** 2).sum()
  first = np.linspace(some.min(), some.max(), 15)[:, None]
  peer = KMeans(15, init=first, n_init=1, max_iter=200, tol=0).fit(
    some[:, None].astype(np.float64)
  )
  np.testing.assert_allclose(mine, peer.inertia_, rtol=1e-4)


def test_clustering_the_zeros_too_puts_a_centroid_among_them():
  """What leaving zeros out is for: a centroid more for the others."""
  w = weights(2000, zeros=0.9)
  some = w != 0
  c, code = sharing.kmeans(w, 7)
  error = ((w - np.asarray(c)[np.asarray(code) - 1]) ** 2)[some].sum()
  first = np.linspace(w.min(), w.max(), 7)
  with_zeros, _ = lloyd(w.astype(np.float64), first, sharing.ITERATIONS)
  nearest = np.abs(w[:, None] - with_zeros).min(1) ** 2
  assert np.abs(with_zeros).min() < 0.1 * np.abs(np.asarray(c)).min()
  assert nearest[some].sum() > 1.2 * error


def test_sums_of_many_weights_do_not_drift():
  n = 300_000
  line = np.sort(RNG.normal(size=n)).astype(np.float32)
  ends = np.sort(RNG.integers(0, n, 9)).astype(np.int32)
  sums = sharing.prefix_sums(jnp.asarray(line))
  got = sharing.interval_sums(sums, ends[:-1], ends[1:])
  pairs = itertools.pairwise(ends)
  want = [line[a:b].astype(np.float64).sum() for a, b in pairs]
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=0.05)


def test_all_zero_and_constant_kernels_are_finite():
  for w in (np.zeros(5, np.float32), np.full(5, 2.0, np.float32)):
    c, code = sharing.kmeans(w, 3)
    assert np.isfinite(c).all()
    table = np.concatenate([[0], np.asarray(c)])
    np.testing.assert_array_equal(table[np.asarray(code)], w)


def test_a_centroids_gradient_is_its_members_sum():
  w = {"a": {"kernel": jnp.asarray(weights(60).reshape(6, 10))}}
  scheme = sharing.share(2)
  params, state = scheme.init(jax.random.key(0), w)
  g = jnp.asarray(RNG.normal(size=(6, 10)), jnp.float32)

  def loss(params):
    return (scheme.project(params, state)["a"]["kernel"] * g).sum()

  got = jax.grad(loss)(params)["a"]["kernel"]["shared"]["centroids"]
  code = np.asarray(state["codes"]["a/kernel"])
  want = [np.asarray(g)[code == j].sum() for j in (1, 2, 3)]
  np.testing.assert_allclose(got, want, rtol=1e-5)
  done = scheme.finalize(params, state)["a"]["kernel"]
  seen = scheme.project(params, state)["a"]["kernel"]
  np.testing.assert_array_equal(forms.value(done), seen)
  np.testing.assert_array_equal(seen == 0, w["a"]["kernel"] == 0)


def test_the_papers_rate():
  # Deep Compression's example: 16 weights, 4 clusters, 3.2 times.
  assert abs(sharing.rate(16, 32, 4) - 3.2) < 1e-12


@pytest.mark.parametrize("bits", [0, 9])
def test_codes_fit_a_byte(bits):
  with pytest.raises(UsageError, match="1 to 8"):
    sharing.share(bits)
