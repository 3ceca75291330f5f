import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kd_jax import accel, metrics

RNG = np.random.default_rng(4)
CENTRES = RNG.normal(size=(3, 6))
LABELS = (np.arange(120) % 3).astype(np.int32)
X = (CENTRES[LABELS] + RNG.normal(size=(120, 6))).astype(np.float32)
BANK, QUERY = X[:90], X[90:]


def _votes(k, t):
  def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

  cosine = unit(QUERY.astype(float)) @ unit(BANK.astype(float)).T
  found = np.zeros((30, 3))
  for i, row in enumerate(cosine):
    for j in np.argsort(-row)[:k]:
      found[i, LABELS[j]] += np.exp(row[j] / t)
  return found


@pytest.mark.parametrize(("k", "t"), [(1, 0.07), (20, 0.07), (200, 0.1)])
def test_neighbours_in_a_loop(k, t):
  got = metrics.knn_scores(
    BANK, LABELS[:90], QUERY, classes=3, neighbours=k, temperature=t
  )
  expected = _votes(k, t) * np.exp(-1 / t)
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-7)


def test_neighbours_in_blocks(monkeypatch):
  from kd_jax.metrics import representation

  how = {"classes": 3, "neighbours": 5}
  whole = metrics.knn_scores(BANK, LABELS[:90], QUERY, **how)
  monkeypatch.setattr(representation, "_BLOCK", 8)
  parts = metrics.knn_scores(BANK, LABELS[:90], QUERY, **how)
  np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_spread_of_an_even_sphere_and_of_one_point():
  z = RNG.normal(size=(4000, 16)).astype(np.float32)
  np.testing.assert_allclose(metrics.spread(5 * z), 1, rtol=0.02)
  same = np.tile(z[:1], (9, 1))
  np.testing.assert_allclose(metrics.spread(same), 0, atol=1e-5)
  unit = X / np.linalg.norm(X, axis=1, keepdims=True)
  expected = unit.std(0).mean() * np.sqrt(6)
  np.testing.assert_allclose(metrics.spread(X), expected, rtol=1e-5)
  np.testing.assert_allclose(metrics.deviation(X), X.std(0).mean(), rtol=1e-5)


def test_information_sees_both_collapses():
  sure = 50 * np.eye(5, dtype=np.float32)[np.arange(20) % 5]
  np.testing.assert_allclose(metrics.information(sure), 1, rtol=1e-5)
  np.testing.assert_allclose(metrics.information(0 * sure), 0, atol=1e-6)
  one = np.tile(sure[:1], (20, 1))
  np.testing.assert_allclose(metrics.information(one), 0, atol=1e-6)


@pytest.mark.parametrize("name", ["spread", "deviation", "information"])
def test_monitors_on_four_devices_and_with_rows_left_out(name):
  fn = getattr(metrics, name)
  where = np.arange(120) % 7 < 4
  expected = fn(X[where])

  def step(state, data, *, axis_name=None):
    return state, fn(data["x"], where=data["where"], axis_name=axis_name)

  four = accel.data_parallel(step, mode="pmap", donate=False)
  poisoned = np.where(where[:, None], X, 9).astype(np.float32)
  _, got = four(np.float32(0), {"x": poisoned, "where": where})
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_effective_rank():
  z = np.linalg.qr(RNG.normal(size=(50, 8)) - 0)[0].astype(np.float32)
  z = z - z.mean(0)
  values = np.linalg.svd(z, compute_uv=False)
  p = values / values.sum()
  expected = np.exp(-(p * np.log(p)).sum())
  np.testing.assert_allclose(metrics.effective_rank(z), expected, rtol=1e-4)
  # More dimensions than rows; two directions of the same size.
  wide = np.zeros((4, 9), np.float32)
  wide[:, 0], wide[:, 1] = [1, -1, 0, 0], [0, 0, 1, -1]
  np.testing.assert_allclose(metrics.effective_rank(wide), 2, rtol=1e-3)
  assert metrics.effective_rank(0 * wide) == 1


def test_probe_is_scikit_learns():
  penalty = 3.0
  probe = jax.jit(
    lambda x, y: metrics.fit_probe(x, y, classes=3, penalties=(penalty,))
  )(50 * BANK + 3, LABELS[:90])
  scaled = (BANK - BANK.mean(0)) / BANK.std(0)
  theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000)
  theirs.fit(scaled, LABELS[:90])
  weight = probe.weight - probe.weight.mean(1, keepdims=True)
  np.testing.assert_allclose(weight, theirs.coef_.T, rtol=2e-2, atol=2e-3)
  got = probe.logits(50 * QUERY + 3).argmax(1)
  asked = (QUERY - BANK.mean(0)) / BANK.std(0)
  np.testing.assert_array_equal(got, theirs.predict(asked))


def test_a_probe_chooses_its_penalty_on_rows_held_out():
  labels = RNG.integers(0, 3, 90).astype(np.int32)
  # Nothing to learn in most dimensions, more of them than rows.
  noise = RNG.normal(size=(90, 120)).astype(np.float32)
  noise[:, :3] += 2 * np.eye(3, dtype=np.float32)[labels]
  path = (1e-4, 10.0, 1e6)
  probe = metrics.fit_probe(noise, labels, classes=3, penalties=path, steps=40)
  assert probe.penalty == 10


def test_a_constant_feature_is_left_out():
  dead = np.concatenate([BANK, np.full((90, 1), 7, np.float32)], 1)
  probe = metrics.fit_probe(dead, LABELS[:90], classes=3, penalties=(1.0,))
  assert probe.scale[-1] == 0
  assert np.isfinite(probe.weight).all()
