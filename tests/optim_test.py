import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax import optim

RNG = np.random.default_rng(3)
P = {
  "kernel": RNG.normal(size=(4, 3)).astype(np.float32),
  "zero": np.zeros((2, 2), np.float32),
  "bias": RNG.normal(size=3).astype(np.float32),
  "still": RNG.normal(size=(2, 3)).astype(np.float32),
  "pausing": RNG.normal(size=(3, 2)).astype(np.float32),
}
GRADS = [
  {k: RNG.normal(size=v.shape).astype(np.float32) for k, v in P.items()}
  for _ in range(3)
]
for grads in GRADS:
  grads["still"][:] = 0
GRADS[1]["pausing"][:] = 0
RATES = [0.3, 0.2, 0.05]


def _rate(step):
  return jnp.asarray(RATES)[step]


def _ours(tx, held=()):
  params, state = jax.tree.map(jnp.asarray, P), tx.init(P)
  trail = []
  for grads in GRADS:
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    trail.append(params)
  return trail


def _by_hand(ratio, decay):
  """Momentum .9, the rate multiplied last; float64, array by array."""
  params = {k: v.astype(float) for k, v in P.items()}
  buffers = dict.fromkeys(P, 0.0)
  trail = []
  for grads, rate in zip(GRADS, RATES, strict=True):
    for name, p in params.items():
      g = grads[name].astype(float)
      if p.ndim > 1:
        g = ratio(p, g, rate, decay)
      buffers[name] = 0.9 * buffers[name] + g
      params[name] = p - rate * buffers[name]
    trail.append(dict(params))
  return trail


def _eta001(p, g, rate, decay):
  g = g + decay * p
  up, down = np.linalg.norm(p), np.linalg.norm(g)
  return g * (0.001 * up / down if up > 0 and down > 0 else 1)


def _clip_eta02(p, g, rate, decay):
  up, down = np.linalg.norm(p), np.linalg.norm(g)
  if not up or not down:
    return g
  local = 0.02 * up / (down + decay * up)
  return (g + decay * p) * min(local / rate, 1)


@pytest.mark.parametrize(
  ("make", "ratio"),
  [(optim.lars, _eta001), (optim.lars_clipped, _clip_eta02)],
)
def test_lars_by_hand(make, ratio):
  ours = _ours(make(_rate, weight_decay=0.1))
  for got, expected in zip(ours, _by_hand(ratio, 0.1), strict=True):
    for name in P:
      np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)


def test_clipped_lars_is_never_longer_than_plain_descent():
  """At a small rate it is that, decay and all."""
  rate = 1e-3
  ours = _ours(optim.lars_clipped(rate, weight_decay=0.1))[0]["kernel"]
  p, g = P["kernel"].astype(float), GRADS[0]["kernel"]
  np.testing.assert_allclose(ours, p - rate * (g + 0.1 * p), rtol=1e-6)


def test_without_a_gradient_clipped_lars_does_not_decay_and_lars_does():
  still, pausing = P["still"], P["pausing"]
  trail = _ours(optim.lars_clipped(_rate, weight_decay=0.1))
  np.testing.assert_array_equal(trail[2]["still"], still)
  # The second step is the buffer's alone: .9 of the first, of another rate.
  first, second = trail[0]["pausing"] - pausing, trail[1]["pausing"]
  second = second - trail[0]["pausing"]
  np.testing.assert_allclose(second, first * 0.9 * 0.2 / 0.3, rtol=1e-4)
  # eta |p| / |decay p| of the decay: eta of the array itself.
  trail = _ours(optim.lars(_rate, weight_decay=0.1))
  np.testing.assert_allclose(
    trail[0]["still"], still * (1 - 0.3 * 0.001), rtol=1e-6
  )


def test_the_rate_outside_differs_from_optax_while_it_changes():
  def theirs(rate):
    return optax.lars(
      rate,
      weight_decay=0.1,
      weight_decay_mask=optim.is_matrix,
      trust_ratio_mask=optim.is_matrix,
    )

  for rate, same in ((0.2, True), (_rate, False)):
    ours = _ours(optim.lars(rate, weight_decay=0.1))[-1]["kernel"]
    other = _ours(theirs(rate))[-1]["kernel"]
    assert np.allclose(ours, other, rtol=1e-5) == same


def test_each_array_is_clipped_by_itself():
  clip = optim.clip_each(1.0)
  grads = {"large": jnp.full((2, 2), 3.0), "small": jnp.full(2, 0.1)}
  got, _ = clip.update(grads, clip.init(grads))
  np.testing.assert_allclose(jnp.linalg.norm(got["large"]), 1, rtol=1e-5)
  np.testing.assert_array_equal(got["small"], grads["small"])


def test_held_arrays_stay_and_then_move_as_if_they_began():
  def tx(rate):
    return optim.lars(rate, weight_decay=0.1)

  trail = _ours(optim.hold(tx(_rate), 2))
  for name, p in P.items():
    np.testing.assert_array_equal(trail[1][name], p)
  # The third update: the schedule went on, the momentum is fresh.
  fresh = tx(0.05)
  updates, _ = fresh.update(GRADS[2], fresh.init(P), P)
  for name, p in optax.apply_updates(P, updates).items():
    np.testing.assert_allclose(trail[2][name], p, rtol=1e-5)


def test_a_held_adam_counts_the_steps_that_it_was_held():
  """Its first free step is corrected as the third: shorter than a fresh one."""
  rate, decay = 0.01, 0.1

  def tx():
    return optax.adamw(rate, weight_decay=decay, mask=optim.is_matrix)

  trail = _ours(optim.hold(tx(), 2))
  # Of moments that hold one gradient, (.1 g, .001 g^2).
  length = (0.1 / (1 - 0.9**3)) / np.sqrt(0.001 / (1 - 0.999**3))
  assert 0.63 < length < 0.65
  for name in ("kernel", "bias"):
    p, g = P[name].astype(float), GRADS[2][name]
    np.testing.assert_array_equal(trail[1][name], P[name])
    decayed = decay * p if p.ndim > 1 else 0
    expected = p - rate * (length * np.sign(g) + decayed)
    np.testing.assert_allclose(trail[2][name], expected, rtol=1e-5, atol=1e-6)
  fresh = tx()
  updates, _ = fresh.update(GRADS[2], fresh.init(P), P)
  expected = -rate * np.sign(GRADS[2]["bias"])
  np.testing.assert_allclose(updates["bias"], expected, rtol=1e-4)


def test_schedules():
  rise = optim.warmup_cosine(0.4, 100, warmup=10, end=0.1)
  np.testing.assert_allclose(rise(5), 0.2, rtol=1e-5)
  np.testing.assert_allclose(rise(10), 0.4, rtol=1e-5)
  np.testing.assert_allclose(rise(100), 0.1, rtol=1e-5)
  np.testing.assert_allclose(optim.warmup_cosine(0.4, 100)(50), 0.2, rtol=1e-5)
  keep = optim.cosine_between(0.99, 1.0, 100)
  values = [0.99, 0.995, 1.0, 1.0]
  got = [keep(t) for t in (0, 50, 100, 120)]
  np.testing.assert_allclose(got, values, rtol=1e-6)


def test_a_slow_copy_need_not_have_everything():
  old = {"a": {"w": jnp.float32(1)}}
  new = {"a": {"w": jnp.float32(3)}, "predictor": jnp.float32(7)}
  assert optim.ema(old, new, 0.75) == {"a": {"w": 1.5}}
