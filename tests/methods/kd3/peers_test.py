"""The peer computes what it is timed for: our losses, with our weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import augment
from kd_jax.methods.kd3 import cases, inputs, model, selection, steps
from kd_jax.methods.kd3.config import NetConfig
from kd_jax.training.state import row_keys, step_key

torch = pytest.importorskip("torch")
plain_student = pytest.importorskip("kd_jax.methods.kd3.plain_student")


def _pair(config, state):
  pair = plain_student.Pair(config, 1, 3)
  student = {"params": state.params["student"], **state.model_state}
  plain_student.load(pair, student)
  plain_student.load(pair.teacher, state.teacher)
  return pair


def _channels_first(x):
  return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())


def test_losses_are_ours(config, batch, make_state):
  state = make_state(config)
  batch = {k: v for k, v in batch.items() if k != "where"}
  key = step_key(state)
  x = inputs.drawn(config, key, batch)
  out, _ = steps.forward(config, state.params, state, batch, key)
  ours = steps.terms(config, out, batch)
  mixed = augment.mix_statistics(
    jax.random.fold_in(key, inputs.MIXING), x, batch["row"]
  )
  pair = _pair(config, state).train()
  theirs = pair.loss(_channels_first(x), _channels_first(mixed))
  names = ("features", "contrast_student", "contrast_teacher")
  for name, value in zip(names, theirs, strict=True):
    np.testing.assert_allclose(
      value.item(), ours[name].mean(), rtol=1e-4, atol=1e-6
    )


def test_mixing_is_ours(batch):
  x = augment.to_float(batch["image"])
  key, row = jax.random.key(3), batch["row"]
  keys = row_keys(jax.random.fold_in(key, 0), row)
  lam = jax.vmap(lambda k: jax.random.beta(k, 0.1, 0.1, ()))(keys)
  keys = row_keys(jax.random.fold_in(key, 1), row)
  bits = jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint32))(keys)
  got = plain_student.mix(
    _channels_first(x),
    torch.from_numpy(np.array(lam)),
    torch.from_numpy(np.argsort(np.array(bits))),
  )
  ours = augment.mix_statistics(key, x, row)
  np.testing.assert_allclose(
    got.numpy().transpose(0, 2, 3, 1), ours, rtol=1e-3, atol=1e-4
  )


def test_scores_are_ours(config, batch, make_state):
  state = make_state(config)
  x = inputs.prepare(config.data, batch["image"])
  teacher = model.teacher_predict(config, state.teacher, x)
  student = model.student_predict(config, state.variables(), x)
  ours = selection.score(teacher.logits, student.logits, jnp.float32(0.7))
  pair = _pair(config, state).eval()
  with torch.no_grad():
    theirs = pair.scores(_channels_first(x), 0.7)
  np.testing.assert_allclose(theirs.values, ours.confidence, rtol=1e-4)
  np.testing.assert_array_equal(theirs.indices, ours.predicted)


def test_resnets_are_ours():
  ours = model.network(NetConfig("resnet18"), 5)
  theirs = plain_student.ResNet(3, 5, (2, 2, 2, 2))
  shapes = jax.eval_shape(
    lambda k, x: ours.init(k, x, train=False),
    jax.random.key(0),
    jnp.zeros((1, 32, 32, 3)),
  )
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda s: rng.uniform(0.01, 0.05, s.shape).astype(np.float32), shapes
  )
  plain_student.load(theirs, variables)
  x = rng.normal(size=(1, 16, 16, 3)).astype(np.float32)
  expected = ours.apply(variables, jnp.asarray(x), train=False).logits
  with torch.no_grad():
    _, _, got = theirs.eval()(_channels_first(x))
  np.testing.assert_allclose(got, expected, rtol=1e-3)


def test_the_peers_run():
  by_name = {case.name: case for case in cases.CASES}
  for what in ("step", "selection"):
    case = by_name[f"kd3 {what}, small CNNs, 14x14"]
    case.peers[0].make()(1)
