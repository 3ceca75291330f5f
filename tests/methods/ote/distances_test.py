import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ote import distances


def uniform(*shape, seed=0):
  return jax.random.uniform(jax.random.key(seed), shape)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_distance_sums_lengths_and_not_squares(size):
  a, c = uniform(4, 6), uniform(4, 5, 6, seed=1)
  found = distances.distance(a, c, size)
  for i in range(4):
    for j in range(5):
      x = np.asarray(a[i] - c[i, j]).reshape(size, -1)
      lengths = [np.sqrt((x[:, g] ** 2).sum()) for g in range(6 // size)]
      np.testing.assert_allclose(found[i, j], sum(lengths), rtol=1e-5)


def test_distance_has_the_gradient_of_its_formula():
  a, c, w = uniform(4, 6), uniform(4, 5, 6, seed=1), uniform(4, 5, seed=2)

  def plain(a, c):
    x = (a[:, None] - c).reshape(4, 5, 2, 3)
    return jnp.sqrt((x**2).sum(2)).sum(-1)

  found, wanted = (
    jax.grad(lambda a, c, f=f: (f(a, c) * w).sum(), (0, 1))(a, c)
    for f in (lambda a, c: distances.distance(a, c, 2), plain)
  )
  for x, y in zip(found, wanted, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("few", [1, 3, 4])
@pytest.mark.parametrize("many", [0, 8])
def test_distances_to_rows_have_the_same_gradient_however_divided(
  size, few, many, monkeypatch
):
  # As many vectors at a time as so many bytes of their rows hold.
  monkeypatch.setattr(distances, "_CACHE", 4 * 5 * 6 * few)
  monkeypatch.setattr(distances, "_MANY", many)
  a, table = uniform(6, 6), uniform(7, 6, seed=1)
  index = jax.random.randint(jax.random.key(2), (6, 5), 0, 7)
  w = uniform(6, 5, seed=3)

  def plain(a, table):
    return (distances.distance(a, table[index], size) * w).sum()

  def ours(a, table):
    return (distances.distance_to_rows(a, table, index, size) * w).sum()

  found, wanted = (
    jax.jit(jax.grad(f, (0, 1)))(a, table) for f in (ours, plain)
  )
  for x, y in zip(found, wanted, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
  text = str(jax.make_jaxpr(jax.grad(ours))(a, table))
  assert ("scan" in text) == (many == 0)


def test_the_gradient_at_distance_0_is_0():
  a = uniform(1, 4)
  grads = jax.grad(
    lambda a, c: distances.distance(a, c, 2).sum(), argnums=(0, 1)
  )(a, a[None])
  assert all((np.asarray(g) == 0).all() for g in grads)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("at_once", [1, 4, 100])
@pytest.mark.parametrize("scaled", [False, True])
def test_distances_to_all_are_those_to_each(size, at_once, scaled, monkeypatch):
  monkeypatch.setattr(distances, "_COORDINATES", at_once)
  a, c = uniform(4, 12), uniform(5, 12, seed=1)
  scale = uniform(4, 12, seed=2) if scaled else None
  found = distances.distance_to_all(a, c, size, scale)
  each = np.broadcast_to(np.asarray(c)[None], (4, 5, 12))
  each = each * np.asarray(scale)[:, None] if scaled else each
  gaps = (np.asarray(a)[:, None] - each).reshape(4, 5, size, -1)
  wanted = np.sqrt((gaps**2).sum(2)).sum(-1)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
