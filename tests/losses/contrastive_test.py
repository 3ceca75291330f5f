import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(2)
A, B = RNG.normal(size=(2, 5, 4)).astype(np.float32)


def loop(a, b, t, normalize=True):
  """Row by row, in float64, as the formula is printed."""
  u = np.concatenate([a, b]).astype(float)
  if normalize:
    u = np.stack([v / np.sqrt((v**2).sum()) for v in u])
  n = len(a)
  rows = []
  for r in range(2 * n):
    others = [u[r] @ u[q] / t for q in range(2 * n) if q != r]
    top = max(others)
    spread = top + np.log(sum(np.exp(x - top) for x in others))
    rows.append(spread - u[r] @ u[(r + n) % (2 * n)] / t)
  return np.array([(rows[i] + rows[i + n]) / 2 for i in range(n)])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("t", [0.01, 0.3, 100.0])
def test_loop(t, normalize):
  got = losses.nt_xent(A, B, temperature=t, normalize=normalize)
  np.testing.assert_allclose(
    got, loop(A, B, t, normalize), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("n", [1, 2, 7])
def test_identical_embeddings(n):
  same = np.tile(A[:1], (n, 1))
  got = losses.nt_xent(same, same, temperature=0.3)
  np.testing.assert_allclose(got, np.log(2 * n - 1), rtol=1e-5, atol=1e-6)


def test_order_of_views_and_scale_do_not_matter():
  huge = np.float32(1e25)
  got = losses.nt_xent(A, B, temperature=0.3)
  np.testing.assert_allclose(
    losses.nt_xent(B, A, temperature=0.3), got, rtol=1e-5
  )
  np.testing.assert_allclose(
    losses.nt_xent(A * huge, B / huge, temperature=0.3),
    got,
    rtol=1e-5,
  )


def test_gradients():
  for normalize in (True, False):
    check_grads(
      lambda a, b, k=normalize: losses.nt_xent(
        a, b, temperature=0.5, normalize=k
      ),
      (A, B),
      order=1,
      modes=["rev"],
      atol=2e-2,
      rtol=2e-2,
    )


def test_large_embeddings_are_finite():
  def fn(a):
    return losses.nt_xent(a, B, temperature=0.1, normalize=False).sum()

  value, grad = jax.value_and_grad(fn)(1e4 * A)
  assert np.isfinite(value)
  assert np.isfinite(grad).all()


def test_a_zero_embedding_has_no_gradient_of_its_own():
  a = A.copy()
  a[2] = 0
  grad = jax.grad(lambda a: losses.nt_xent(a, B, temperature=0.3).sum())(a)
  np.testing.assert_array_equal(grad[2], 0)
  assert np.isfinite(grad).all()
  assert (np.abs(np.delete(grad, 2, 0)).max(1) > 1e-3).all()


def test_masked_pairs_are_no_negatives_either():
  a, b = A.copy(), B.copy()
  where = np.array([1, 0, 1, 0, 1], bool)
  a[1], b[3] = np.nan, np.inf
  got = losses.nt_xent(a, b, temperature=0.3, where=where)
  np.testing.assert_allclose(
    got[where], loop(a[where], b[where], 0.3), rtol=1e-5
  )
  np.testing.assert_array_equal(got[~where], 0)


def test_nothing_counts():
  def fn(a):
    none = np.zeros(5, bool)
    return losses.nt_xent(a, B, temperature=0.3, where=none).sum()

  value, grad = jax.value_and_grad(fn)(A)
  assert value == 0
  np.testing.assert_array_equal(grad, 0)


def test_float16_is_as_good_as_its_inputs():
  a, b = A.astype(np.float16), B.astype(np.float16)
  got = losses.nt_xent(a, b, temperature=0.05)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, loop(a, b, 0.05), rtol=1e-4, atol=1e-5)


def test_vmap_keeps_batches_apart():
  got = jax.vmap(lambda a, b: losses.nt_xent(a, b, temperature=0.3))(
    np.stack([A, B]), np.stack([B, B])
  )
  np.testing.assert_allclose(got[0], loop(A, B, 0.3), rtol=1e-5)
  np.testing.assert_allclose(got[1], loop(B, B, 0.3), rtol=1e-5)


def test_errors(unhooked):
  fn = unhooked(losses.nt_xent)
  with pytest.raises(ValueError, match=r"\(5, 4\).*\(3, 4\)"):
    fn(A, B[:3], temperature=0.3)
  with pytest.raises(ValueError, match=r"where is \(4,\).*\(5,\)"):
    fn(A, B, temperature=0.3, where=np.ones(4, bool))
  with pytest.raises(ValueError, match="temperature is 0"):
    fn(A, B, temperature=0)
