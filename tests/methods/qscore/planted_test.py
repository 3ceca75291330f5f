"""Planted codes: what the score finds is known, and what D is for is seen."""

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from kd_jax import metrics
from kd_jax.methods.qscore import discovery, planted, prediction, scores

LAYOUT = planted.Layout()
FIND = jax.jit(discovery.discover, static_argnames=("low", "high"))
SCORE = jax.jit(scores.every_score, static_argnames=("low", "high"))


@pytest.fixture(scope="module", params=[0, 1, 2])
def codes(request):
  """4,000 examples of a seed."""
  return planted.draw(request.param, 0)


def by_name(codes, eps):
  found = FIND(codes["features"], eps=(eps,))
  every = SCORE(
    codes["features"], found, jax.random.key(0), low=50.0, high=95.0
  )
  auc = {k: roc_auc_score(codes["correct"], s) for k, s in every.items()}
  return found, every, auc


def oracle(h, eps):
  """A, D and Q in NumPy, in one go and in float64."""
  h = h.astype(np.float64)
  h /= np.linalg.norm(h, axis=1, keepdims=True)
  mu = h.mean(1, keepdims=True)
  active = h > mu + eps * h.std(1, keepdims=True)
  percent = 100 * active.mean(0)
  low, high = np.percentile(percent, [50, 95])
  chosen = (percent >= low) & (percent <= high) & (percent > 0)
  own = active & chosen
  count = own.sum(1)
  q = np.where(own, h - mu, 0).sum(1) / np.maximum(count, 1)
  return percent, chosen, q, 1 - (count > 0).mean()


@pytest.mark.parametrize("eps", [2.0, 3.0, 4.0])
def test_the_class_features_are_found_and_the_score_predicts(codes, eps):
  found, every, auc = by_name(codes, eps)
  percent, chosen, q, empty = oracle(codes["features"], eps)
  np.testing.assert_allclose(found.percent, percent, atol=0.1)
  np.testing.assert_array_equal(found.chosen, chosen)
  close = np.isclose(every["q"], q, rtol=1e-5, atol=1e-6)
  assert (
    ~close
  ).sum() <= 4  # Of 2 million thresholds some are within rounding.
  assert float(found.empty) == pytest.approx(empty, abs=1e-3)
  assert not chosen[LAYOUT.generic_coordinates].any()
  assert chosen[LAYOUT.class_coordinates].sum() >= 100
  low, high = {2.0: (0.75, 0.81), 3.0: (0.71, 0.77), 4.0: (0.70, 0.75)}[eps]
  assert low < auc["q"] < high
  # What D is for: with all coordinates the generic ones turn the order around.
  assert auc["q_all"] < (0.35 if eps == 2.0 else 0.2)
  assert auc["v1"] < 0.2
  assert auc["q_upper"] < 0.5 < auc["q"]


def test_measures_are_scikit_learns(codes):
  found, every, _ = by_name(codes, 2.0)
  report = jax.jit(prediction.report)(
    codes["features"], found, codes["correct"]
  )
  q, good = np.asarray(every["q"]), codes["correct"]
  assert float(report.auroc) == pytest.approx(roc_auc_score(good, q), abs=1e-6)
  ap = average_precision_score(good, q)
  assert float(report.auprc) == pytest.approx(ap, abs=1e-6)
  assert float(report.lift) == pytest.approx(ap - good.mean(), abs=1e-6)
  assert 0.84 < ap < 0.88
  assert 0.08 < float(report.empty) < 0.12
  assert float(report.empty) == pytest.approx((q == 0).mean(), abs=1e-6)
  assert float(report.mean_right) == pytest.approx(q[good].mean(), rel=1e-4)
  active = np.asarray(metrics.highly_active(codes["features"], 2.0))
  own = (active & np.asarray(found.chosen)).sum(1)
  assert float(report.active) == pytest.approx(active.sum(1).mean(), rel=1e-5)
  # Of equal scores, as all zeros are, each has the mean error of them.
  wrong = (~good).astype(np.float64)
  each = np.array([wrong[q == value].mean() for value in np.sort(q)[::-1]])
  risk = each.cumsum() / np.arange(1, len(q) + 1)
  assert float(report.area) == pytest.approx(risk.mean(), rel=1e-4)
  assert float(report.own_wrong) == pytest.approx(own[~good].mean(), rel=1e-4)
  assert float(report.mean_wrong) == pytest.approx(q[~good].mean(), rel=1e-4)
  assert float(report.own_right) > float(report.own_wrong)


