"""Many members in one program: at once, in turn, over devices; the presets."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.methods.hyper_ensembles import arms, learner, plans, runs

SHAPE = (8, 8, 1)


def created(plan, seeds, tables, lams=None):
  """Members before their first step, made by one program."""
  make = jax.jit(functools.partial(runs.create, plan, SHAPE))
  return make(np.array(seeds, np.uint32), np.array(tables, np.int32), lams)


def alone(plan):
  return created(plan, [3], [1])


def test_a_tuning_step_is_due_every_third(plan_of, world):
  plan = plan_of("hyper", hyper={"every": 3, "warmup": 3, "rate": 0.1})
  step = jax.jit(runs.make_step(plan))
  state = alone(plan)
  moved = []
  for _ in range(7):
    new, _ = step(state, world)
    change = np.abs(new.members.bounds.low - state.members.bounds.low).max()
    moved.append(bool(change > 0))
    state = new
  assert moved == [False, False, False, False, False, True, False]


def test_untuned_bounds_stay(plan_of, world):
  plan = plan_of("hyper", hyper={"tune": False})
  state = alone(plan)
  assert state.members.tuner == ()
  step = jax.jit(runs.make_step(plan))
  for _ in range(3):
    state, _ = step(state, world)
  np.testing.assert_allclose(
    state.members.bounds.low[0], np.tile(plan.space.log_low, (3, 1)), rtol=1e-6
  )


def test_a_search_in_one_program_is_its_runs(plan_of, world):
  """Trap 15 as well: other keys are other members, the same ones are not."""
  plan = plan_of("single")
  train = runs.make_train(plan, SHAPE)
  seeds = jnp.array([5, 5, 6], jnp.uint32)
  lams = plan.space.draw(jax.random.key(0), 3)
  lams = lams.at[2].set(lams[0])
  together = jax.jit(jax.vmap(train, (0, 0, None)))(seeds, lams, world)
  alone = jax.jit(train)
  for i in range(3):
    one = alone(seeds[i], lams[i], world)
    for a, b in zip(
      jax.tree.leaves(one.params), jax.tree.leaves(together.params), strict=True
    ):
      np.testing.assert_allclose(b[i], a, rtol=1e-4, atol=1e-5)
  kernel = together.params["dense_0"]["kernel"]
  assert np.abs(kernel[0] - kernel[2]).max() > 0.1
  start = created(plan, seeds, [1] * 3, lams)
  kernel = start.members.params["dense_0"]["kernel"]
  np.testing.assert_array_equal(kernel[0], kernel[1])
  assert np.corrcoef(kernel[0].ravel(), kernel[2].ravel())[0, 1] < 0.2


@pytest.mark.parametrize("kind", ["single", "hyper"])
@pytest.mark.parametrize("split", [True, False])
def test_four_devices_are_one(plan_of, world, kind, split):
  """Members divided over the devices, or the rows of their batches."""
  # Adam would turn a gradient's last bit into a whole step.
  sgd = {"optimizer": "sgd", "learning_rate": 0.1}
  plan = plan_of(kind, split=split, hyper={"every": 1, "rate": 0.1}, **sgd)
  lams = None
  if kind == "single":
    lams = plan.space.draw(jax.random.key(0), 4)
  state = created(plan, range(4), [0, 1, 0, 1], lams)
  divided = runs.divided(state)
  step = runs.make_step(plan)
  results = []
  for devices in (1, 4):
    how = jax.devices()[:devices]
    spread = divided if split else None
    lifted = accel.data_parallel(
      step, data="replicated", devices=how, split=spread, donate=False
    )
    placed = accel.place(state, how, spread)
    data = accel.place(world, how)
    for _ in range(2):
      placed, found = lifted(placed, data)
    results.append((placed, found))
  one, four = results
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
    np.testing.assert_allclose(
      np.asarray(b), np.asarray(a), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["single", "batch", "hyper", "stn"])
def test_every_step_lowers_for_accelerators(plan_of, world, kind):
  plan = plan_of(kind, model="lenet")
  lam = None
  if kind in ("single", "batch"):
    lam = jax.eval_shape(lambda: jnp.zeros((4, 10)))
  state = jax.eval_shape(
    functools.partial(runs.create, plan, SHAPE),
    jax.ShapeDtypeStruct((4,), jnp.uint32),
    jax.ShapeDtypeStruct((4,), jnp.int32),
    lam,
  )
  spread = runs.divided(state)
  lifted = accel.data_parallel(
    runs.make_step(plan), mode="shard_map", data="replicated", split=spread
  )
  exported = lifted.export(state, world, ("cuda", "tpu"))
  assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize("devices", [1, 2])
def test_parts_are_the_whole(plan_of, world, devices):
  """Networks side by side in one loop, tuned every other step."""
  sgd = {"optimizer": "sgd", "learning_rate": 0.1}
  plan = plan_of("hyper", hyper={"every": 2, "rate": 0.1}, **sgd)
  state = created(plan, range(4), [0, 1, 0, 1])
  how, split = jax.devices()[:devices], runs.divided(state)
  data = accel.place((world, np.int32(3)), how)
  results = []
  for parts in (1, 2):
    run = accel.data_parallel(
      accel.scan_steps(runs.make_step(plan), split, parts),
      data="replicated",
      devices=how,
      split=split,
    )
    results.append(jax.device_get(run(accel.place(state, how, split), data)))
  whole, parted = map(jax.tree.leaves, results)
  for a, b in zip(whole, parted, strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
  assert int(results[1][1][1]) == 3


def test_members_one_after_another_are_those_at_once(plan_of, world):
  plan = plan_of("single")
  lams = plan.space.draw(jax.random.key(0), 3)
  state = created(plan, range(3), [0] * 3, lams)

  def one(member):
    return learner.train(plan, member, jnp.int32(0), world)[1]

  at_once, in_turn = (
    jax.jit(lambda m, n=n: runs.over_members(one, m, n))(state.members)
    for n in (3, 2)
  )
  np.testing.assert_allclose(in_turn, at_once, rtol=1e-5)


def shallow(plan):
  """Puts a residual network of one block a group in the plan's place of it."""
  assert plan.net.blocks > 1
  plan.__dict__["net"] = plan.net.clone(blocks=1)


