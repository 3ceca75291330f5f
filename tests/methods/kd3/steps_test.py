import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, fields, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.kd3 import arms, selection, steps
from kd_jax.training.state import step_key


def _forward(config, state, batch):
  def run(params, state, batch):
    return steps.forward(config, params, state, batch, step_key(state))

  return jax.jit(run)(state.params, state, batch)


def _nt_xent(a, b, temperature):
  u = np.concatenate([a, b]).astype(np.float64)
  u /= np.linalg.norm(u, axis=1, keepdims=True)
  n, total = len(a), 0.0
  for r in range(2 * n):
    others = [np.exp(u[r] @ u[q] / temperature) for q in range(2 * n) if q != r]
    total += np.log(sum(others)) - u[r] @ u[(r + n) % (2 * n)] / temperature
  return total / (2 * n)


def test_the_loss_is_that_of_the_paper(config, batch, make_state):
  state = make_state(config)
  out, _ = _forward(config, state, batch)
  out = jax.tree.map(np.asarray, out)
  rows = np.flatnonzero(batch["where"])
  # Section 4.2, image by image.
  aligned = 0.0
  for i in rows:
    distance = np.sqrt(((out.zS[i] - out.zT[i] + 1e-6) ** 2).sum())
    weight = 1 / (1 + np.exp(-distance))
    aligned += weight * ((out.projected[i] - out.fT[i]) ** 2).mean()
  aligned /= len(rows)
  contrast = sum(
    _nt_xent(a[rows], b[rows], config.loss.temperature)
    for a, b in out.embeddings
  )
  step = jax.jit(steps.make_train_step(config))
  _, found = step(state, batch)
  found = metrics.compute(found)
  np.testing.assert_allclose(found["features"], aligned, rtol=1e-5)
  total = aligned + config.loss.mix_weight * contrast
  np.testing.assert_allclose(found["loss"], total, rtol=1e-5)
  # The student speaks through the teacher's classifier.
  head = jax.device_get(state.teacher["params"]["head"])
  by_hand = out.projected.mean((1, 2)) @ head["kernel"] + head["bias"]
  np.testing.assert_allclose(out.zS, by_hand, rtol=1e-4, atol=1e-5)


