"""The Q-Score's parts, against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from kd_jax import metrics
from kd_jax.metrics import activations

RNG = np.random.default_rng(11)
N, R = 60, 40
# Sparse, as representations after a ReLU are; the last row is dead.
H = np.maximum(RNG.normal(size=(N, R)) - 1, 0).astype(np.float32)
H[-1] = 0
D = RNG.uniform(size=R) < 0.5


def loop_active(h, eps):
  found = np.zeros(h.shape, bool)
  for i, row in enumerate(np.asarray(h, np.float64)):
    mu = sum(row) / len(row)
    sigma = np.sqrt(sum((x - mu) ** 2 for x in row) / len(row))
    for j, x in enumerate(row):
      found[i, j] = x > mu + eps * sigma
  return found


def loop_q(h, chosen, eps, normalize=True, top=False):
  found = []
  for row, active in zip(
    np.asarray(h, np.float64), loop_active(h, eps), strict=True
  ):
    if normalize:
      row = row / max(np.sqrt(sum(row**2)), 1e-12)
    own = [j for j in range(len(row)) if active[j] and chosen[j]]
    if top and not own:
      inside = [j for j in range(len(row)) if chosen[j]]
      own = [max(inside, key=lambda j: (row[j], -j))]
    found.append(np.mean([row[j] - row.mean() for j in own]) if own else 0)
  return np.array(found)


@pytest.mark.parametrize("eps", [1.0, 2.0, 4.0])
def test_what_stands_out_is_the_loops(eps):
  expect = loop_active(H, eps)
  np.testing.assert_array_equal(metrics.highly_active(H, eps), expect)
  np.testing.assert_array_equal(metrics.highly_active(7 * H, eps), expect)
  found = metrics.active_counts(H, eps)
  np.testing.assert_allclose(
    100 * found.total / found.count, 100 * expect.mean(0), rtol=1e-6
  )


def test_deviations_are_an_examples_own():
  # A coordinate that is large for all has no spread over the examples.
  h = np.zeros((5, 30), np.float32)
  h[:, 3] = 1
  assert metrics.highly_active(h, 4.0)[:, 3].all()
  # The most that there can be is sqrt(r - 1), with a population's spread.
  limit = np.sqrt(29)
  assert metrics.highly_active(h, limit - 1e-3).any()
  assert not metrics.highly_active(h, limit + 1e-3).any()


def test_counts_add_up_and_leave_out():
  where = np.arange(N) < 25
  whole = metrics.active_counts(H, 2.0, where)
  parts = [metrics.active_counts(h, 2.0) for h in (H[:10], H[10:25])]
  for a, b in zip(whole, jax.tree.map(jnp.add, *parts), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_band_holds_what_is_between_two_percentiles():
  percent = RNG.permutation(100).astype(np.float32) + 1
  inside = np.asarray(metrics.discriminative(percent))
  low, high = np.percentile(percent, [50, 95])
  np.testing.assert_array_equal(inside, (percent >= low) & (percent <= high))
  assert inside.sum() == 45
  every = metrics.discriminative(percent, 0, 100)
  assert np.asarray(every).all()


def test_a_band_that_begins_at_zero_does_not_admit_the_dead():
  percent = np.r_[np.zeros(60), np.arange(1, 41)].astype(np.float32)
  literal = np.asarray(metrics.discriminative(percent, drop_silent=False))
  assert literal.sum() == 95
  inside = np.asarray(metrics.discriminative(percent))
  np.testing.assert_array_equal(inside, literal & (percent > 0))
  h = np.maximum(RNG.normal(size=(9, 100)), 0).astype(np.float32)
  h[:, :60] = 0  # They never stand out, so that no score knows the difference.
  np.testing.assert_array_equal(
    metrics.q_score(h, literal, eps=1.0), metrics.q_score(h, inside, eps=1.0)
  )


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("eps", [1.0, 3.0])
def test_q_is_the_loops(eps, top, normalize):
  q = jax.jit(metrics.q_score, static_argnames=("normalize", "top_if_empty"))(
    H, D, eps=eps, normalize=normalize, top_if_empty=top
  )
  expect = loop_q(H, D, eps, normalize, top)
  np.testing.assert_allclose(q, expect, rtol=1e-5, atol=1e-7)
  if not top:
    assert (q[expect == 0] == 0).all()
    assert (expect[:-1] == 0).any()


def test_scores_of_any_set_exceed_those_of_none():
  q = np.asarray(metrics.q_score(H, D, eps=2.0))
  unit = np.asarray(metrics.unit_rows(H), np.float64)
  own = (loop_active(H, 2.0) & D).any(1)
  assert (q[own] > 2.0 * unit.std(1)[own] * (1 - 1e-5)).all()


def test_a_dead_representation_has_no_gradient_and_no_nan():
  grad = jax.grad(lambda h: metrics.q_score(h, D, eps=1.0).sum())(H)
  assert np.isfinite(grad).all()
  np.testing.assert_array_equal(grad[-1], 0)


@pytest.mark.parametrize("n", [59, 60])
def test_a_few_rows_at_a_time_are_all_of_them(n, monkeypatch):
  # 59 rows are seven blocks of 8 and one of 3; 60 are ten of 6.
  h, where = H[-n:], np.arange(n) % 3 > 0

  def every(h, chosen):
    counts = metrics.active_counts(h, 1.5, where)
    q = metrics.q_score(h, chosen, eps=1.5)
    return metrics.highly_active(h, 1.5), counts.total, counts.count, q

  def gradient(h):
    weight = jnp.arange(n, dtype=jnp.float32)
    return jax.grad(lambda h: (every(h, D)[3] * weight).sum())(h)

  whole = every(h, D), gradient(h)
  assert "scan" not in str(jax.make_jaxpr(every)(h, D))
  monkeypatch.setattr(activations, "_WHOLE", 0)
  monkeypatch.setattr(activations, "_BLOCK", 8 * R)
  jax.clear_caches()
  assert "scan" in str(jax.make_jaxpr(every)(h, D))
  parts = jax.jit(every)(h, D), gradient(h)
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
  turned = jnp.asarray(h[::-1]), jnp.asarray(~D)
  both = jax.vmap(every)(*map(jnp.stack, zip((h, D), turned, strict=True)))
  want = every(*turned)
  for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a[1], b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_a_cpu_takes_a_few_rows_at_a_time(platform):
  h = jax.ShapeDtypeStruct((1024, 2048), jnp.float32)
  chosen = np.arange(2048) % 2 > 0
  score = jax.jit(lambda h: metrics.q_score(h, chosen))
  lowered = export.export(score, platforms=(platform,))(h).mlir_module()
  assert ("stablehlo.while" in lowered) == (platform == "cpu")


def test_out_of_a_constant_nothing_stands():
  # Half of such rows' means are rounded down.
  h = np.repeat(RNG.uniform(size=(50, 1)).astype(np.float32), 511, 1)
  assert not metrics.highly_active(h, 0.5).any()
  assert (metrics.q_score(h, np.ones(511, bool), eps=0.5) == 0).all()


def test_half_precision_is_scored_in_float32():
  half = H.astype(np.float16)
  q = metrics.q_score(half, D, eps=1.0)
  assert q.dtype == jnp.float32
  np.testing.assert_allclose(q, metrics.q_score(np.float32(half), D, eps=1.0))