def test_discriminative_features_belong_to_a_class(codes):
  found = FIND(codes["features"], eps=(2.0,))
  share = prediction.class_share(
    codes["features"], found, codes["labels"], LAYOUT.classes
  )
  active = np.asarray(metrics.highly_active(codes["features"], 2.0))
  expect = [active[codes["labels"] == c].mean(0) for c in range(10)]
  np.testing.assert_allclose(share, np.max(expect, 0), rtol=1e-5)


def test_v1_and_the_trivial_scores_are_their_equations(codes):
  _, every, _ = by_name(codes, 2.0)
  h = codes["features"].astype(np.float64)
  unit = h / np.linalg.norm(h, axis=1, keepdims=True)
  z = (unit.max(1) - unit.mean(1)) / unit.std(1)
  np.testing.assert_allclose(every["v1"], z / unit.sum(1), rtol=1e-4)
  np.testing.assert_allclose(
    every["peak"], unit.max(1) - unit.mean(1), rtol=1e-4
  )
  np.testing.assert_allclose(every["sparsity"], -unit.sum(1), rtol=1e-4)
  np.testing.assert_allclose(
    every["norm"], np.linalg.norm(h, axis=1), rtol=1e-4
  )


def score_by(h, chosen, eps, *, unit=True, top=False):
  """Eq. 1 in NumPy, and what is made of an empty set."""
  h = h.astype(np.float64)
  if unit:
    h /= np.linalg.norm(h, axis=1, keepdims=True)
  above = h - h.mean(1, keepdims=True)
  own = (above > eps * h.std(1, keepdims=True)) & chosen
  q = np.where(own, above, 0).sum(1) / np.maximum(own.sum(1), 1)
  return np.where(own.any(1), q, above[:, chosen].max(1)) if top else q


def test_each_score_is_eq_1_with_a_set_of_its_own(codes):
  found, key = FIND(codes["features"], eps=(2.0,)), jax.random.key(0)
  h = planted.draw(9, 1)["features"]
  every = SCORE(h, found, key, low=50.0, high=95.0)
  percent, chosen = np.asarray(found.percent), np.asarray(found.chosen)
  size, order = chosen.sum(), np.argsort(percent, kind="stable")
  ever = order[percent[order] > 0]
  drawn = jax.random.permutation(jax.random.split(key)[0], len(percent))

  def of(places):
    return np.isin(np.arange(len(percent)), places)

  sets = {
    "q": chosen,
    "q_all": np.ones_like(chosen),
    "q_lower": of(ever[:size]),
    "q_upper": of(np.argsort(-percent, kind="stable")[:size]),
    "q_random": np.asarray(drawn) < size,
    "q_test": oracle(h, 2.0)[1],
  }
  expect = {name: score_by(h, own, 2.0) for name, own in sets.items()}
  expect["q_raw"] = score_by(h, chosen, 2.0, unit=False)
  expect["q_top"] = score_by(h, chosen, 2.0, top=True)
  for name, value in expect.items():
    close = np.isclose(every[name], value, rtol=1e-4, atol=1e-6)
    assert (~close).sum() <= 4, name
  # No two of them are the same.
  table = np.stack(list(expect.values()))
  gaps = np.abs(table[:, None] - table[None]).max(-1)
  assert gaps[~np.eye(len(table), dtype=bool)].min() > 1e-3


def test_the_threshold_falls_until_few_are_empty(codes):
  h = codes["features"]
  one_by_one = [float(FIND(h, eps=(e,)).empty) for e in discovery.EPSILONS]
  found = FIND(h, eps=discovery.EPSILONS, most_empty=0.11)
  np.testing.assert_allclose(found.tried, one_by_one, atol=1e-6)
  first = next(
    e for e, x in zip(discovery.EPSILONS, one_by_one, strict=True) if x <= 0.11
  )
  assert float(found.eps) == first
  strict = FIND(h, eps=discovery.EPSILONS, most_empty=0.0)
  assert float(strict.eps) == discovery.EPSILONS[-1]


def test_batches_give_the_same_percentages(codes):
  h = codes["features"]
  parts = (h[i : i + 900] for i in range(0, len(h), 900))
  np.testing.assert_allclose(
    discovery.percent_of_batches(parts, 3.0),
    FIND(h, eps=(3.0,)).percent,
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="no batch"):
    discovery.percent_of_batches([])
