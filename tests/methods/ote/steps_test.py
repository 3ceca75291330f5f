import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax import accel, fields
from kd_jax.methods.ote import arms, batches, inputs, state, steps
from kd_jax.methods.ote import model as models

ARMS = ("ote", "gc_ote")


def make(graph, config, arm, **values):
  own = fields.override(arms.of_arm(config, arm), values)
  sizes = inputs.sizes(graph)
  made = state.create_state(own, own.first, 3, *sizes[:2])
  return own, sizes, made, inputs.training(graph, own)


def plain_loss(own, sizes, params, batch, edges, side):
  """Section 4 of the paper page on a batch's scores, in NumPy's words."""
  o = steps.forward(own, own.first, params, batch, edges, side)
  p = jax.nn.softmax(own.first.temperature * o.negative)
  p = jax.lax.stop_gradient(p)
  lost = -jnp.log(jax.nn.sigmoid(o.positive))
  against = -(p * jnp.log(jax.nn.sigmoid(-o.negative))).sum(1)
  w = batch.weight
  return ((w * lost).sum() / w.sum() + (w * against).sum() / w.sum()) / 2


@pytest.mark.parametrize("arm", ARMS)
def test_a_step_is_two_optimizer_steps_on_the_weighted_loss(graph, config, arm):
  own, sizes, made, data = make(graph, config, arm)
  # Plain descent: Adam's first steps turn rounding errors of gradients that
  # are 0 (along the scale of a block) into whole steps.
  tx, params = optax.sgd(0.5), made.params
  made = made.replace(opt_state=tx.init(params))
  step = steps.make_train_step(own, own.first, sizes, tx=tx)
  after, metrics = jax.jit(step)(made, data)
  opt_state, losses = tx.init(params), []
  for side in models.SIDES:
    batch = batches.draw_batch(own, own.first, sizes, made, data, side)
    loss, grads = jax.jit(
      jax.value_and_grad(
        lambda p, b=batch, s=side: plain_loss(
          own, sizes, p, b, data["edges"], s
        )
      )
    )(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    losses.append(float(loss))
  assert int(after.step) == 1
  np.testing.assert_allclose(
    float(metrics["loss"].total), sum(losses), rtol=1e-5
  )
  for a, b in zip(
    jax.tree.leaves(after.params), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_batches_are_training_triples_and_draws_that_are_not(graph, config):
  own, sizes, made, data = make(graph, config, "ote")
  train = set(map(tuple, graph.train.tolist()))
  seen = {side: [] for side in models.SIDES}
  epoch = len(graph.train) // own.first.batch_size
  for step in range(epoch):
    at = made.replace(step=jnp.int32(step))
    for side in models.SIDES:
      b = batches.draw_batch(own, own.first, sizes, at, data, side)
      for i, (kept, r) in enumerate(zip(b.kept, b.relation, strict=True)):
        answer, *others = b.candidates[i].tolist()

        def triple(e, kept=int(kept), r=int(r), side=side):
          return (kept, r, e) if side == "tail" else (e, r, kept)

        assert triple(answer) in train
        assert not {triple(e) for e in others} & train
        assert tuple(graph.train[b.triples[i]]) == triple(answer)
        seen[side].append(triple(answer))
  for side in models.SIDES:  # Each triple once per epoch and side.
    assert sorted(seen[side]) == sorted(train)
  assert seen["tail"] != seen["head"]


def test_no_subsampling_weighs_alike(graph, config):
  own, sizes, made, data = make(
    graph, config, "ote", **{"loss.subsampling": False}
  )
  batch = batches.draw_batch(own, own.first, sizes, made, data, "tail")
  assert (np.asarray(batch.weight) == 1).all()


def test_adam_moves_rows_that_have_no_gradient(graph, config):
  own, sizes, made, data = make(graph, config, "ote")
  step = jax.jit(steps.make_train_step(own, own.first, sizes))
  first, _ = step(made, data)
  adam = first.opt_state[0]
  # With no gradient at all, a dense update still follows the momentum.
  zeros = jax.tree.map(jnp.zeros_like, first.params)
  updates, _ = state.optimizer(own.first).update(zeros, first.opt_state)
  moved = np.abs(updates["entity"]).max(1) > 0
  had = np.abs(adam.mu["entity"]).max(1) > 0
  np.testing.assert_array_equal(moved, had)
  assert had.sum() > 10


def test_the_rate_falls_in_stairs(config):
  stage = dataclasses.replace(config.first, decay_every=3, decay=0.5)
  tx = state.optimizer(stage)
  params = jnp.zeros(1)
  opt_state, rates = tx.init(params), []
  for _ in range(7):
    updates, opt_state = tx.update(jnp.ones(1), opt_state)
    rates.append(-float(updates[0]))
  first = stage.learning_rate
  wanted = [first] * 3 + [first / 2] * 3 + [first / 4]
  np.testing.assert_allclose(rates, wanted, rtol=1e-4)


def test_the_penalty_is_over_whole_tables(graph, config):
  own, sizes, made, data = make(graph, config, "distmult", **{"loss.l3": 0.1})
  batch = batches.draw_batch(own, own.first, sizes, made, data, "tail")
  o = steps.forward(own, own.first, made.params, batch, {}, "tail")
  cubes = sum(
    (np.abs(np.asarray(x)) ** 3).sum() for x in jax.tree.leaves(made.params)
  )
  np.testing.assert_allclose(o.l3, cubes, rtol=1e-5)


def lifted(graph, config, arm, devices, shard, pairs=2):
  """Parameters, and the gradients' length, after some pairs of steps."""
  own, sizes, made, data = make(
    graph, config, arm, **{"shard_entities": shard, "loss.l3": 1e-3}
  )
  tx = optax.sgd(0.5, momentum=0.9)
  made = made.replace(opt_state=tx.init(made.params))
  split = state.divided(made) if shard else None
  places = jax.devices()[:devices]
  run = accel.data_parallel(
    steps.make_train_step(own, own.first, sizes, tx=tx),
    mode="jit" if devices == 1 else "shard_map",
    devices=places,
    data="replicated",
    split=split,
  )
  made, data = accel.place(made, places, split), accel.place(data, places)
  for _ in range(pairs):
    made, metrics = run(made, data)
  count = len(graph.entities)
  params = jax.device_get(made.params)
  params["entity"] = params["entity"][:count]
  return params, {k: float(v.total / v.count) for k, v in metrics.items()}


@pytest.mark.parametrize("arm", ["rotate", "gc_ote"])
def test_devices_change_nothing_and_may_share_the_table(graph, config, arm):
  wanted, metrics = lifted(graph, config, arm, 1, False)
  for shard in (False, True):
    found, others = lifted(graph, config, arm, 4, shard)
    for a, b in zip(
      jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
    ):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name, value in metrics.items():
      np.testing.assert_allclose(others[name], value, rtol=1e-3, err_msg=name)


def test_shared_tables_have_the_same_scores_and_gradients(graph, config):
  own, sizes, made, data = make(
    graph, config, "ote", **{"shard_entities": True}
  )
  places = jax.devices()[:4]
  split = {"params": state.divided(made.params)}

  def run(carried, data, *, axis_name=None):
    whole = made.replace(params=carried["params"])
    batch = batches.draw_batch(
      own, own.first, sizes, whole, data, "tail", axis_name
    )

    def loss(params):
      o = steps.forward(own, own.first, params, batch, {}, "tail", axis_name)
      return jnp.square(o.negative).mean() + o.positive.mean(), o

    grads, o = jax.grad(loss, has_aux=True)(carried["params"])
    grads = steps.mean_gradients(own, grads, axis_name)
    scores = jnp.concatenate([o.positive[:, None], o.negative], 1)
    return {"params": grads}, accel.all_gather(scores, axis_name)

  start = {"params": made.params}
  wanted, scores = run(start, data)
  shared = accel.data_parallel(
    run, devices=places, data="replicated", donate=False, split=split
  )
  found, others = shared(
    accel.place(start, places, split), accel.place(data, places)
  )
  assert not found["params"]["entity"].is_fully_replicated
  np.testing.assert_allclose(others, scores, rtol=1e-5)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shard", [False, True])
def test_the_step_lowers_for_accelerators(graph, config, shard):
  own, sizes, made, data = make(
    graph, config, "gc_ote_gat", **{"shard_entities": shard}
  )
  run = accel.data_parallel(
    steps.make_train_step(own, own.first, sizes),
    mode="shard_map",
    data="replicated",
    split=state.divided(made) if shard else None,
  )
  for platform in ("cuda", "tpu"):
    assert run.export(made, data, [platform]).platforms == (platform,)
