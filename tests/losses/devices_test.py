"""Every loss that sees other devices' rows: one device is four.

Values and the gradients of shared parameters, under the three maps, with rows
that count falling unevenly on the devices; and what a wrong rule would give.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, losses

RNG = np.random.default_rng(9)
X, Y = RNG.normal(size=(2, 16, 6)).astype(np.float32)
W = RNG.normal(size=(6, 5)).astype(np.float32) / 2
QUEUE = RNG.normal(size=(7, 5)).astype(np.float32)
MASKS = {
  "all": np.ones(16, bool),
  # Of one device's rows none counts.
  "uneven": np.array([1, 1, 0, 1] + [0] * 4 + [1] * 8, bool),
}


def _swav(z, u, *, axis_name, where):
  codes = losses.sinkhorn_codes(
    jnp.tanh(z), jnp.tanh(QUEUE), axis_name=axis_name, where=where
  )
  moving = losses.sinkhorn_codes(
    jnp.tanh(z),
    epsilon=0.5,
    axis_name=axis_name,
    where=where,
    stop_gradient=False,
  )
  return losses.swapped_prediction(
    jnp.stack([z, u]),
    jnp.stack([moving, codes]),
    where=where,
    stop_target_gradient=False,
  )


def _queued(z, u, *, axis_name, where):
  del axis_name
  return losses.info_nce_queue(z, u, QUEUE, temperature=0.3, where=where)


CASES = {
  "nt_xent": lambda z, u, **how: losses.nt_xent(z, u, temperature=0.3, **how),
  "info_nce_batch": lambda z, u, **how: losses.info_nce_batch(
    z, u, temperature=0.3, stop_target_gradient=False, **how
  ),
  "info_nce_queue": _queued,
  "swav": _swav,
  "barlow_twins": losses.barlow_twins,
  "variance_hinge": lambda z, u, **how: losses.variance_hinge(
    z, floor=3.0, **how
  ),
  "covariance_penalty": lambda z, u, **how: losses.covariance_penalty(z, **how),
}


def _step(fn):
  def step(w, data, *, axis_name=None):
    def loss(w):
      z, u = (
        jnp.matmul(a, w, precision="highest") for a in (data["x"], data["y"])
      )
      value = fn(z, u, axis_name=axis_name, where=data["where"])
      terms, weights = {"loss": value}, {"loss": 1.0}
      return losses.combine(terms, weights, data["where"], axis_name)[0]

    return accel.mean(jax.value_and_grad(loss)(w), axis_name)

  return step


@pytest.mark.parametrize("mode", ["pmap", "shard_map", "jit"])
@pytest.mark.parametrize("name", CASES)
def test_one_device_equals_four(name, mode):
  step = _step(CASES[name])
  four = accel.data_parallel(step, mode=mode, donate=False)
  for where in MASKS.values():
    data = {"x": X, "y": Y, "where": where}
    value, grad = four(W, data)
    expected, exact = step(W, data)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(grad, exact, rtol=1e-4, atol=1e-5)
    accel.check_replicated(grad)
    assert np.abs(exact).max() > 1e-2


def test_a_gathered_row_must_have_its_gradient():
  """With gathered rows held constant the direction is another one."""

  def held(z, u, *, axis_name, where):
    del where
    others = accel.all_gather((z, u), axis_name)
    others = jax.lax.stop_gradient(jnp.concatenate(others))
    logits = jnp.concatenate([z, u]) @ others.T / 3
    return jax.nn.logsumexp(logits, -1).reshape(2, -1).mean(0)

  def whole(z, u, *, axis_name, where):
    del where
    others = jnp.concatenate(accel.all_gather((z, u), axis_name))
    logits = jnp.concatenate([z, u]) @ others.T / 3
    return jax.nn.logsumexp(logits, -1).reshape(2, -1).mean(0)

  data = {"x": X, "y": Y, "where": MASKS["all"]}
  exact = _step(whole)(W, data)[1]
  found = {}
  for name, fn in (("held", held), ("whole", whole)):
    lifted = accel.data_parallel(_step(fn), mode="pmap", donate=False)
    found[name] = np.asarray(lifted(W, data)[1])
  np.testing.assert_allclose(found["whole"], exact, rtol=1e-4, atol=1e-5)
  assert np.abs(found["held"] - exact).max() > 0.1 * np.abs(exact).max()
