"""A member's objective, steps and tuning, against plain statements."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax.methods.hyper_ensembles import (
  bounds,
  inputs,
  learner,
  plans,
  tuning,
)

SHAPE = (8, 8, 1)
SEED, TABLE = np.uint32(3), np.int32(1)


@functools.cache
def created(plan):
  """As one program for all tests of a plan."""
  return jax.jit(functools.partial(learner.create, plan, SHAPE, SEED, TABLE))


def member_of(plan, lam=None):
  return created(plan)(lam)


def objective(plan, x, y, lam):
  """Of the parameters, with its gradient and what it found on its way."""

  @jax.jit
  def both(params):
    return jax.value_and_grad(learner.objective, has_aux=True)(
      params, {}, plan, x, y, lam, jnp.zeros(2, jnp.uint32), jnp.arange(8)
    )

  return both


def trained(plan, member, step, world):
  return jax.jit(functools.partial(learner.train, plan))(member, step, world)


def tuned(plan, member, step, world):
  return jax.jit(functools.partial(tuning.tune, plan))(member, step, world)


def vector(plan, l2=2.0, dropout=0.0):
  rates = [l2 if n.startswith("l2") else dropout for n in plan.space.names]
  return jnp.array(rates, jnp.float32)


def batch_of(plan, world, n=8):
  x = inputs.pixels(plan, world["image"][:n])[None]
  return x, world["label"][:n]


def logits_by_hand(params, x, k):
  """The mlp of member k, kernels built."""
  h = np.asarray(x, np.float64).reshape(len(x), -1)
  for i in range(2):
    p = params[f"dense_{i}"]
    w = np.asarray(p["kernel"], np.float64)
    if "r" in p:
      w = w * np.asarray(p["r"])[k][:, None] * np.asarray(p["s"])[k]
    h = h @ w + np.asarray(p["bias"])[k]
    h = np.maximum(h, 0) if i == 0 else h
  return h


@pytest.mark.parametrize("kind", ["single", "batch"])
def test_the_objective_is_the_members_cross_entropies_and_l2_over_n(
  plan_of, world, kind
):
  plan = plan_of(kind)
  lam = vector(plan, 2.0)
  member = member_of(plan, lam)
  x, y = batch_of(plan, world)
  lam = jnp.broadcast_to(lam, (plan.members, 1, len(lam)))
  (value, (_, each)), _ = objective(plan, x, y, lam)(member.params)
  nll = []
  for k in range(plan.members):
    z = logits_by_hand(member.params, x[0], k)
    nll.append(optax.losses.softmax_cross_entropy_with_integer_labels(z, y))
  np.testing.assert_allclose(each, np.mean(nll, 0), rtol=1e-4)
  # Trap 3: coefficients are of the whole data set, 40 images.
  squares = sum(
    float(jnp.square(p["kernel"]).sum())
    + float(jnp.square(p["bias"]).sum()) / plan.members
    for p in member.params.values()
  )
  expect = np.mean(nll) + 2.0 * squares / 40
  assert float(value) == pytest.approx(expect, rel=1e-5)


def test_smoothing_is_of_each_member_and_example(plan_of, world):
  plan = plan_of("single", tuned=("l2", "smoothing"))
  x, y = batch_of(plan, world)
  member = member_of(plan, jnp.full(3, 1e-3))
  lam = jnp.full((1, 8, 3), 1e-6).at[..., 2].set(jnp.linspace(0.01, 0.2, 8))
  (_, (_, each)), _ = objective(plan, x, y, lam)(member.params)
  log_p = jax.nn.log_softmax(logits_by_hand(member.params, x[0], 0))
  e = np.linspace(0.01, 0.2, 8)[:, None]
  target = (1 - e) * np.eye(10)[y] + e / 10
  np.testing.assert_allclose(each, -(target * log_p).sum(-1), rtol=1e-4)


def test_a_step_is_the_plain_gradient_step(plan_of, world):
  """The drawn rows, the objective's gradient, sgd with momentum."""
  plan = plan_of("single", optimizer="sgd", learning_rate=0.1)
  lam = vector(plan, 0.5, 1e-9)
  member = member_of(plan, lam)
  after, loss = trained(plan, member, jnp.int32(0), world)
  from kd_jax.datasets import pipeline

  at = pipeline.host_rows(int(SEED), 0, 8, 40)
  rows = np.asarray(world["train"])[TABLE, at]
  x = inputs.pixels(plan, world["image"][rows])[None]
  y = np.asarray(world["label"])[rows]

  _, grads = objective(plan, x, y, lam[None, None])(member.params)
  # Nesterov's first step: 1 + 0.9 times the gradient.
  expect = jax.tree.map(lambda p, g: p - 0.1 * 1.9 * g, member.params, grads)
  for a, b in zip(
    jax.tree.leaves(after.params), jax.tree.leaves(expect), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  for k in ("low", "high"):
    np.testing.assert_array_equal(
      getattr(after.bounds, k), getattr(member.bounds, k)
    )
  assert np.isfinite(loss)


def test_fast_weights_move_half_as_far_under_adam(plan_of):
  """Trap 7: Adam does not see a gradient's scale; its update is scaled."""
  for kind, slow in (
    ("batch", {"r", "s", "bias"}),
    ("hyper", {"r", "s"}),
  ):
    plan = plan_of(kind)
    member = member_of(plan, None if kind == "hyper" else vector(plan))
    ones = jax.tree.map(jnp.ones_like, member.params)
    found, _ = plan.tx.update(ones, member.opt_state, member.params)
    for path, x in jax.tree_util.tree_leaves_with_path(found):
      half = path[-1].key in slow
      rate = 3e-3 * (0.5 if half else 1.0)
      np.testing.assert_allclose(x, -rate, rtol=1e-3, err_msg=str(path))


def test_a_norms_scale_is_no_fast_weight():
  keys = jax.tree_util.DictKey
  assert not plans.is_fast((keys("norm_init"), keys("scale")), "batch")
  assert plans.is_fast((keys("dense"), keys("bias")), "batch")
  assert not plans.is_fast((keys("dense"), keys("bias")), "hyper")
  assert plans.is_fast((keys("conv_init"), keys("r")), "hyper")


def ready(plan):
  """A tuning member whose embedding is large enough to matter."""
  member = member_of(plan)
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: x * 50 if "embedding" in jax.tree_util.keystr(path) else x,
    member.params,
  )
  return member.replace(params=params)


