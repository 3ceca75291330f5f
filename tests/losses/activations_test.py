"""The Q-Score penalties, against loops in float64 and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kd_jax import accel, losses

RNG = np.random.default_rng(13)
B, R = 16, 24
H = np.maximum(RNG.normal(size=(B, R)) + 0.2, 0).astype(np.float32)
D = RNG.uniform(size=R) < 0.6
WHERE = RNG.uniform(size=B) < 0.7
EPS = 1.0


def loop_parts(h, normalize=True):
  """Scores and rows, in float64."""
  h = np.asarray(h, np.float64)
  rows = h / np.linalg.norm(h, axis=1, keepdims=True) if normalize else h
  scores = []
  for row in rows:
    own = [
      x - row.mean()
      for j, x in enumerate(row)
      if D[j] and x > row.mean() + EPS * row.std()
    ]
    scores.append(np.mean(own) if own else 0.0)
  return np.array(scores), rows


@pytest.mark.parametrize("normalize", [True, False])
def test_the_score_of_those_below_the_mean_is_raised(normalize):
  q, _ = loop_parts(H, normalize)
  got = losses.q_score_loss(H, D, eps=EPS, normalize=normalize)
  expect = [-x if x < q.mean() else 0 for x in q]
  np.testing.assert_allclose(got, expect, rtol=1e-5, atol=1e-7)
  assert 0 < (got == 0).sum() < B
  fixed = losses.q_score_loss(H, D, eps=EPS, alpha=9.0, normalize=normalize)
  np.testing.assert_allclose(fixed, -q, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("normalize", [True, False])
def test_columns_above_the_mean_are_shrunk(normalize):
  _, rows = loop_parts(H, normalize)
  column = np.abs(rows).sum(0)
  printed = sum(c for c in column if c > column.mean())
  got = losses.column_loss(H, normalize=normalize)
  assert float(got.mean()) == pytest.approx(printed, rel=1e-5)
  balanced = losses.column_loss(H, normalize=normalize, reduction="mean")
  assert float(balanced.mean()) == pytest.approx(printed / (B * R), rel=1e-5)
  none = losses.column_loss(H, normalize=normalize, beta=1e6)
  np.testing.assert_array_equal(none, 0)


def test_the_printed_objective():
  q, rows = loop_parts(H)
  column = np.abs(rows).sum(0)
  expect = (
    -1e-4 * np.where(q < q.mean(), q, 0).mean()
    + 1e-4 * np.where(column > column.mean(), column, 0).sum()
  )
  terms = {
    "q": losses.q_score_loss(H, D, eps=EPS),
    "columns": losses.column_loss(H),
  }
  got, _ = losses.combine(terms, {"q": 1e-4, "columns": 1e-4})
  assert float(got) == pytest.approx(expect, rel=1e-5)


def test_lasso_is_its_equation():
  np.testing.assert_allclose(losses.lasso(-H), H.sum(1), rtol=1e-6)


def test_gradients_are_the_numeric_ones():
  # Away from the borders of the sets, which a step of 1e-3 must not cross.
  h = jnp.asarray(H[:4] + 0.05)
  rest = {"modes": ["rev"], "order": 1, "atol": 2e-2, "rtol": 2e-2}
  for normalize in (True, False):
    check_grads(
      lambda h, normalize=normalize: losses.q_score_loss(
        h, D, eps=EPS, alpha=5.0, normalize=normalize
      ),
      (h,),
      eps=1e-3,
      **rest,
    )
    check_grads(
      lambda h, normalize=normalize: losses.column_loss(
        h, beta=0.7, normalize=normalize, reduction="mean"
      ),
      (h,),
      eps=1e-3,
      **rest,
    )


def test_thresholds_are_constants():
  # Of the mean's own gradient the score's loss must not have any.
  q, _ = loop_parts(H)
  free = jax.grad(lambda h: losses.q_score_loss(h, D, eps=EPS).sum())(H)
  held = jax.grad(
    lambda h: losses.q_score_loss(
      h, D, eps=EPS, alpha=np.float32(q.mean())
    ).sum()
  )(H)
  np.testing.assert_allclose(free, held, rtol=1e-5, atol=1e-7)


def test_an_empty_set_moves_only_where_it_is_asked_to():
  h = np.ones((2, R), np.float32)
  h[:, np.flatnonzero(~D)[0]] = 30  # What stands out is not in D.
  h[1, np.flatnonzero(D)[2]] = 1.5

  def total(h, top):
    return losses.q_score_loss(h, D, alpha=5.0, top_if_empty=top).sum()

  np.testing.assert_array_equal(jax.grad(total)(h, False), 0)
  grad = jax.grad(total)(h, True)
  assert grad[1].argmin() == np.flatnonzero(D)[2]


@pytest.mark.parametrize("name", ["q", "columns"])
def test_four_devices_are_one(name):
  def step(h, rows, *, axis_name=None):
    h, where = h + rows["noise"], rows["where"]
    term = (
      losses.q_score_loss(h, D, eps=EPS, where=where, axis_name=axis_name)
      if name == "q"
      else losses.column_loss(h, where=where, axis_name=axis_name)
    )
    return losses.combine({"t": term}, {"t": 1.0}, where, axis_name)[0]

  def both(scale, rows, *, axis_name=None):
    def loss(scale):
      return step(scale[None] * rows["h"], rows, axis_name=axis_name)

    value, grad = jax.value_and_grad(loss)(scale)
    value, grad = accel.mean((value, grad), axis_name)
    return scale, {"value": value, "grad": grad}

  rows = {"h": H, "noise": 0 * H, "where": WHERE}
  scale = jnp.linspace(0.5, 2.0, R)
  _, alone = jax.jit(both)(scale, rows)
  run = accel.data_parallel(both, mode="pmap")
  _, spread = run(accel.place(scale), rows)
  for key in ("value", "grad"):
    np.testing.assert_allclose(spread[key], alone[key], rtol=1e-4, atol=1e-7)


def test_one_line_errors(unhooked):
  with pytest.raises(ValueError, match=r"discriminative is \(3,\), h is"):
    unhooked(losses.q_score_loss)(H, D[:3])
  with pytest.raises(ValueError, match="it is sum or mean"):
    unhooked(losses.column_loss)(H, reduction="max")
