"""Phases measure as they are configured: each field against a plain count."""

import dataclasses

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kd_jax.methods.qscore import (
  METHOD,
  compression,
  config,
  discovery,
  grid,
  measuring,
  planted,
  probes,
  scores,
)

C, R = 4, 64
LAYOUT = planted.Layout(R, C, 6, 3, 4, 20)
TRAIN, TEST = (planted.draw(0, part, 300, LAYOUT) for part in (0, 1))
FEATURES_LABELS = ("features", "labels")
DATA = {
  f"{split}_{k}": drawn[k]
  for split, drawn in (("train", TRAIN), ("test", TEST))
  for k in FEATURES_LABELS
}
SEED = np.uint32(7)
# Nothing here is a default.
OWN = dataclasses.replace(
  METHOD.presets["tiny"],
  discovery=config.DiscoveryConfig(
    eps=0.0, low=60.0, high=90.0, most_empty=0.25
  ),
  probe=config.ProbeConfig(l2=3.0),
  study=config.StudyConfig(kept=(0.2, 0.5), draws=3),
)


def unit(h):
  return h / np.linalg.norm(h, axis=1, keepdims=True)


def standing(h, eps):
  h = h.astype(np.float64)
  return h > h.mean(1, keepdims=True) + eps * h.std(1, keepdims=True)


def band(percent, low, high):
  low, high = np.percentile(percent, [low, high])
  return (percent >= low) & (percent <= high) & (percent > 0)


def q_of(h, chosen, eps):
  """Eq. 1 of unit rows."""
  h = unit(h.astype(np.float64))
  own = standing(h, eps) & chosen
  above = np.where(own, h - h.mean(1, keepdims=True), 0)
  return above.sum(1) / np.maximum(own.sum(1), 1)


@pytest.fixture(scope="module")
def found():
  """Discovery's product and measures."""
  return jax.jit(measuring.make_discover(OWN, C))({}, DATA, SEED)


@pytest.fixture(scope="module")
def before(found):
  """What was discovered before fine-tuning: another D, another threshold."""
  chosen = ~np.asarray(found[0]["chosen"])
  return {**found[0], "chosen": chosen, "eps": np.float32(1.5)}


@pytest.fixture(scope="module")
def predicted(found, before):
  """The same of the probe and the scores."""
  run = jax.jit(measuring.make_predict(OWN, "own", C))
  products = {"own.discover": found[0], "base.discover": before}
  return run(products, DATA, SEED)


def test_the_defaults_are_the_papers_or_said_to_be_ours():
  assert config.DiscoveryConfig() == config.DiscoveryConfig(0.0, 50, 95, 0.05)
  assert config.StudyConfig().draws == 4
  assert config.ProbeConfig() == config.ProbeConfig("ridge", 0.01, 8, 50)
  assert config.HeatConfig() == config.HeatConfig("mean", 0.5, 0.5, 8, "")
  assert config.TuneConfig() == config.TuneConfig(
    steps=100,
    optimizer="adamw",
    learning_rate=2e-4,
    warmup=0.1,
    gain=1e-4,
    columns=1e-4,
    balanced_gain=0.5,
    balanced_columns=1.0,
    strong=10.0,
    lasso=1e-4,
    normalize=True,
    top_if_empty=False,
  )


def test_discovery_has_the_band_and_the_rule_of_the_fields(found):
  h, share_empty = TRAIN["features"], []
  for eps in discovery.EPSILONS:
    active = standing(h, eps)
    chosen = band(100 * active.mean(0), 60, 90)
    share_empty.append(1 - (active & chosen).any(1).mean())
  np.testing.assert_allclose(found[0]["tried"], share_empty, atol=2 / 300)
  first = next(
    e
    for e, share in zip(discovery.EPSILONS, share_empty, strict=True)
    if share <= 0.25
  )
  assert found[0]["eps"] == first
  # By the rule's default another would have been taken.
  assert share_empty[discovery.EPSILONS.index(first)] > 0.05
  percent = 100 * standing(h, first).mean(0)
  np.testing.assert_array_equal(found[0]["chosen"], band(percent, 60, 90))
  for other in ((50, 90), (60, 95)):
    assert (found[0]["chosen"] != band(percent, *other)).any()


def test_what_is_known_of_a_discovery_is_counted(found):
  product, values = found
  h, chosen = TRAIN["features"], np.asarray(product["chosen"])
  active = standing(h, float(product["eps"]))
  percent = 100 * active.mean(0)
  share = np.max([active[TRAIN["labels"] == c].mean(0) for c in range(C)], 0)
  column = np.abs(unit(h)).sum(0)
  others = (percent > 0) & ~chosen
  expect = {
    "eps": product["eps"],
    "chosen": chosen.sum(),
    "silent": (percent == 0).sum(),
    "train_empty": 1 - (active & chosen).any(1).mean(),
    "train_active": active.sum(1).mean(),
    "concentration": column.max() / column.mean(),
    "class_share": share[chosen].mean(),
    "class_share_others": share[others].mean(),
    "class_share_80": (share[chosen] > 0.8).mean(),
    **{f"percent_{q}": np.percentile(percent, q) for q in (50, 75, 95, 100)},
  }
  for name, value in expect.items():
    assert float(values[name]) == pytest.approx(float(value), rel=1e-4), name
  assert (percent == 0).any()
  assert set(values) - set(expect) == {"rank", "alpha_req"}


