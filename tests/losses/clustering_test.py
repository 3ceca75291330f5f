import jax
import numpy as np
import plain_views as plain
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(7)
# Cosines, as the method's scores are.
S = np.tanh(RNG.normal(size=(3, 12, 5))).astype(np.float32)
Q = RNG.dirichlet(np.ones(5), (2, 12)).astype(np.float32)
QUEUE = np.tanh(RNG.normal(size=(9, 5))).astype(np.float32)


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_is_the_papers(epsilon, iterations):
  got = losses.sinkhorn_codes(S[0], epsilon=epsilon, iterations=iterations)
  expected = plain.sinkhorn(S[0], epsilon, iterations)
  np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-5)


def test_rows_and_columns_are_even():
  codes = losses.sinkhorn_codes(S[0], iterations=50)
  np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(codes.sum(0), 12 / 5, rtol=0.05)
  # Not because they were so from the start.
  plain_softmax = jax.nn.softmax(S[0] / 0.05)
  assert np.ptp(plain_softmax.sum(0)) > 1


@pytest.mark.parametrize("held", [9, 4, 0])
def test_a_queue_that_is_not_full(held):
  valid = np.arange(9) < held
  queue = np.where(valid[:, None], QUEUE, np.nan).astype(np.float32)
  got = losses.sinkhorn_codes(S[0], queue, queue_where=valid)
  every = np.concatenate([QUEUE[:held], S[0]])
  expected = plain.sinkhorn(every, 0.05, 3)[-12:]
  np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-5)


def test_rows_that_do_not_count():
  where = np.arange(12) % 3 != 1
  scores = np.where(where[:, None], S[0], np.nan).astype(np.float32)
  got = losses.sinkhorn_codes(scores, where=where)
  expected = plain.sinkhorn(S[0][where], 0.05, 3)
  np.testing.assert_allclose(got[where], expected, rtol=2e-4, atol=1e-5)
  np.testing.assert_array_equal(got[~where], 0)
  none = losses.sinkhorn_codes(scores, where=np.zeros(12, bool))
  np.testing.assert_array_equal(none, 0)


def test_scores_that_would_overflow():
  got = losses.sinkhorn_codes(1e3 * S[0], epsilon=0.01)
  assert np.isfinite(got).all()
  np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)


def test_codes_are_constants_unless_it_is_said():
  def total(s, stop):
    codes = losses.sinkhorn_codes(s, QUEUE, epsilon=0.7, stop_gradient=stop)
    return (codes**2).sum()

  np.testing.assert_array_equal(jax.grad(total)(S[0], True), 0)
  check_grads(
    lambda s: total(s, False),
    (S[0],),
    order=1,
    modes=["rev"],
    atol=2e-2,
    rtol=2e-2,
  )


@pytest.mark.parametrize("v", [2, 3])
def test_swapped_prediction_loop(v):
  got = losses.swapped_prediction(S[:v], Q)
  expected = plain.cross_views(Q.astype(float), S[:v].astype(float) / 0.1)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_even_codes_and_scores():
  even = np.full((2, 12, 5), 0.2, np.float32)
  got = losses.swapped_prediction(0 * S, even)
  np.testing.assert_allclose(got, np.log(5), rtol=1e-6)


def test_codes_get_no_gradient():
  grads = jax.grad(lambda s, q: losses.swapped_prediction(s, q).sum(), (0, 1))(
    S, Q
  )
  assert np.abs(grads[0]).max() > 1e-2
  np.testing.assert_array_equal(grads[1], 0)


def test_errors(unhooked):
  codes = unhooked(losses.sinkhorn_codes)
  with pytest.raises(ValueError, match="iterations is 0"):
    codes(S[0], iterations=0)
  with pytest.raises(ValueError, match="temperature is 0"):
    codes(S[0], epsilon=0)
  with pytest.raises(ValueError, match=r"queue_scores is \(9, 4\)"):
    codes(S[0], QUEUE[:, :4])
  with pytest.raises(ValueError, match="differ"):
    unhooked(losses.swapped_prediction)(S, Q[:, :3])
