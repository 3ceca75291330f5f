import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain_views as plain
import pytest
from jax.test_util import check_grads

from kd_jax import losses
from kd_jax.losses.norms import l2_normalize

RNG = np.random.default_rng(5)
Q, K = RNG.normal(size=(2, 5, 4)).astype(np.float32)
QUEUE = np.stack([plain.unit(v) for v in RNG.normal(size=(7, 4))])
QUEUE = QUEUE.astype(np.float32)
WHERE = np.array([1, 0, 1, 1, 0], bool)


@pytest.mark.parametrize("t", [0.07, 1.0, 30.0])
def test_loops(t):
  got = losses.info_nce_batch(Q, K, temperature=t)
  expected = plain.info_nce_batch(Q, K, t)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
  got = losses.info_nce_queue(Q, K, QUEUE, temperature=t)
  expected = plain.info_nce_queue(Q, K, QUEUE, t)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_both_are_optax_cross_entropies():
  q, k = l2_normalize(jnp.asarray(Q)), l2_normalize(jnp.asarray(K))
  entropy = optax.softmax_cross_entropy_with_integer_labels
  expected = 2 * 0.2 * entropy(q @ k.T / 0.2, jnp.arange(5))
  got = losses.info_nce_batch(Q, K, temperature=0.2)
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  logits = jnp.concatenate([(q * k).sum(1, keepdims=True), q @ QUEUE.T], 1)
  expected = entropy(logits / 0.2, jnp.zeros(5, int))
  got = losses.info_nce_queue(Q, K, QUEUE, temperature=0.2)
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_three_forms_of_nt_xent_agree():
  """Cross-entropy without the diagonal; positive over all that are allowed."""
  t, n = 0.5, len(Q)
  u = np.stack([plain.unit(v) for v in np.concatenate([Q, K])])
  s = u @ u.T / t
  rows = []
  for i in range(2 * n):
    mate = (i + n) % (2 * n)
    up = np.exp(s[i, mate])
    down = sum(np.exp(s[i, j]) for j in range(2 * n) if j not in (i, mate))
    rows.append(-np.log(up / (up + down)))
  bare = s - 1e9 * np.eye(2 * n)
  entropy = optax.softmax_cross_entropy_with_integer_labels(
    jnp.asarray(bare, jnp.float32), jnp.roll(jnp.arange(2 * n), n)
  )
  got = losses.nt_xent(Q, K, temperature=t)
  for form in (np.array(rows), np.asarray(entropy)):
    np.testing.assert_allclose(got, form.reshape(2, n).mean(0), rtol=1e-5)


def test_what_is_constant():
  def batch(q, k, stop=True):
    return losses.info_nce_batch(
      q, k, temperature=0.3, stop_target_gradient=stop
    ).sum()

  def queue(q, k, old, stop=True):
    return losses.info_nce_queue(
      q, k, old, temperature=0.3, stop_target_gradient=stop
    ).sum()

  for grads in (
    jax.grad(batch, (0, 1))(Q, K),
    jax.grad(queue, (0, 1))(Q, K, QUEUE),
  ):
    assert np.abs(grads[0]).max() > 1e-2
    np.testing.assert_array_equal(grads[1], 0)
  *_, old = jax.grad(queue, (0, 1, 2))(Q, K, QUEUE, False)
  np.testing.assert_array_equal(old, 0)
  how = {"order": 1, "modes": ["rev"], "atol": 2e-2, "rtol": 2e-2}
  check_grads(lambda q, k: batch(q, k, False), (Q, K), **how)
  check_grads(lambda q, k: queue(q, k, QUEUE, False), (Q, K), **how)


def test_places_of_the_queue_that_hold_no_key():
  held = np.arange(7) < 4
  poisoned = np.where(held[:, None], QUEUE, np.nan).astype(np.float32)

  def total(q):
    values = losses.info_nce_queue(
      q, K, poisoned, temperature=0.3, queue_where=held
    )
    return values.sum(), values

  grad, values = jax.grad(total, has_aux=True)(Q)
  expected = plain.info_nce_queue(Q, K, QUEUE[:4], 0.3)
  np.testing.assert_allclose(values, expected, rtol=1e-5)
  assert np.isfinite(grad).all()
  none = losses.info_nce_queue(
    Q, K, poisoned, temperature=0.3, queue_where=np.zeros(7, bool)
  )
  np.testing.assert_allclose(none, 0, atol=1e-6)


def test_masked_pairs_are_no_candidates():
  got = losses.info_nce_batch(Q, K, temperature=0.3, where=WHERE)
  expected = plain.info_nce_batch(Q[WHERE], K[WHERE], 0.3)
  np.testing.assert_allclose(got[WHERE], expected, rtol=1e-5)


def test_errors(unhooked):
  batch, queue = map(unhooked, (losses.info_nce_batch, losses.info_nce_queue))
  with pytest.raises(ValueError, match=r"\(5, 4\).*\(3, 4\)"):
    batch(Q, K[:3], temperature=0.3)
  with pytest.raises(ValueError, match=r"queue is \(7, 3\)"):
    queue(Q, K, QUEUE[:, :3], temperature=0.3)
  with pytest.raises(ValueError, match=r"queue_where is \(5,\)"):
    queue(Q, K, QUEUE, temperature=0.3, queue_where=WHERE)
  with pytest.raises(ValueError, match="temperature is -1"):
    batch(Q, K, temperature=-1)
