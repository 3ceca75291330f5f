"""Probes, subsets, heatmaps, masks and spectra, against plain statements."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.qscore import (
  METHOD,
  compression,
  discovery,
  heatmaps,
  masks,
  measuring,
  planted,
  probes,
  spectrum,
)
from kd_jax.methods.qscore.config import HeatConfig

RNG = np.random.default_rng(21)
N, R, C = 120, 12, 3
LABELS = RNG.integers(0, C, N).astype(np.int32)
X = (RNG.normal(size=(N, R)) + 2 * np.eye(R)[LABELS]).astype(np.float32)
MASK = np.arange(R) % 4 > 0


def standardised(x, by):
  return (x - by.mean(0)) / by.std(0)


def test_a_ridge_probe_of_a_subset_reads_the_subset_alone():
  own = standardised(X, X).astype(np.float64)[:, MASK]
  y = np.eye(C)[LABELS]
  gram = own.T @ own / N + 0.1 * np.eye(MASK.sum())
  expect = np.linalg.solve(gram, own.T @ (y - y.mean(0)) / N)
  probe = probes.ridge(probes.normal(X, LABELS, C), MASK, 0.1)
  np.testing.assert_allclose(probe.weight[MASK], expect, atol=1e-5)
  np.testing.assert_array_equal(probe.weight[~MASK], 0)
  np.testing.assert_allclose(
    probe.logits(X), own @ expect + y.mean(0), atol=1e-4
  )


def test_a_constant_coordinate_does_no_harm():
  flat = X.copy()
  flat[:, 2] = 0.3
  logits = probes.ridge(
    probes.normal(flat, LABELS, C), np.ones(R, bool), 1e-3
  ).logits(flat)
  assert np.isfinite(logits).all()


def test_a_margin_is_first_less_second():
  logits = jnp.asarray(RNG.normal(size=(20, 5)), jnp.float32)
  order = np.sort(logits, 1)
  np.testing.assert_allclose(
    probes.margin(logits), order[:, -1] - order[:, -2], rtol=1e-6
  )


def test_the_window_is_the_band_at_its_size():
  percent = RNG.permutation(100).astype(np.float32) + 1
  band = np.asarray(compression.window(percent, 45))
  # 55 are cut, nine tenths of them from below: 49 and 6.
  np.testing.assert_array_equal(band, (percent >= 50) & (percent <= 94))
  nested = [np.asarray(compression.window(percent, m)) for m in (10, 40, 90)]
  for small, large in itertools.pairwise(nested):
    assert not (small & ~large).any()
  assert [n.sum() for n in nested] == [10, 40, 90]


def test_silent_coordinates_are_cut_first():
  percent = np.r_[np.arange(1, 31), np.zeros(70)].astype(np.float32)
  kept = np.asarray(compression.window(percent, 20))
  assert kept.sum() == 20
  assert (kept & (percent == 0)).sum() == 0
  lower = np.asarray(discovery.tail(jnp.asarray(percent), 5, "lower"))
  np.testing.assert_array_equal(np.flatnonzero(lower), np.arange(5))
  upper = np.asarray(discovery.tail(jnp.asarray(percent), 5, "upper"))
  np.testing.assert_array_equal(np.flatnonzero(upper), np.arange(25, 30))


def test_the_study_is_a_probe_for_each_subset():
  train, test = (
    planted.draw(0, i, 300, planted.Layout(64, 4, 6, 3, 4, 20)) for i in (0, 1)
  )
  percent = discovery.discover(train["features"], eps=(2.0,)).percent
  key, kept, l2 = jax.random.key(3), (0.2, 0.5), 1e-2
  rest = {"classes": 4, "kept": kept, "draws": 2, "l2": l2}
  args = [d[k] for d in (train, test) for k in ("features", "labels")]
  study = compression.study(*args, percent, key, **rest)

  unit = [
    d["features"] / np.linalg.norm(d["features"], axis=1, keepdims=True)
    for d in (train, test)
  ]

  def accuracy(mask):
    inside = [u[:, mask] for u in unit]
    probe = probes.ridge(
      probes.normal(inside[0], train["labels"], 4),
      np.ones(mask.sum(), bool),
      l2,
    )
    hits = probe.logits(inside[1]).argmax(-1) == test["labels"]
    return float(hits.mean())

  def of_components(m):
    """A ridge probe of the first m principal components, written out."""
    x, tested = (standardised(u, unit[0]) for u in unit)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    first = vectors[:, np.argsort(-values)[:m]]
    x, tested = x @ first, tested @ first
    y = np.eye(4)[train["labels"]]
    gram = x.T @ x / len(x) + l2 * np.eye(m)
    weight = np.linalg.solve(gram, x.T @ (y - y.mean(0)) / len(x))
    hits = (tested @ weight + y.mean(0)).argmax(1) == test["labels"]
    return hits.mean()

  everything = probes.ridge(
    probes.normal(unit[0], train["labels"], 4), np.ones(64, bool), l2
  )
  heavy = np.argsort(-np.square(everything.weight).sum(1))
  assert float(study.full) == pytest.approx(accuracy(np.ones(64, bool)))
  order = np.argsort(percent, kind="stable")
  for i, share in enumerate(kept):
    m = round(share * 64)
    middle = np.asarray(compression.window(percent, m))
    tops = {"middle": middle}
    places = {
      "lower": order[:m],
      "upper": order[64 - m :],
      "weights": heavy[:m],
    }
    for name, own in places.items():
      tops[name] = np.isin(np.arange(64), own)
    for name, mask in tops.items():
      got = float(getattr(study, name)[i])
      assert got == pytest.approx(accuracy(mask), abs=1 / 300 + 1e-6), name
    got = float(study.pca[i])
    assert got == pytest.approx(of_components(m), abs=1 / 300 + 1e-6)
    drawn = compression.subsets(percent, percent, [m], key, 2)[1][0]
    for j in range(2):
      got, want = float(study.random[i, j]), accuracy(np.asarray(drawn[j]))
      assert got == pytest.approx(want, abs=1 / 300 + 1e-6)
  assert study.random.shape == (2, 2)


def test_principal_components_are_those_of_the_covariance():
  equations = probes.normal(X, LABELS, C)
  turned, basis = compression.principal(equations)
  x = standardised(X, X)
  values = np.sort(np.linalg.eigvalsh(x.T @ x / N))[::-1]
  np.testing.assert_allclose(np.diag(turned.gram), values, rtol=1e-4)
  every = np.ones(R, bool)
  whole, same = (probes.ridge(e, every, 0.1) for e in (equations, turned))
  np.testing.assert_allclose(basis @ same.weight, whole.weight, atol=1e-4)


def test_grad_cam_of_a_pooled_coordinate_is_its_map():
  a = np.maximum(RNG.normal(size=(4, 5, R)), 0).astype(np.float32)
  for j in (0, 7):
    cam = heatmaps.grad_cam(lambda x, j=j: x.mean((0, 1))[j], a)
    np.testing.assert_allclose(cam * 20, a[..., j], rtol=1e-5, atol=1e-7)
  # Of another tail it is not: a coordinate that two channels feed.
  both = heatmaps.grad_cam(lambda x: x.mean((0, 1))[:2].sum(), a)
  np.testing.assert_allclose(both * 20, a[..., :2].sum(-1), rtol=1e-5)


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_heatmaps_combine_what_stands_out(combine):
  a = RNG.normal(size=(3, 4, 4, R)).astype(np.float32)
  taken = RNG.uniform(size=(3, R)) < 0.5
  taken[2] = False
  got = heatmaps.heatmaps(a, taken, (4, 4), combine)
  for i in range(2):
    own = np.maximum(a[i][..., taken[i]], 0)
    expect = own.mean(-1) if combine == "mean" else own.max(-1)
    np.testing.assert_allclose(got[i], expect / expect.max(), rtol=1e-5)
  np.testing.assert_array_equal(got[2], 0)
  large = heatmaps.heatmaps(a, taken, (16, 12), combine)
  assert large.shape == (3, 16, 12)
  np.testing.assert_allclose(large[:2].max((1, 2)), 1, rtol=1e-6)
  with pytest.raises(ValueError, match="it is mean or max"):
    heatmaps.heatmaps(a, taken, (4, 4), "sum")


def test_heatmaps_are_enlarged_bilinearly():
  a = np.array([[0.0, 1.0], [2.0, 4.0]], np.float32)[None, ..., None]
  # Centres of four places lie at -1/4, 1/4, 3/4 and 5/4 of two.
  part = np.array([[4, 0], [3, 1], [1, 3], [0, 4]]) / 4
  expect = part @ a[0, ..., 0] @ part.T / 4
  got = heatmaps.heatmaps(a, np.ones((1, 1), bool), (4, 4))
  np.testing.assert_allclose(got[0], expect, rtol=1e-5, atol=1e-7)


def test_what_makes_a_heatmap_is_the_scores_set():
  maps = np.maximum(RNG.normal(size=(5, 3, 3, 30)), 0).astype(np.float32)
  found = discovery.discover(maps.mean((1, 2)), eps=(1.0,))
  got = heatmaps.standing_out(maps, found)
  h = maps.mean((1, 2))
  active = h > h.mean(1, keepdims=True) + h.std(1, keepdims=True)
  np.testing.assert_array_equal(got, active & np.asarray(found.chosen))


def loop_overlap(heat, mask, region, threshold):
  both = either = 0.0
  for y in range(heat.shape[0]):
    for x in range(heat.shape[1]):
      inside = heat[y, x] > region * heat.max()
      core = mask[y, x] > threshold
      both += heat[y, x] * (inside and core)
      either += heat[y, x] * (inside or core)
  return both / either if either else 0.0


@pytest.mark.parametrize("region", [0.5, -1.0])
def test_overlap_is_the_loops(region):
  heat = RNG.uniform(size=(4, 6, 5)).astype(np.float32)
  heat[3] = 0
  mask = RNG.uniform(size=(4, 6, 5)).astype(np.float32)
  got = masks.overlap(heat, mask, region=region)
  expect = [
    loop_overlap(h, m, region, 0.5) for h, m in zip(heat, mask, strict=True)
  ]
  np.testing.assert_allclose(got, expect, rtol=1e-5)
  # A soft mask above 0 is nearly everywhere.
  soft = masks.overlap(heat, mask, region=region, threshold=0.0)
  assert (soft[:3] > got[:3]).all()


def test_a_perfect_heatmap_overlaps_wholly():
  core = np.zeros((2, 4, 4), np.float32)
  core[:, 1:3, 1:3] = 1
  spurious = 1 - core
  spurious[1] = 0
  right = np.array([True, False])
  got = masks.interpretability(core, core, spurious, right)
  assert float(got["miou_core"]) == float(got["heat_core"]) == 1
  assert float(got["miou_spurious"]) == 0
  even = masks.interpretability(np.ones_like(core), core, spurious, right)
  for name in ("core", "spurious"):
    area = float(even[f"area_{name}"])
    assert float(even[f"heat_{name}"]) == pytest.approx(area, rel=1e-6)
  assert float(got["miou_core_wrong"]) == 1
  # The second image has no spurious mask, and the first alone is right.
  assert np.isnan(float(got["miou_spurious_wrong"]))


def test_the_exponent_of_a_power_law():
  q, _ = np.linalg.qr(RNG.normal(size=(200, 20)))
  basis, _ = np.linalg.qr(q - q.mean(0))
  law = np.arange(1, 21) ** -0.6  # Eigenvalues fall with exponent 1.2.
  alpha = spectrum.alpha_req((basis * law).astype(np.float32))
  assert float(alpha) == pytest.approx(1.2, rel=0.02)


def test_heat_is_judged_as_it_is_configured():
  """By the region and threshold of the fields, and not by the defaults."""
  draw = np.random.default_rng(5)
  heat, core, spurious = draw.uniform(size=(3, 6, 5, 5)).astype(np.float32)
  correct = np.array([True, False] * 3)
  how = {"region": 0.3, "threshold": 0.8}
  config = dataclasses.replace(METHOD.presets["tiny"], heat=HeatConfig(**how))
  _, found = measuring.where_heat_lies(
    config,
    "own",
    jnp.asarray(heat),
    {"own.predict": {"correct": correct}},
    {"test_core": core, "test_spurious": spurious},
  )
  expect = masks.interpretability(heat, core, spurious, correct, **how)
  jax.tree.map(np.testing.assert_array_equal, found, expect)
  usual = masks.interpretability(
    heat, core, spurious, correct, region=0.5, threshold=0.5
  )
  assert found["miou_core"] != usual["miou_core"]


def test_heat_is_combined_as_it_is_configured():
  draw = np.random.default_rng(6)
  maps = np.maximum(draw.normal(size=(6, 3, 3, 20)), 0).astype(np.float32)
  h = maps.mean((1, 2))
  found = discovery.discover(h, eps=(1.0,))
  core = np.zeros((6, 9, 9), np.float32)
  core[:, :4] = 1
  products = {
    "own.discover": found._asdict(),
    "own.predict": {"correct": np.array([True, False] * 3)},
  }
  data = {
    "test_maps": maps,
    "test_features": h,
    "test_core": core,
    "test_spurious": 1 - core,
  }
  got = {}
  for combine in ("mean", "max"):
    config = dataclasses.replace(
      METHOD.presets["tiny"], heat=HeatConfig(combine)
    )
    run = measuring.make_interpret(config, "own")
    got[combine] = run(products, data, 0)[0]["heat"]
    taken = heatmaps.standing_out(maps, found)
    expect = heatmaps.heatmaps(maps, taken, (9, 9), combine)
    np.testing.assert_allclose(got[combine], expect, atol=1e-3)
  assert np.abs(got["mean"] - got["max"]).max() > 0.01