def test_what_belongs_to_a_class_stands_out_of_more_than_80_per_cent_of_it():
  hits = [10, 12, 14, 15, 16, 16, 17, 18, 19, 19, 20]  # Of 20 of a class.
  labels = np.repeat(np.arange(C), 20)
  h = np.zeros((80, R), np.float32)
  for j, count in enumerate(hits):
    h[np.flatnonzero(labels == j % C)[:count], j] = 1
  every = config.DiscoveryConfig(eps=2.0, low=0.0, high=100.0)
  own = dataclasses.replace(OWN, discovery=every)
  data = {"train_features": h, "train_labels": labels}
  run = jax.jit(measuring.make_discover(own, C))
  product, values = run({}, data, SEED)
  share = np.array(hits, np.float32) / 20
  np.testing.assert_allclose(product["class_share"][:11], share)
  assert product["chosen"].sum() == 11
  assert float(values["class_share_80"]) == pytest.approx(5 / 11)
  assert float(values["class_share"]) == pytest.approx(share.mean())


def test_the_probe_has_the_fields_penalty(predicted):
  every = np.ones(R, bool)
  logits = {
    l2: probes.ridge(
      probes.normal(unit(TRAIN["features"]), TRAIN["labels"], C), every, l2
    ).logits(unit(TEST["features"]))
    for l2 in (3.0, 0.01)
  }
  got = predicted[0]["scores"]["margin"]
  np.testing.assert_allclose(got, probes.margin(logits[3.0]), atol=1e-5)
  assert np.abs(got - probes.margin(logits[0.01])).max() > 0.01
  right = np.asarray(logits[3.0]).argmax(1) == TEST["labels"]
  np.testing.assert_array_equal(predicted[0]["correct"], right)


def test_the_scored_images_D_is_of_the_fields_band(found, predicted):
  eps, h = float(found[0]["eps"]), TEST["features"]
  own = band(100 * standing(h, eps).mean(0), 60, 90)
  got = predicted[0]["scores"]
  np.testing.assert_allclose(got["q_test"], q_of(h, own, eps), atol=1e-5)
  np.testing.assert_allclose(
    got["q"], q_of(h, np.asarray(found[0]["chosen"]), eps), atol=1e-5
  )
  assert set(scores.SCORES) | {"margin", "confidence"} == set(got)


def test_mean_scores_are_by_what_was_discovered_before(before, predicted):
  """So that an arm's may be compared with another's."""
  q = q_of(TEST["features"], before["chosen"], 1.5)
  assert float(predicted[1]["mean_q"]) == pytest.approx(q.mean(), rel=1e-3)
  own = float(np.mean(predicted[0]["scores"]["q"]))
  assert abs(own - q.mean()) > 0.01 * own


def test_compression_has_the_fields_sizes_draws_and_penalty(found):
  run = jax.jit(measuring.make_compress(OWN, "own", C))
  product, values = run({"own.discover": found[0]}, DATA, SEED)
  assert product["random"].shape == (2, 3)
  args = [DATA[f"{s}_{k}"] for s in ("train", "test") for k in FEATURES_LABELS]
  expect = compression.study(
    *args,
    found[0]["percent"],
    jax.random.fold_in(jax.random.key(SEED), 2),
    classes=C,
    kept=(0.2, 0.5),
    draws=3,
    l2=3.0,
  )
  for kind in (*compression.KINDS, "pca", "random"):
    got = getattr(expect, kind)
    for i, share in enumerate((20, 50)):
      mean = float(np.mean(got[i]))
      name = f"kept_{share}_{kind}"
      assert float(values[name]) == pytest.approx(mean, abs=1e-6), name
  assert float(values["full"]) == pytest.approx(float(expect.full))


def test_the_grid_is_every_threshold_in_every_band(predicted):
  assert grid.EPSILONS == (1, 1.5, 2, 3, 4)
  assert grid.BANDS == ((0, 100), (50, 95), (25, 95), (50, 100))
  right = np.asarray(predicted[0]["correct"])
  product = {"own.predict": {"correct": right}}
  _, values = jax.jit(grid.make_grid("own"))(product, DATA, SEED)
  assert len(values) == 2 * 5 * 4
  for eps in (1, 1.5, 2, 3, 4):
    percent = 100 * standing(TRAIN["features"], eps).mean(0)
    for low, high in ((0, 100), (50, 95), (25, 95), (50, 100)):
      q = q_of(TEST["features"], band(percent, low, high), eps)
      name = f"grid_eps_{eps}_band_{low}_{high}".replace(".", "_")
      auc = roc_auc_score(right, q)
      assert float(values[name]) == pytest.approx(auc, abs=1e-3), name
      empty = float(values[f"{name}_empty"])
      assert empty == pytest.approx((q == 0).mean(), abs=2 / 300), name
