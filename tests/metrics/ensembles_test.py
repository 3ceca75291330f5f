"""Calibration, diversity and doubt, against loops and scikit-learn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kd_jax import losses, metrics

RNG = np.random.default_rng(5)
N, C, K = 200, 4, 3
P = RNG.dirichlet(np.ones(C), (K, N)).astype(np.float32)
Y = RNG.integers(0, C, N).astype(np.int32)


def loop_ece(p, y, bins):
  found = [[] for _ in range(bins)]
  for row, label in zip(p, y, strict=True):
    confidence = float(row.max())
    place = min(int(np.floor(np.float32(bins * confidence))), bins - 1)
    found[place].append((confidence, float(row.argmax() == label)))
  gaps = [
    len(b)
    / len(y)
    * abs(np.mean([c for c, _ in b]) - np.mean([a for _, a in b]))
    for b in found
    if b
  ]
  return sum(gaps)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_is_the_loops(bins):
  found = jax.jit(metrics.calibration_bins, static_argnames="bins")(
    P[0], Y, bins=bins
  )
  ece = metrics.expected_calibration_error(found)
  assert float(ece) == pytest.approx(loop_ece(P[0], Y, bins), rel=1e-4)
  assert float(found.count.sum()) == N


def test_certain_and_right_is_calibrated_and_lands_in_the_last_bin():
  sure = np.eye(C, dtype=np.float32)[Y]
  found = metrics.calibration_bins(sure, Y)
  assert float(found.count[-1]) == N
  assert float(metrics.expected_calibration_error(found)) == 0
  wrong = metrics.calibration_bins(sure, (Y + 1) % C)
  assert float(metrics.expected_calibration_error(wrong)) == 1


def test_bins_of_batches_add_up():
  whole = metrics.calibration_bins(P[0], Y)
  parts = [
    metrics.calibration_bins(P[0, i : i + 50], Y[i : i + 50])
    for i in range(0, N, 50)
  ]
  added = jax.tree.map(lambda *x: sum(x), *parts)
  for a, b in zip(whole, added, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)
  where = np.arange(N) < 50
  masked = metrics.calibration_bins(P[0], Y, where=where)
  for a, b in zip(masked, parts[0], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_adaptive_bins_hold_equally_many():
  order = np.argsort(P[0].max(-1))
  expect = 0.0
  for part in np.array_split(order, 5):
    gap = P[0, part].max(-1).mean() - (P[0, part].argmax(-1) == Y[part]).mean()
    expect += len(part) / N * abs(gap)
  got = metrics.adaptive_calibration_error(P[0], Y, bins=5)
  assert float(got) == pytest.approx(expect, rel=1e-4)


def test_a_members_brier_is_the_ensembles_and_the_variance():
  found = metrics.ensemble_brier(P, Y)
  each = np.mean([losses.brier(p, Y) for p in P], 0)
  np.testing.assert_allclose(found.members, each, rtol=1e-5)
  np.testing.assert_allclose(
    found.ensemble, losses.brier(P.mean(0), Y), rtol=1e-5
  )
  np.testing.assert_allclose(
    found.members, found.ensemble + found.variance, rtol=1e-5
  )


def test_murphys_parts_add_up():
  parts = metrics.brier_decomposition(P[0], Y)
  total = parts.uncertainty - parts.resolution + parts.reliability
  score = float(losses.brier(P[0], Y).mean())
  assert float(total + parts.within) == pytest.approx(score, rel=1e-4)
  base = np.bincount(Y, minlength=C) / N
  assert float(parts.uncertainty) == pytest.approx(
    1 - (base**2).sum(), rel=1e-5
  )
  # A forecast that is the same within its group leaves nothing within.
  constant = np.eye(C, dtype=np.float32)[P[0].argmax(-1)] * 0.7 + 0.075
  assert abs(float(metrics.brier_decomposition(constant, Y).within)) < 1e-6


def test_diversity_over_pairs():
  pairs = list(itertools.combinations(range(K), 2))
  differ = np.mean([P[i].argmax(-1) != P[j].argmax(-1) for i, j in pairs], 0)
  np.testing.assert_allclose(metrics.disagreement(P), differ, rtol=1e-6)
  kl = np.mean([(P[i] * np.log(P[i] / P[j])).sum(-1) for i, j in pairs], 0)
  np.testing.assert_allclose(metrics.pairwise_kl(P), kl, rtol=1e-3, atol=1e-5)
  norm = np.linalg.norm(P, axis=-1)
  cos = np.mean(
    [(P[i] * P[j]).sum(-1) / norm[i] / norm[j] for i, j in pairs], 0
  )
  np.testing.assert_allclose(metrics.cosine_similarity(P), cos, rtol=1e-5)
  with pytest.raises(ValueError, match="nothing to differ from"):
    metrics.disagreement(P[:1])


def test_auroc_is_scikit_learns_with_ties():
  known = RNG.integers(0, 20, 70).astype(np.float32)
  foreign = RNG.integers(5, 30, 50).astype(np.float32)
  expect = roc_auc_score([0] * 70 + [1] * 50, np.r_[known, foreign])
  got = jax.jit(metrics.auroc)(known, foreign)
  assert float(got) == pytest.approx(expect, rel=1e-6)


@pytest.mark.parametrize("tpr", [0.5, 0.95, 1.0])
def test_fpr_at_tpr_is_the_first_threshold_that_reaches_it(tpr):
  known = RNG.normal(size=60).astype(np.float32)
  foreign = (RNG.normal(size=40) + 1).astype(np.float32)
  thresholds = sorted(foreign, reverse=True)
  first = next(t for t in thresholds if (foreign >= t).mean() >= tpr - 1e-9)
  got = metrics.fpr_at_tpr(known, foreign, tpr=tpr)
  assert float(got) == pytest.approx((known >= first).mean(), rel=1e-5)


def test_risk_coverage_against_a_loop():
  scores = RNG.permutation(30).astype(np.float32)
  errors = RNG.integers(0, 2, 30).astype(np.float32)
  curve = metrics.risk_coverage(scores, errors)
  order = np.argsort(scores)
  risk = [errors[order[: i + 1]].mean() for i in range(30)]
  np.testing.assert_allclose(curve.risk, risk, rtol=1e-5)
  assert float(curve.area) == pytest.approx(np.mean(risk), rel=1e-5)
  assert float(curve.coverage[-1]) == 1


def test_risk_coverage_does_not_see_the_order_of_ties():
  scores = jnp.array([0.0, 1.0, 1.0, 1.0])
  a = metrics.risk_coverage(scores, jnp.array([0.0, 1.0, 0.0, 0.0]))
  b = metrics.risk_coverage(scores, jnp.array([0.0, 0.0, 0.0, 1.0]))
  np.testing.assert_allclose(a.risk, b.risk)
  np.testing.assert_allclose(a.risk, [0, 1 / 6, 2 / 9, 1 / 4], rtol=1e-6)
