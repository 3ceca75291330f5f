"""The box, the bounds of lambda, greedy selection, corruptions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import bounds, corruptions, greedy, space
from kd_jax.methods.hyper_ensembles.space import Fixed, Space

BOX = Space(
  ("l2_0", "l2_1", "dropout_0", "smoothing"),
  (1e-3, 1e-3, 1e-3, 1e-5),
  (1e3, 10.0, 0.9, 0.2),
)


def test_a_search_is_uniform_in_logarithms():
  lams = np.asarray(BOX.draw(jax.random.key(0), 4000))
  u = np.log(lams / BOX.low) / np.log(np.divide(BOX.high, BOX.low))
  assert 0 <= u.min() < u.max() <= 1 + 1e-6
  np.testing.assert_allclose(u.mean(0), 0.5, atol=0.02)
  np.testing.assert_allclose(u.std(0), 12**-0.5, atol=0.02)


@pytest.mark.parametrize("symmetric", [True, False])
def test_embeddings_see_a_fixed_range(symmetric):
  ends = jnp.array([[BOX.low, BOX.high]])
  z = space.transformed(BOX, ends, symmetric)
  np.testing.assert_allclose(z[0, 0], -1 if symmetric else 0, atol=1e-5)
  np.testing.assert_allclose(z[0, 1], 1, atol=1e-5)


def test_each_number_goes_where_its_name_says():
  lam = jnp.array([[[5.0, 2.0, 0.3, 0.1]]])
  fixed = Fixed(groups=3, rates=2, l2=7.0, dropout=0.05)
  given = space.given(BOX, fixed, lam)
  np.testing.assert_allclose(given.nu[0, 0], [5, 2, 7])
  np.testing.assert_allclose(given.rates[0, 0], [0.3, 0.05])
  np.testing.assert_allclose(space.smoothing(BOX, fixed, lam), [[0.1]])
  only = Space(("l2",), (1e-3,), (1.0,))
  given = space.given(only, Fixed(3, 2), lam[..., :1])
  np.testing.assert_allclose(given.nu[0, 0], [5, 5, 5])
  assert given.rates is None


def test_an_empty_range_is_refused():
  with pytest.raises(ValueError, match="range of b"):
    Space(("a", "b"), (0.1, 0.2), (0.2, 0.2)).check()


def test_the_mean_is_the_integrals_and_not_the_geometric_one():
  low, high = (
    jnp.log(jnp.array([[0.1, 2.0]])),
    jnp.log(jnp.array([[100.0, 2.0]])),
  )
  found = bounds.mean(bounds.Bounds(low, high))
  grid = np.exp(np.linspace(low[0, 0], high[0, 0], 200_001))
  assert float(found[0, 0]) == pytest.approx(grid.mean(), rel=1e-3)
  assert float(found[0, 0]) > 2 * np.sqrt(0.1 * 100)
  # Trap 10: 0 / 0 where a = b.
  assert float(found[0, 1]) == pytest.approx(2.0, rel=1e-6)
  grads = jax.grad(lambda b: bounds.mean(b).sum())(bounds.Bounds(low, high))
  assert all(np.isfinite(g).all() for g in grads)


def test_the_entropy_is_the_integrals():
  b = bounds.Bounds(jnp.log(jnp.array([[0.5]])), jnp.log(jnp.array([[8.0]])))
  lam = np.exp(np.linspace(np.log(0.5), np.log(8), 100_001))
  # -log p with p = 1 / (lambda log(b/a)), over log-uniform lambda.
  expect = np.log(lam * np.log(16)).mean()
  assert float(bounds.entropy(b)[0, 0]) == pytest.approx(expect, rel=1e-4)


def test_draws_are_within_and_have_a_gradient():
  b = bounds.initial("full", jax.random.key(0), BOX, 2)
  u = jax.random.uniform(jax.random.key(1), (2, 5, 4))
  lam = np.asarray(bounds.draw(b, u))
  low, high = np.float32(BOX.low), np.float32(BOX.high)
  assert ((lam >= 0.999 * low) & (lam <= 1.001 * high)).all()
  grad = jax.grad(lambda b: bounds.draw(b, u).sum())(b)
  np.testing.assert_allclose(grad.high, (lam * u).sum(1), rtol=1e-4)
  fixed = bounds.at(jnp.array([[3.0, 2.0, 0.5, 0.1]]))
  np.testing.assert_allclose(
    bounds.draw(fixed, u[:1])[0, 3], [3, 2, 0.5, 0.1], rtol=1e-6
  )


def test_clipping_keeps_an_interval_open_and_in_the_box():
  wild = bounds.Bounds(
    jnp.array([[-99.0, 99.0, 0.0, 1.0]]), jnp.array([[99.0, 99.0, -9.0, 0.0]])
  )
  found = bounds.Bounds(*map(np.asarray, bounds.clip(wild, BOX)))
  assert (found.low >= BOX.log_low - 1e-5).all()
  assert (found.high <= BOX.log_high + 1e-5).all()
  assert (found.high > found.low).all()
  assert np.isfinite(bounds.entropy(found)).all()


def test_where_tuning_starts():
  key = jax.random.key(0)
  full = bounds.initial("full", key, BOX, 3)
  inner = bounds.initial("inner", key, BOX, 3)
  narrow = bounds.initial("narrow", key, BOX, 3)
  np.testing.assert_allclose(full.low[1], BOX.log_low)
  # One order of magnitude narrower (appendix D.1).
  np.testing.assert_allclose(
    (full.high - full.low - inner.high + inner.low)[:, 0], np.log(10), rtol=1e-5
  )
  box = Space(("l2",), (0.1,), (100.0,))
  code = bounds.initial("narrow", key, box, 3)
  # The released code: near the log-uniform mean, 14.5, +- 0.2.
  np.testing.assert_allclose(np.exp(code.low), 14.46 - 0.2, atol=0.1)
  np.testing.assert_allclose(
    np.exp(code.high) - np.exp(code.low), 0.4, rtol=1e-3
  )
  assert len(np.unique(np.asarray(code.low))) == 3
  assert (narrow.high > narrow.low).all()
  with pytest.raises(ValueError, match="narrow"):
    bounds.initial("wide", key, BOX, 3)


# Greedy selection.

TOY = np.array(
  [
    [[0.9, 0.1], [0.3, 0.7]],
    [[0.85, 0.15], [0.3, 0.7]],
    [[0.4, 0.6], [0.6, 0.4]],
  ],
  np.float32,
)
ZERO = np.zeros(2, np.int32)


def test_the_papers_toy():
  np.testing.assert_allclose(
    greedy.score(TOY, ZERO), [0.655, 0.683, 0.714], atol=6e-4
  )
  found = greedy.select(TOY, ZERO, 2)
  np.testing.assert_array_equal(found.counts, [1, 0, 1])
  assert float(found.score) == pytest.approx(0.615, abs=1e-3)
  assert int(found.first) == 0
  # The two best alone are worse together.
  assert float(greedy.score(TOY[:2].mean(0), ZERO)) == pytest.approx(
    0.669, abs=1e-3
  )


def plainly(p, labels, unique, replacement=True, allowed=None):
  """The loop of Caruana et al., on lists."""
  chosen, best = [], np.inf
  while len(set(chosen)) < unique and len(chosen) < greedy.MOST:
    scores = {}
    for j in range(len(p)):
      if allowed is not None and not allowed[j]:
        continue
      if not replacement and j in chosen:
        continue
      mean = np.mean([p[i] for i in [*chosen, j]], 0)
      scores[j] = -np.log(mean[np.arange(len(labels)), labels]).mean()
    if not scores:
      break
    pick = min(scores, key=scores.get)
    if scores[pick] >= best:
      break
    best = scores[pick]
    chosen.append(pick)
  return np.bincount(chosen, minlength=len(p)), best


@pytest.mark.parametrize(
  ("seed", "replacement"), list(itertools.product(range(4), (True, False)))
)
def test_selection_is_the_loops(seed, replacement):
  rng = np.random.default_rng(seed)
  p = rng.dirichlet(np.ones(3) * 0.7, (9, 12)).astype(np.float32)
  labels = rng.integers(0, 3, 12)
  allowed = rng.random(9) < 0.8
  expect, score = plainly(p.astype(float), labels, 3, replacement, allowed)
  select = jax.jit(
    lambda p: greedy.select(
      p, labels, 3, replacement=replacement, where=allowed
    )
  )
  found = select(p)
  np.testing.assert_array_equal(found.counts, expect)
  assert float(found.score) == pytest.approx(score, rel=1e-5)
  assert found.counts[~allowed].sum() == 0
  assert (found.counts > 0).sum() <= 3
  picks, weights = greedy.members(found.counts, 3)
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
  np.testing.assert_allclose(
    np.bincount(picks, weights, 9), expect / expect.sum(), atol=1e-6
  )


def test_a_model_may_be_taken_again():
  found = [
    greedy.select(
      np.random.default_rng(s)
      .dirichlet(np.ones(3), (6, 30))
      .astype(np.float32),
      np.random.default_rng(s + 50).integers(0, 3, 30),
      5,
    ).counts.max()
    for s in range(8)
  ]
  assert max(map(int, found)) > 1


def test_the_error_is_minimised_and_not_the_accuracy():
  """Trap 6: a released version minimised accuracy."""
  p = np.array([[[0.6, 0.4]] * 4, [[0.4, 0.6]] * 4], np.float32)
  labels = np.array([0, 0, 0, 1])
  np.testing.assert_allclose(greedy.score(p, labels, "error"), [0.25, 0.75])
  assert int(greedy.select(p, labels, 1, objective="error").first) == 0
  both = greedy.score(p, labels, "nll_and_error")
  np.testing.assert_allclose(
    both, greedy.score(p, labels) + np.array([0.25, 0.75]), rtol=1e-6
  )
  with pytest.raises(ValueError, match="accuracy"):
    greedy.score(p, labels, "accuracy")


# Corruptions.

IMAGES = (
  np.random.default_rng(0).uniform(0.3, 0.7, (400, 8, 8, 1)).astype(np.float32)
)


@pytest.mark.parametrize("severity", [1, 3])
def test_noise_has_its_deviation(severity):
  noisy = corruptions.noise(jax.random.key(0), IMAGES * 0 + 0.5, severity)
  assert float(noisy.min()) >= 0
  assert float(noisy.max()) <= 1
  if severity == 1:
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.03)


def test_blur_is_scipys():
  from scipy.ndimage import gaussian_filter1d

  found = corruptions.blur(jax.random.key(0), IMAGES[:5], 4)
  expect = gaussian_filter1d(IMAGES[:5], 1.0, axis=1, radius=4)
  expect = gaussian_filter1d(expect, 1.0, axis=2, radius=4)
  np.testing.assert_allclose(found, expect, atol=1e-5)


def test_a_shift_has_its_length():
  dot = np.zeros((300, 9, 9, 1), np.float32)
  dot[:, 4, 4] = 1
  y, x = np.mgrid[:9, :9]
  for severity in (2, 5):
    moved = corruptions.shift(jax.random.key(1), dot, severity)
    moved = np.asarray(moved)[..., 0]
    np.testing.assert_allclose(moved.sum((1, 2)), 1, rtol=1e-4)
    at = np.stack([(moved * y).sum((1, 2)), (moved * x).sum((1, 2))]) - 4
    np.testing.assert_allclose(np.hypot(*at), 0.025 * severity * 9, rtol=1e-3)
  assert abs(at[0].mean()) < 0.2


def test_foreign_images_are_two_halves():
  glued = corruptions.glued(jnp.asarray(IMAGES[:6]))
  np.testing.assert_array_equal(glued[1, :, :4], IMAGES[1, :, :4])
  np.testing.assert_array_equal(glued[1, :, 4:], IMAGES[4, ::-1, 4:])
