import jax
import jax.numpy as jnp
import numpy as np
import plain_views as plain
import pytest
from jax.test_util import check_grads

from kd_jax import losses

RNG = np.random.default_rng(6)
P, P2, Z, Z2 = RNG.normal(size=(4, 5, 4)).astype(np.float32)
S = RNG.normal(size=(4, 5, 6)).astype(np.float32)
T = RNG.normal(size=(2, 5, 6)).astype(np.float32)
M = RNG.normal(size=6).astype(np.float32)
HOW = {"student_temperature": 0.1, "teacher_temperature": 0.04}


def test_loops():
  four = (P, P2, Z, Z2)
  np.testing.assert_allclose(
    losses.byol(*four), plain.byol(*four), rtol=1e-5, atol=1e-5
  )
  np.testing.assert_allclose(
    losses.simsiam(*four), plain.simsiam(*four), rtol=1e-5, atol=1e-5
  )
  cosines = [-plain.unit(a) @ plain.unit(b) for a, b in zip(P, Z, strict=True)]
  np.testing.assert_allclose(
    losses.negative_cosine(P, Z), cosines, rtol=1e-5, atol=1e-6
  )


def test_ranges():
  same, turned = (P, P, P, P), (P, P, -P, -P)
  np.testing.assert_allclose(losses.byol(*same), 0, atol=1e-5)
  np.testing.assert_allclose(losses.byol(*turned), 8, rtol=1e-6)
  np.testing.assert_allclose(losses.simsiam(*same), -1, rtol=1e-6)


@pytest.mark.parametrize("name", ["byol", "simsiam"])
def test_targets_are_constants_unless_it_is_said(name):
  def total(*args, stop=True):
    loss = getattr(losses, name)
    return loss(*args, stop_target_gradient=stop).sum()

  grads = jax.grad(total, (0, 1, 2, 3))(P, P2, Z, Z2)
  assert min(np.abs(g).max() for g in grads[:2]) > 1e-2
  assert max(np.abs(g).max() for g in grads[2:]) == 0
  check_grads(
    lambda *args: total(*args, stop=False),
    (P, P2, Z, Z2),
    order=1,
    modes=["rev"],
    atol=2e-2,
    rtol=2e-2,
  )


@pytest.mark.parametrize("v", [2, 4])
def test_dino_loop(v):
  got = losses.dino(S[:v], T, M, **HOW)
  np.testing.assert_allclose(
    got, plain.dino(S[:v], T, M, 0.1, 0.04), rtol=1e-5, atol=1e-5
  )


def test_even_logits_give_the_logarithm_of_their_number():
  zero = np.zeros_like
  got = losses.dino(zero(S), zero(T), zero(M), **HOW)
  np.testing.assert_allclose(got, np.log(6), rtol=1e-6)
  # A teacher of one answer: what the students say of it.
  sure = np.tile(1e4 * np.eye(6, dtype=np.float32)[0], (2, 5, 1))
  said = np.asarray(jax.nn.log_softmax(S / 0.1))[..., 0]
  pairs = [said[v] for c in range(2) for v in range(4) if v != c]
  got = losses.dino(S, sure, zero(M), **HOW)
  np.testing.assert_allclose(got, -np.mean(pairs, 0), rtol=1e-5)


def test_dino_gradients():
  def total(s, t, m, stop):
    loss = losses.dino(
      s,
      t,
      m,
      student_temperature=0.7,
      teacher_temperature=0.9,
      stop_target_gradient=stop,
    )
    return loss.sum()

  grads = jax.grad(total, (0, 1, 2))(S, T, M, True)
  assert np.abs(grads[0]).max() > 1e-2
  assert max(np.abs(g).max() for g in grads[1:]) == 0
  check_grads(
    lambda s, t: total(s, t, M, False),
    (S, T),
    order=1,
    modes=["rev"],
    atol=2e-2,
    rtol=2e-2,
  )


def test_large_logits_are_finite():
  value, grad = jax.value_and_grad(
    lambda s: losses.dino(s, 1e5 * T, M, **HOW).sum()
  )(1e4 * jnp.asarray(S))
  assert np.isfinite(value)
  assert np.isfinite(grad).all()


def test_errors(unhooked):
  with pytest.raises(ValueError, match=r"\(5, 4\).*\(3, 4\)"):
    unhooked(losses.negative_cosine)(P, Z[:3])
  dino = unhooked(losses.dino)
  with pytest.raises(ValueError, match=r"\(4, 5, 6\).*\(2, 3, 6\)"):
    dino(S, T[:, :3], M, **HOW)
  with pytest.raises(ValueError, match="2 views learn from 4"):
    dino(S[:2], S, M, **HOW)
  with pytest.raises(ValueError, match=r"centre is \(5,\)"):
    dino(S, T, M[:5], **HOW)
