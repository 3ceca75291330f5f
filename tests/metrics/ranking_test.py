"""AUROC and average precision of flags, against scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kd_jax import metrics

RNG = np.random.default_rng(12)
N = 300
GOOD = RNG.uniform(size=N) < 0.8
SMOOTH = (RNG.normal(size=N) + GOOD).astype(np.float32)
# A block of zeros, as scores of empty sets are, and few levels above.
TIED = np.maximum(np.round(SMOOTH * 2) / 2, 0).astype(np.float32)


@pytest.mark.parametrize("scores", [SMOOTH, TIED], ids=["smooth", "tied"])
def test_are_scikit_learns(scores):
  auc = jax.jit(metrics.roc_auc)(scores, GOOD)
  assert float(auc) == pytest.approx(roc_auc_score(GOOD, scores), abs=1e-6)
  ap = jax.jit(metrics.average_precision)(scores, GOOD)
  expect = average_precision_score(GOOD, scores)
  assert float(ap) == pytest.approx(expect, abs=1e-6)


def test_padding_leaves_no_trace():
  where = np.arange(N) % 3 > 0
  scores = np.where(where, TIED, np.float32(99))
  for fn, expect in (
    (metrics.roc_auc, roc_auc_score),
    (metrics.average_precision, average_precision_score),
  ):
    got = fn(scores, GOOD, where=where)
    assert float(got) == pytest.approx(
      expect(GOOD[where], TIED[where]), abs=1e-6
    )


def test_a_constant_score_is_chance():
  flat = np.zeros(N, np.float32)
  assert float(metrics.roc_auc(flat, GOOD)) == 0.5
  ap = float(metrics.average_precision(flat, GOOD))
  assert ap == pytest.approx(GOOD.mean(), abs=1e-6)


def test_the_other_class_as_positive_is_another_question():
  # Of a score that says who is right: 91 for 80 % right is 40 for the wrong.
  right = float(metrics.average_precision(SMOOTH, GOOD))
  wrong = float(metrics.average_precision(-SMOOTH, ~GOOD))
  assert right > 0.85
  assert wrong < 0.6


def test_one_class_alone_has_no_area():
  every = np.ones(N, bool)
  assert np.isnan(float(metrics.roc_auc(SMOOTH, every)))
  assert np.isnan(float(metrics.average_precision(SMOOTH, ~every)))


def test_many_scores_at_once():
  both = np.stack([SMOOTH, TIED])
  got = jax.vmap(metrics.roc_auc, (0, None))(both, GOOD)
  expect = [roc_auc_score(GOOD, s) for s in both]
  np.testing.assert_allclose(got, expect, atol=1e-6)
