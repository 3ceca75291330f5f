"""The numbers are uniform, and independent within and across streams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kd_jax import draws

N = 2**18


def stream(seed, number=0, step=0, n=N):
  key = draws.stream_key(jnp.uint32(seed), number, jnp.int32(step))
  return np.asarray(draws.uniforms(key, jnp.arange(n, dtype=jnp.uint32)))


def grid(x, y, cells=16):
  """The chance of a chi-square this large if pairs fall evenly."""
  places = (x * cells).astype(int) * cells + (y * cells).astype(int)
  return stats.chisquare(np.bincount(places, minlength=cells**2)).pvalue


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_is_uniform_and_its_neighbours_are_independent(seed):
  u = stream(seed)
  assert 0 <= u.min() < u.max() < 1
  assert stats.kstest(u, "uniform").pvalue > 1e-3
  for lag in (1, 2, 20, 2000):
    assert grid(u[:-lag], u[lag:]) > 1e-4
  # The low bits as well as the high ones.
  low = (u * 2**24).astype(np.int64) % 256
  assert stats.chisquare(np.bincount(low, minlength=256)).pvalue > 1e-4


@pytest.mark.parametrize(
  "other", [{"seed": 1}, {"number": 1}, {"step": 1}, {"seed": 2**31}]
)
def test_streams_are_independent(other):
  a, b = stream(0), stream(**{"seed": 0, **other})
  assert grid(a, b) > 1e-4
  assert grid(a[1:], b[:-1]) > 1e-4


def test_streams_whose_places_overlap_share_nothing():
  """As happens among the 10^5 streams of a run: 2^32 places are not many."""
  place = jnp.arange(N, dtype=jnp.uint32)
  a = draws.uniforms(jnp.array([10, 1], jnp.uint32), place)
  b = draws.uniforms(jnp.array([10, 2], jnp.uint32), place)
  assert grid(np.asarray(a), np.asarray(b)) > 1e-4


def test_first_numbers_of_many_steps_are_uniform():
  """A learner takes few numbers a step: they must vary from step to step."""
  first = jax.vmap(
    lambda step: draws.uniforms(
      draws.stream_key(jnp.uint32(7), 0, step), jnp.zeros(1, jnp.uint32)
    )[0]
  )(jnp.arange(2**14))
  first = np.asarray(first)
  assert stats.kstest(first, "uniform").pvalue > 1e-3
  assert grid(first[:-1], first[1:]) > 1e-4


def test_every_bit_of_the_place_flips_half_of_the_number():
  place = jnp.arange(2**14, dtype=jnp.uint32)
  key = draws.stream_key(jnp.uint32(3), 0, jnp.int32(0))
  plain = np.asarray(draws.uniforms(key, place) * 2**24).astype(np.uint32)
  for bit in range(20):
    flipped = draws.uniforms(key, place ^ jnp.uint32(2**bit))
    change = plain ^ np.asarray(flipped * 2**24).astype(np.uint32)
    shares = [(change >> k & 1).mean() for k in range(24)]
    np.testing.assert_allclose(shares, 0.5, atol=0.025)


def test_branches_of_a_stream_are_independent_of_it_and_of_each_other():
  key = draws.stream_key(jnp.uint32(5), 0, jnp.int32(7))
  place = jnp.arange(N, dtype=jnp.uint32)
  keys = [key, *(draws.branch(key, i) for i in range(3))]
  drawn = [np.asarray(draws.uniforms(k, place)) for k in keys]
  for i, x in enumerate(drawn):
    assert stats.kstest(x, "uniform").pvalue > 1e-3
    for y in drawn[:i]:
      assert grid(x, y) > 1e-3
  nested = draws.branch(draws.branch(key, 2), 0)
  np.testing.assert_array_equal(nested, draws.branch(key, 3))