def test_the_tuning_loss_is_of_the_mean_probability_less_entropy(
  plan_of, world
):
  plan = plan_of("hyper", hyper={"tau": 0.1})
  member = ready(plan)
  x, y = batch_of(plan, world)
  u = jax.random.uniform(jax.random.key(0), (3, 8, len(plan.space.names)))
  got = jax.jit(lambda *of: tuning.tuning_loss(of[0], plan, *of[1:]))(
    member.bounds, member, x, y, u
  )
  low, high = map(np.asarray, member.bounds)
  lam = np.exp(low[:, None] + np.asarray(u) * (high - low)[:, None])
  z = (
    2
    * (np.log(lam) - plan.space.log_low)
    / (plan.space.log_high - plan.space.log_low)
    - 1
  )
  from kd_jax.methods.hyper_ensembles.networks import Given

  logits = plan.net.apply(
    {"params": member.params}, x, Given(z=jnp.asarray(z)), train=False
  )
  p = np.asarray(jax.nn.softmax(logits))[:, np.arange(8), y].mean(0)
  entropy = (low + high) / 2 + np.log(high - low)
  expect = -np.log(p).mean() - 0.1 * entropy.mean()
  assert float(got) == pytest.approx(expect, rel=1e-4)


def test_tuning_moves_bounds_alone_and_training_weights_alone(plan_of, world):
  """Traps 10 and 11; and no gradient reaches xi in training."""
  plan = plan_of("hyper", hyper={"rate": 10.0, "bounds": "inner"})
  member = ready(plan)
  new = tuned(plan, member, jnp.int32(2), world)
  for a, b in zip(
    jax.tree.leaves((new.params, new.opt_state, new.model_state)),
    jax.tree.leaves((member.params, member.opt_state, member.model_state)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  assert np.abs(new.bounds.low - member.bounds.low).max() > 0.1
  # A step as wild as this is clipped into the box.
  low, high = map(np.asarray, new.bounds)
  assert (low >= plan.space.log_low - 1e-5).all()
  assert (high <= plan.space.log_high + 1e-5).all()
  assert (new.bounds.high > new.bounds.low).all()
  after, _ = trained(plan, member, jnp.int32(2), world)
  np.testing.assert_array_equal(after.bounds.low, member.bounds.low)
  assert after.params["dense_0"]["delta"].shape == (64, 6)
  moved = after.params["dense_0"]["delta"] - member.params["dense_0"]["delta"]
  assert np.abs(moved).max() > 0


def test_statistics_stay_while_bounds_are_tuned(plan_of, world):
  plan = plan_of("hyper", model="resnet20", tuned=("l2",))
  plan.__dict__["net"] = plan.net.clone(blocks=1)
  member = jax.eval_shape(lambda: member_of(plan))

  # In the jaxpr of a tuning step the statistics go in and come out untouched.
  def stats(m):
    new = tuning.tune(plan, m, jnp.int32(0), world)
    assert jax.tree.structure(new) == jax.tree.structure(m)
    return new.model_state

  jaxpr = jax.make_jaxpr(stats)(member).jaxpr
  assert all(out in jaxpr.invars for out in jaxpr.outvars)


def test_lambda_is_of_each_example_or_of_a_batch(plan_of):
  key = jnp.array([1, 2], jnp.uint32)
  rows = jnp.arange(8)
  for per, shape in (("example", (3, 8, 4)), ("batch", (3, 1, 4))):
    plan = plan_of("hyper", hyper={"rows": per})
    u = inputs.uniforms(plan, key, rows, plan.rows)
    assert u.shape == shape
    assert len(np.unique(np.asarray(u))) == u.size
  # By the row's place, whatever device it is on.
  plan = plan_of("hyper")
  part = inputs.uniforms(plan, key, rows[4:], "example")
  whole = inputs.uniforms(plan, key, rows, "example")
  np.testing.assert_array_equal(part, whole[:, 4:])


def test_prediction_is_at_the_mean_lambda(plan_of, world):
  plan = plan_of("hyper")
  member = ready(plan)
  x, _ = batch_of(plan, world)
  mean = bounds.at(bounds.mean(member.bounds))
  predict = jax.jit(functools.partial(learner.predict, plan))
  same = predict(member.replace(bounds=mean), x[0])
  found = predict(member, x[0])
  np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-5)
  assert found.shape == (3, 8, 10)
  more = jax.jit(functools.partial(learner.predict, plan, samples=2))(
    member, x[0]
  )
  assert more.shape == (9, 8, 10)
  np.testing.assert_allclose(more[:3], found, rtol=1e-4, atol=1e-5)
  assert np.abs(more[3:6] - found).max() > 1e-4
