import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kd_jax import accel, losses

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3))
F, G = RNG.normal(size=(4, 3, 2, 5)), RNG.normal(size=(4, 3, 2, 7))
MAPS = RNG.normal(size=(2, 4, 3, 2, 6))


def unit(v):
  return v / np.linalg.norm(v)


def huber(x):
  return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def similarity_loop(s, t):
  def gram(f):
    g = f.reshape(len(f), -1) @ f.reshape(len(f), -1).T
    return np.stack([unit(row) for row in g])

  return ((gram(s) - gram(t)) ** 2).sum(1) / len(s)


def distance_loop(s, t):
  n = len(s)

  def potential(e):
    d = np.array([[np.linalg.norm(a - b) for b in e] for a in e])
    return d / d[d > 0].mean()

  a, b = potential(s), potential(t)
  return np.array(
    [np.mean([huber(a[i, j] - b[i, j]) for j in range(n)]) for i in range(n)]
  )


def angle_loop(s, t):
  n = len(s)

  def cosine(e, i, j, k):
    if j in (i, k):
      return 0.0
    return unit(e[i] - e[j]) @ unit(e[k] - e[j])

  return np.array(
    [
      np.mean(
        [
          huber(cosine(s, i, j, k) - cosine(t, i, j, k))
          for i in range(n)
          for k in range(n)
        ]
      )
      for j in range(n)
    ]
  )


def attention_loop(s, t, power=2):
  def q(f):
    return unit(
      np.array([(np.abs(v) ** power).mean() for v in f.reshape(6, -1)])
    )

  return np.array(
    [((q(a) - q(b)) ** 2).mean() for a, b in zip(s, t, strict=True)]
  )


LOOPS = {
  "similarity_preserving": (similarity_loop, F, G),
  "relational_distance": (distance_loop, X, Y),
  "relational_angle": (angle_loop, X, Y),
  "attention_mean_square": (attention_loop, F, G),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loop(name):
  loop, s, t = LOOPS[name]
  s, t = np.float32(s), np.float32(t)
  got = jax.jit(getattr(losses, name))(s, t)
  np.testing.assert_allclose(got, loop(s, t), rtol=1e-4, atol=1e-6)


def test_other_powers_and_the_size_of_a_map_do_not_matter():
  got = losses.attention_mean_square(F, G, power=4)
  np.testing.assert_allclose(got, attention_loop(F, G, 4), rtol=1e-4)
  large = losses.attention_mean_square(1e15 * F, G)
  small = losses.attention_mean_square(F, G)
  np.testing.assert_allclose(large, small, rtol=1e-4)


def test_flow():
  s, t = (MAPS[0], F[..., :3]), (MAPS[1], G[..., :3])
  got = losses.solution_flow(s, t)
  want = []
  for i in range(4):
    flows = [
      sum(np.outer(a[i, h, w], b[i, h, w]) for h in range(3) for w in range(2))
      / 6
      for a, b in (s, t)
    ]
    want.append(((flows[0] - flows[1]) ** 2).mean())
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_the_papers_numbers_are_the_means():
  gs, gt = (
    np.stack([unit(r) for r in f.reshape(4, -1) @ f.reshape(4, -1).T])
    for f in (F, G)
  )
  got = losses.similarity_preserving(F, G).mean()
  np.testing.assert_allclose(got, ((gs - gt) ** 2).sum() / 16, rtol=1e-4)


def test_what_the_relations_do_not_see():
  turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
  moved = 3 * X @ turn + 1
  np.testing.assert_allclose(losses.relational_distance(moved, X), 0, atol=1e-6)
  np.testing.assert_allclose(losses.relational_angle(moved, X), 0, atol=1e-6)
  np.testing.assert_allclose(
    losses.similarity_preserving(3 * X @ turn, X), 0, atol=1e-6
  )


@pytest.mark.parametrize("name", LOOPS)
def test_gradients(name):
  _, s, t = LOOPS[name]
  fn = getattr(losses, name)
  s, t = np.float32(s), np.float32(t)
  open_ = functools.partial(fn, stop_target_gradient=False)
  check_grads(open_, (s, t), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)
  stopped = jax.grad(lambda t: fn(s, t).sum())(t)
  np.testing.assert_array_equal(stopped, 0)
  same = jax.grad(lambda s: fn(s, s).sum())(s)
  assert np.isfinite(same).all()


@pytest.mark.parametrize(
  "name", ["similarity_preserving", "relational_distance", "relational_angle"]
)
def test_one_device_is_four(name):
  s, t = RNG.normal(size=(2, 8, 3)).astype(np.float32)
  where = np.arange(8) != 5
  fn = getattr(losses, name)

  def step(state, batch, *, axis_name=None):
    def loss(s):
      terms = {
        "a": fn(s, batch["t"], where=batch["where"], axis_name=axis_name)
      }
      return losses.combine(terms, {"a": 1.0}, batch["where"], axis_name)[0]

    def of_scale(w):
      return loss(w[None] * batch["s"])

    value, grad = jax.value_and_grad(of_scale)(state)
    return accel.mean((value, grad), axis_name)

  found = []
  for n in (1, 4):
    lifted = accel.data_parallel(step, devices=jax.devices()[:n], donate=False)
    batch = {"s": s, "t": t, "where": where}
    state = accel.place(jnp.ones(3), jax.devices()[:n])
    found.append(jax.device_get(lifted(state, batch)))
  for a, b in zip(*found, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_shapes(unhooked):
  for name in LOOPS:
    with pytest.raises(ValueError, match=r"\(4, "):
      unhooked(getattr(losses, name))(F[:3], G)
  with pytest.raises(ValueError, match="at least 1"):
    losses.attention_mean_square(F, G, power=0)
  flow = unhooked(losses.solution_flow)
  with pytest.raises(ValueError, match="channels"):
    flow((F, F), (G, G))
