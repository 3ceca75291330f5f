import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import losses

RNG = np.random.default_rng(0)
POSITIVE = RNG.normal(size=3).astype(np.float32)
NEGATIVE = RNG.normal(size=(3, 5)).astype(np.float32)


def by_hand(positive, negative, a, rho):
  """The equation, one row and one negative at a time."""
  values = []
  for s, row in zip(positive, negative, strict=True):
    sizes = [np.exp(a * x) for x in row]
    against = sum(
      w / sum(sizes) * np.log1p(np.exp(x))
      for w, x in zip(sizes, row, strict=True)
    )
    values.append((np.log1p(np.exp(-s)) + rho * against) / (1 + rho))
  return np.array(values)


@pytest.mark.parametrize(("a", "rho"), [(1.0, 1.0), (0.0, 1.0), (2.5, 3.0)])
def test_self_adversarial_is_its_equation(a, rho):
  found = losses.self_adversarial(
    POSITIVE, NEGATIVE, temperature=a, balance=rho
  )
  wanted = by_hand(POSITIVE, NEGATIVE, a, rho)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_no_temperature_weighs_negatives_alike():
  found = losses.self_adversarial(POSITIVE, NEGATIVE, temperature=0.0)
  plain = np.log1p(np.exp(NEGATIVE)).mean(1) + np.log1p(np.exp(-POSITIVE))
  np.testing.assert_allclose(found, plain / 2, rtol=1e-5)


def test_negatives_that_do_not_count_are_as_if_not_there():
  counts = np.array([[1, 1, 0, 1, 0]] * 3, bool)
  poisoned = np.where(counts, NEGATIVE, np.nan).astype(np.float32)

  def total(x):
    return losses.self_adversarial(POSITIVE, x, negative_where=counts).sum()

  alone = losses.self_adversarial(POSITIVE, NEGATIVE[:, [0, 1, 3]])
  value, grad = jax.value_and_grad(total)(poisoned)
  np.testing.assert_allclose(value, alone.sum(), rtol=1e-6)
  np.testing.assert_array_equal(grad[:, [2, 4]], 0)
  none = losses.self_adversarial(
    POSITIVE, NEGATIVE, negative_where=np.zeros((3, 5), bool)
  )
  np.testing.assert_allclose(none, np.log1p(np.exp(-POSITIVE)) / 2, rtol=1e-5)


def test_weights_are_constants_unless_asked():
  def total(x, stop):
    return losses.self_adversarial(
      POSITIVE, x, stop_weights_gradient=stop
    ).sum()

  e = np.exp(NEGATIVE)
  p = e / e.sum(1, keepdims=True)
  s = e / (1 + e)
  np.testing.assert_allclose(
    jax.grad(total)(NEGATIVE, True), p * s / 2, rtol=1e-5
  )
  loss = np.log1p(e)
  through = p * (loss - (p * loss).sum(1, keepdims=True))
  np.testing.assert_allclose(
    jax.grad(total)(NEGATIVE, False), (p * s + through) / 2, rtol=1e-4
  )


def test_extreme_scores_stay_finite():
  far = jnp.array([-1e4, 1e4])
  negative = jnp.array([[1e4, -1e4], [-1e4, -1e4]])
  value, grad = jax.value_and_grad(
    lambda s: losses.self_adversarial(far, s).sum()
  )(negative)
  assert np.isfinite(value)
  assert np.isfinite(grad).all()


def test_l3_penalty_is_its_equation():
  wanted = (np.abs(NEGATIVE) ** 3).sum(1)
  np.testing.assert_allclose(losses.l3_penalty(NEGATIVE), wanted, rtol=1e-5)


@pytest.mark.parametrize(
  ("negative", "where"), [(NEGATIVE[:2], None), (NEGATIVE, np.ones((3, 4)))]
)
def test_shapes_that_do_not_fit_are_refused(unhooked, negative, where):
  with pytest.raises(ValueError, match=r"\(3"):
    unhooked(losses.self_adversarial)(POSITIVE, negative, negative_where=where)
