import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ote import algebra


def uniform(*shape, seed=0):
  return jax.random.uniform(jax.random.key(seed), shape)


def classical(m):
  """Classical Gram-Schmidt in float64: coefficients from the rows as given."""
  done = []
  for row in np.asarray(m, np.float64):
    rest = row - sum((row @ u) / (u @ u) * u for u in done)
    done.append(rest)
  return np.stack([u / np.linalg.norm(u) for u in done])


@pytest.mark.parametrize("k", [1, 8, 20])
def test_rows_become_orthonormal(k):
  # Uniform draws are far from orthogonal; training starts from what
  # Gram-Schmidt made of them.
  once = algebra.gram_schmidt(uniform(6, k, k))
  start = once + 0.05 * uniform(6, k, k, seed=1)
  for m, atol in ((uniform(6, k, k), 2e-4), (once, 1e-5), (start, 1e-5)):
    q = algebra.gram_schmidt(m)
    eye = np.broadcast_to(np.eye(k), q.shape)
    np.testing.assert_allclose(q @ jnp.swapaxes(q, -1, -2), eye, atol=atol)


@pytest.mark.parametrize("k", [3, 12])
def test_it_is_classical_gram_schmidt_and_qr(k):
  m = uniform(4, k, k)
  q = algebra.gram_schmidt(m)
  for a, b in zip(m, q, strict=True):
    np.testing.assert_allclose(b, classical(a), atol=2e-5)
    columns, r = np.linalg.qr(np.asarray(a, np.float64).T)
    signed = columns * np.sign(np.diag(r))
    np.testing.assert_allclose(b, signed.T, atol=2e-5)


def test_the_derivative_in_closed_form_is_the_derived_one():
  m, w = uniform(3, 6, 6), uniform(3, 6, 6, seed=1)
  found = jax.grad(lambda m: (algebra.gram_schmidt(m) * w).sum())(m)

  def rows_one_by_one(m):
    done = []
    for i in range(6):
      rest = m[:, i] - sum(
        (m[:, i] * u).sum(1, keepdims=True) * u for u in done
      )
      done.append(rest / jnp.linalg.norm(rest, axis=1, keepdims=True))
    return jnp.stack(done, 1)

  plain = jax.grad(lambda m: (rows_one_by_one(m) * w).sum())(m)
  np.testing.assert_allclose(found, plain, rtol=2e-3, atol=2e-4)


def test_handedness_is_that_of_the_raw_block_and_can_be_forced():
  m = uniform(40, 3, 3)
  blocks = jnp.moveaxis(m, 0, -1)[None]
  q = algebra.orthogonal_blocks(blocks)
  signs = np.linalg.det(np.moveaxis(np.asarray(q[0]), -1, 0))
  np.testing.assert_allclose(signs, np.sign(np.linalg.det(m)), atol=1e-5)
  assert 5 < (signs < 0).sum() < 35
  p = algebra.proper(q)
  np.testing.assert_allclose(
    np.linalg.det(np.moveaxis(np.asarray(p[0]), -1, 0)), 1, atol=1e-5
  )
  assert float(algebra.least_pivot(blocks, q)) > 0


@pytest.mark.parametrize("k", [4, 10])
def test_a_block_without_full_rank_gives_no_nan(k):
  m = uniform(1, k, k).at[0, 2].set(0.0).at[0, 3].set(0.0)
  q, back = jax.vjp(algebra.gram_schmidt, m)
  assert np.isfinite(q).all()
  assert np.isfinite(back(q)[0]).all()


@pytest.mark.parametrize("p", [1, 3, 40])
@pytest.mark.parametrize("transposed", [False, True])
def test_multiplying_is_a_matrix_product_with_its_gradients(p, transposed):
  x, q = uniform(2, p, 3, 4), uniform(2, 3, 3, 4, seed=1)
  w = uniform(2, p, 3, 4, seed=2)

  def plain(x, q):
    q = jnp.swapaxes(q, 1, 2) if transposed else q
    return jnp.einsum("tpkg,tklg->tplg", x, q, precision="highest")

  def ours(x, q):
    return algebra.multiply(x, q, transposed)

  np.testing.assert_allclose(ours(x, q), plain(x, q), rtol=1e-5)
  found, wanted = (
    jax.grad(lambda x, q, f=f: (f(x, q) * w).sum(), (0, 1))(x, q)
    for f in (ours, plain)
  )
  for a, b in zip(found, wanted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4)


def test_rotations_multiply_complex_numbers():
  angle, x = uniform(5, 3), uniform(5, 1, 2, 3, seed=1)
  y = algebra.multiply(x, algebra.rotations(angle), False)[:, 0]
  wanted = (x[:, 0, 0] + 1j * x[:, 0, 1]) * jnp.exp(1j * angle)
  np.testing.assert_allclose(y[:, 0], wanted.real, atol=1e-6)
  np.testing.assert_allclose(y[:, 1], wanted.imag, atol=1e-6)
