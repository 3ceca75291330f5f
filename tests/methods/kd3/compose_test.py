"""Taking kd3 apart: terms of one's own, a network of one's own, own loops."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd_jax
from kd_jax import accel, backbones, fields, losses, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.kd3 import selection, steps
from kd_jax.training.state import step_key


class Mine(nn.Module):
  """A flax model without batch statistics, or anything of ours but the head."""

  num_classes: int
  axis_name: str | None = None
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, *, train, where=None):
    x = nn.gelu(nn.Conv(5, (3, 3), strides=2)(x))
    return backbones.Head(self.num_classes, name="head")(x)


@pytest.fixture
def mine():
  backbones.register("mine", Mine)
  yield "mine"
  del backbones.NAMES["mine"]


def attention(outputs, batch, *, axis_name=None):
  maps = outputs.projected, outputs.fT
  found = losses.attention_transfer(*maps, where=batch.get("where"))
  return {"attention": found}


def test_attention_transfer_is_added_to_the_loss(config, batch, make_state):
  state = make_state(config)
  plain = jax.jit(steps.make_train_step(config))
  extra = jax.jit(
    steps.make_train_step(config, extra_terms=[(attention, {"attention": 0.7})])
  )
  (_, before), (_, after) = plain(state, batch), extra(state, batch)
  before, after = metrics.compute(before), metrics.compute(after)
  assert after["attention"] > 0
  total = before["loss"] + 0.7 * after["attention"]
  np.testing.assert_allclose(after["loss"], total, rtol=1e-5)


def test_forward_and_terms_in_a_loop_of_one_s_own(config, batch, make_state):
  """An optax loop without our step gives our step's parameters."""
  state = make_state(config)
  tx = optax.sgd(0.1)
  weights = steps.weights(config)

  @jax.jit
  def own_step(params, opt_state, state, batch):
    key = step_key(state)

    def loss_fn(params):
      outputs, _ = steps.forward(config, params, state, batch, key)
      terms = steps.terms(config, outputs, batch)
      return losses.combine(terms, weights, where=batch["where"])

    grads, parts = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, parts

  state = state.replace(opt_state=tx.init(state.params))
  params, _, parts = own_step(state.params, state.opt_state, state, batch)
  new, found = jax.jit(steps.make_train_step(config, tx=tx))(state, batch)
  for a, b in zip(*map(jax.tree.leaves, (params, new.params)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  parts, found = metrics.compute(parts), metrics.compute(found)
  for name in parts:
    np.testing.assert_allclose(parts[name], found[name], rtol=1e-5)


@pytest.mark.parametrize("mode", ["pmap", "shard_map"])
def test_a_student_of_one_s_own_on_one_device_and_four(
  mine, config, columns, make_state, mode
):
  config = fields.override(config, {"student.name": mine})
  step = pipeline.from_columns(
    steps.make_train_step(
      config, extra_terms=[(attention, {"attention": 1.0})]
    ),
    config.batch_size,
    draw=selection.draw,
  )
  lift = functools.partial(accel.data_parallel, donate=False)
  state = make_state(config)
  single = {"devices": jax.devices()[:1], "data": "replicated"}
  one, logged = lift(step, **single)(state, columns)
  run = lift(step, mode=mode, data="replicated")
  four, also = run(accel.place(state), accel.place(columns))
  for a, b in zip(
    *map(jax.tree.leaves, (one.params, four.params)), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  assert "conv_0" not in one.params["student"]["backbone"]
  np.testing.assert_allclose(
    metrics.compute(logged)["loss"], metrics.compute(also)["loss"], rtol=1e-4
  )


def test_a_run_with_a_student_of_one_s_own(mine, tmp_path):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
  np.savez(tmp_path / "own.npz", image=image, label=np.arange(40) % 2)
  np.savez(tmp_path / "web.npz", image=image[:24])
  run = kd_jax.train(
    "kd3",
    "tiny",
    workdir=tmp_path / "run",
    quiet=True,
    arms=("kd3",),
    epochs=1,
    epoch_steps=2,
    teacher_steps=2,
    batch_size=8,
    score_batch_size=8,
    **{
      "data.original": str(tmp_path / "own.npz"),
      "data.web": str(tmp_path / "web.npz"),
      "data.val_images": 8,
      "teacher.widths": (4,),
      "teacher.strides": (4,),
      "student.name": mine,
    },
  )
  params = run.products["kd3.student"]["params"]
  assert params["backbone"]["Conv_0"]["kernel"].shape == (3, 3, 1, 5)
  apply, variables = kd_jax.load(tmp_path / "run")
  assert apply(variables, image[:2]).shape == (2, 2)


def test_names_of_ours_stay_ours():
  with pytest.raises(ValueError, match="'resnet18' is one of ours"):
    backbones.register("resnet18", Mine)