@pytest.mark.parametrize(
  ("preset", "kind"),
  [("paper", "hyper"), ("paper_cifar100", "single"), ("paper_lenet", "batch")],
)
def test_the_papers_presets_take_a_step(preset, kind):
  """Shapes alone: nothing is computed.

  Two members are what four would be, and one block of a group what four.
  """
  config = dataclasses.replace(arms.PRESETS[preset], members=2)
  size = (28, 28, 1) if "lenet" in preset else (32, 32, 3)
  plan = plans.Plan(config, kind, 10, config.data.train)
  if config.model != "lenet":
    shallow(plan)
  n, v = config.data.train, config.data.val
  of = jax.ShapeDtypeStruct
  shapes = {
    "image": of((n + v, *size), jnp.uint8),
    "label": of((n + v,), jnp.int32),
    "train": of((1, n), jnp.int32),
    "train_label": of((1, n), jnp.int32),
    "val": of((1, v), jnp.int32),
  }
  h = len(plan.space.names)
  lams = None if kind == "hyper" else of((2, h), jnp.float32)
  state = jax.eval_shape(
    functools.partial(runs.create, plan, size),
    of((2,), jnp.uint32),
    of((2,), jnp.int32),
    lams,
  )
  after, found = jax.eval_shape(runs.make_step(plan), state, shapes)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert found["loss"].total.shape == ()
  # 250 epochs of 47,500 images; a decay at 100, 200 and 225.
  if preset == "paper":
    assert plan.steps == 250 * (47_500 // 128)
    rates = [
      float(plans.schedule(config, plan.steps)(371 * epoch))
      for epoch in (1, 99, 101, 199, 201, 224, 226)
    ]
    expect = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008]
    np.testing.assert_allclose(rates, expect, rtol=1e-4)