def test_teacher_is_constant_and_the_own_head_only_decays(
  config, batch, make_state
):
  state = make_state(config)
  new, _ = jax.jit(steps.make_train_step(config))(state, batch)
  for a, b in zip(
    jax.tree.leaves(state.teacher), jax.tree.leaves(new.teacher), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  optim = config.optim
  old = state.params["student"]["backbone"]["head"]
  head = new.params["student"]["backbone"]["head"]
  decayed = 1 - optim.learning_rate * optim.weight_decay
  for name in ("kernel", "bias"):
    np.testing.assert_allclose(head[name], old[name] * decayed, rtol=1e-6)
  conv = "conv_0"
  before = state.params["student"]["backbone"][conv]["kernel"] * decayed
  after = new.params["student"]["backbone"][conv]["kernel"]
  assert np.abs(after - before).max() > 1e-5


def test_the_teachers_half_of_the_contrast_trains_its_embedding_only(
  config, batch, make_state
):
  state = make_state(config)

  def half(name):
    def loss(params):
      out, _ = steps.forward(config, params, state, batch, step_key(state))
      return steps.terms(config, out, batch)[name].sum()

    return jax.grad(loss)

  def both(params):
    return half("contrast_teacher")(params), half("contrast_student")(params)

  of_teacher, of_student = jax.jit(both)(state.params)
  largest = jax.tree.map(lambda g: float(jnp.abs(g).max()), of_teacher)
  embedding = largest["student"].pop("embed_teacher")
  assert max(jax.tree.leaves(embedding)) > 1e-4
  assert max(jax.tree.leaves(largest)) == 0
  # The other half does reach the backbone, and not the projector.
  reached = of_student["student"]
  assert float(jnp.abs(reached["backbone"]["conv_0"]["kernel"]).max()) > 1e-5
  projector = jax.tree.leaves(reached["projector"])
  assert max(float(jnp.abs(g).max()) for g in projector) == 0


def test_running_statistics_move_twice_in_a_step(config, batch, make_state):
  # Twice as far from their start, nearly, with a contrast as without.
  def moved(config):
    state = make_state(config)
    _, new = _forward(config, state, batch)
    name = ("batch_stats", "backbone", "norm_0", "var")
    return functools.reduce(lambda tree, k: tree[k], name, new)

  once = moved(fields.override(config, {"loss.mix": "none"}))
  noise = {"loss.mix": "noise", "loss.mix_noise": 0.0}
  twice = moved(fields.override(config, noise))
  batch_value = (once - 0.9) / 0.1
  np.testing.assert_allclose(twice, 0.9 * once + 0.1 * batch_value, rtol=1e-5)


@pytest.mark.parametrize("arm", arms.CHANGES)
def test_every_arm_takes_a_step_and_weighs_its_terms(
  arm, config, batch, make_state
):
  own = arms.of_arm(config, arm)
  state = jax.eval_shape(lambda: make_state(own))
  step = steps.make_train_step(own)
  new, found = jax.eval_shape(step, state, batch)
  same = jax.tree.map(lambda a, b: a.shape == b.shape, state, new)
  assert all(jax.tree.leaves(same))
  logged = {"loss", "grad_norm", "agreement"}
  assert set(found) - logged == set(steps.weights(own))


def test_user_terms_join_the_loss(config, batch, make_state):
  def extra(outputs, batch, *, axis_name=None):
    return {"size": (outputs.zS**2).mean(-1)}

  step = steps.make_train_step(config, extra_terms=[(extra, {"size": 0.1})])
  _, found = jax.eval_shape(step, make_state(config), batch)
  assert "size" in found


def test_bfloat16_is_float32_to_tolerance(config, batch, make_state):
  found = {}
  for dtype in ("float32", "bfloat16"):
    own = dataclasses.replace(config, dtype=dtype)
    state = make_state(own)
    out, _ = _forward(own, state, batch)
    assert out.projected.dtype == dtype
    assert out.embeddings[0][0].dtype == dtype
    assert out.zS.dtype == out.zT.dtype == np.float32
    new, metrics_of = jax.jit(steps.make_train_step(own))(state, batch)
    kinds = jax.tree.map(lambda a: a.dtype, new)
    assert kinds == jax.tree.map(lambda a: a.dtype, state)
    kernel = new.params["student"]["backbone"]["conv_0"]["kernel"]
    old = state.params["student"]["backbone"]["conv_0"]["kernel"]
    found[dtype] = metrics.compute(metrics_of), np.asarray(kernel - old)
  (one, moved), (other, moved_too) = found.values()
  for name in ("loss", "features", "contrast_student", "grad_norm"):
    assert other[name] == pytest.approx(one[name], rel=0.03), name
    assert other[name] != one[name]
  error = np.abs(moved_too - moved).max() / np.abs(moved).max()
  assert 0 < error < 0.1


def test_every_convolution_of_a_bfloat16_step_is_of_bfloat16(
  config, batch, make_state
):
  """On an accelerator, whose program holds them as they are; and all back."""
  own = dataclasses.replace(config, dtype="bfloat16")
  traced = jax.jit(steps.make_train_step(own)).trace(make_state(own), batch)
  text = traced.lower(lowering_platforms=("tpu",)).as_text()
  found = [x for x in text.splitlines() if "stablehlo.convolution" in x]
  # Teacher and student twice, the projector once; each forward, and back twice.
  assert len(found) > 15
  for line in found:
    assert "bf16" in line
    assert "xf32" not in line


def test_dfnd_learns_a_row_stochastic_matrix_by_adam(config, batch, make_state):
  own = arms.of_arm(config, "dfnd")
  state = make_state(own)
  out, _ = _forward(own, state, batch)
  q = np.asarray(out.transition)
  np.testing.assert_allclose(q.sum(1), 1, rtol=1e-6)
  np.testing.assert_allclose(q.diagonal(), 0.9, rtol=1e-6)
  np.testing.assert_allclose(q[0, 1:], 0.05, rtol=1e-6)
  new, _ = jax.jit(steps.make_train_step(own))(state, batch)
  # Adam's first step is of its learning rate, wherever there is a gradient.
  moved = np.abs(new.params["transition"]).max()
  np.testing.assert_allclose(moved, own.loss.noisy_rate, rtol=1e-2)


def test_transition_places_are_kept(config, make_state):
  own = arms.of_arm(config, "dfnd")
  state = make_state(own)
  free = jnp.log(jnp.array([[0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]))
  found = steps.transition({**state.params, "transition": free}, state)
  expected = [[0.9, 0.02, 0.08], [0.03, 0.9, 0.07], [0.04, 0.06, 0.9]]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def _two_epochs(config, columns, state, devices):
  data = jax.tree.map(jnp.asarray, columns)
  lift = functools.partial(
    accel.data_parallel, data="replicated", devices=devices
  )
  step = lift(
    pipeline.from_columns(
      steps.make_train_step(config), config.batch_size, draw=selection.draw
    )
  )
  select = lift(selection.make_select(config))
  data, state = accel.place((data, state), devices)
  for _ in range(2):
    state, record = select(state, data)
    for _ in range(2):
      state, found = step(state, data)
  accel.check_replicated(state)
  return jax.device_get((state, record, metrics.compute(found)))


@pytest.mark.parametrize("microbatches", [1, 2])
def test_one_device_is_four(config, columns, make_state, microbatches):
  config = dataclasses.replace(config, epoch_steps=2, microbatches=microbatches)
  one, four = (
    _two_epochs(config, columns, make_state(config), jax.devices()[:n])
    for n in (1, 4)
  )
  for name in ("n_c", "kept", "selected"):
    np.testing.assert_array_equal(one[1][name], four[1][name])
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_selection_records_what_it_did_and_relevance_decides_nothing(
  config, columns, make_state
):
  config = fields.override(config, {"select.rule": "top_k"})
  state = make_state(config)
  select = jax.jit(selection.make_select(config))
  new, record = select(state, columns)
  assert record["n_c"].sum() == 22  # Two places hold no image.
  assert (record["kept"] <= record["n_c"]).all()
  assert record["kept"].sum() == record["selected"]
  chosen = np.asarray(new.order[: int(new.front)])
  assert max(chosen) < 22
  share = columns["relevant"][chosen].mean()
  np.testing.assert_allclose(record["share_relevant"], share, rtol=1e-6)
  assert new.history["relevant"][0] == record["share_relevant"]
  assert record["selected"] == new.front == config.select.count
  tau = selection.thresholds(record["n_c"], config.select.p_cutoff)
  np.testing.assert_allclose(record["tau_c"], tau)
  other, _ = select(state, {**columns, "relevant": ~columns["relevant"]})
  np.testing.assert_array_equal(new.order, other.order)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_training_and_selection_lower_for_accelerators(
  config, columns, make_state, platform
):
  step = pipeline.from_columns(
    steps.make_train_step(config), config.batch_size, draw=selection.draw
  )
  for fn in (step, selection.make_select(config)):
    lifted = accel.data_parallel(fn, mode="shard_map", data="replicated")
    exported = lifted.export(make_state(config), dict(columns), [platform])
    assert exported.platforms == (platform,)
    assert exported.nr_devices == 4
    assert "all_" in exported.mlir_module()
