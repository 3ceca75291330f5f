"""FitNets' two stages, and networks' inner features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.compression import data as tables
from kd_jax.methods.compression import distilling, fitnets, hints, hosts
from kd_jax.methods.compression.model import Model

KEY = jax.random.key(0)


def test_what_goes_into_a_layer_is_tapped():
  model = Model(hosts.MLP(3, (6, 4)), (2, 2, 1))
  variables = model.init(KEY)
  x = jax.random.normal(KEY, (5, 2, 2, 1))
  first = variables["params"]["fc_0"]
  flat = np.asarray(x).reshape(5, 4)
  want = np.maximum(flat @ np.asarray(first["kernel"]), 0)  # Its bias is 0.
  assert hints.middle(model) == "fc_1/kernel"
  assert hints.below(model) == ("fc_0/kernel",)
  got = model.tapped(variables, x, "fc_1/kernel")
  np.testing.assert_allclose(got, want, rtol=1e-5)
  trained, moved = model.train_tapped(variables, x, "fc_1/kernel", KEY)
  np.testing.assert_allclose(trained, want, rtol=1e-5)
  assert not moved


def test_the_regressor_is_a_convolution_that_fits():
  rng = np.random.default_rng(0)
  v = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
  shape = hints.regressor_shape((5, 4, 3), (3, 4, 2))
  assert shape == (3, 1, 3, 2)
  kernel = rng.normal(size=shape).astype(np.float32)
  want = np.zeros((2, 3, 4, 2), np.float32)
  for i in range(3):
    want[:, i] = np.einsum("bkwc,kcd->bwd", v[:, i : i + 3], kernel[:, 0])
  np.testing.assert_allclose(
    hints.regress(jnp.asarray(kernel), jnp.asarray(v)), want, rtol=1e-4,
    atol=1e-5,
  )  # fmt: skip
  assert hints.regressor_shape((7,), (9,)) == (7, 9)
  for guided, hint in (((2, 2, 3), (4, 4, 3)), ((7,), (4, 4, 3))):
    with pytest.raises(UsageError, match="another pair"):
      hints.regressor_shape(guided, hint)


def test_the_hints_loss_is_half_the_squared_distance():
  rng = np.random.default_rng(1)
  u, r = rng.normal(size=(2, 3, 2, 2, 4)).astype(np.float32)
  found = hints.hint_terms(hints.Hinted(r, u), {})["hint"]
  want = [0.5 * np.sum((u[i] - r[i]) ** 2) for i in range(3)]
  np.testing.assert_allclose(found, want, rtol=1e-5)


def test_the_teachers_weight_falls_on_a_line():
  weight = hints.falling(7)
  np.testing.assert_allclose(
    [float(weight(t)) for t in range(7)], np.linspace(4, 1, 7), rtol=1e-6
  )


def test_first_the_lower_layers_then_all(config, images):
  own = dataclasses.replace(config, arms=("kd_fitnet",))
  found = tables.load(own, images, lambda line: None)
  teacher = distilling.teacher_model(own, found)
  variables = teacher.init(KEY)
  student = Model(hosts.MLP(3, (5, 4)), found.image)
  first, second = fitnets.phases(own, teacher, student, found, "kd_fitnet")
  products = {"teacher": {"variables": variables}}
  state = first.init(products, np.uint32(0))
  # A teacher of one hidden layer: its head sees the hint.
  assert state.params["regressor"].shape == (5, 6)
  step = jax.jit(first.step)
  new, metrics = step(state, first.data)
  new, _ = step(new, first.data)
  assert set(metrics) == {"hint", "loss", "grad_norm"}
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), state.params, new.params
  )
  assert all(jax.tree.leaves([moved["student"]["fc_0"], moved["regressor"]]))
  # Not even by decay.
  assert not any(
    jax.tree.leaves([moved["student"]["fc_1"], moved["student"]["head"]])
  )
  products["kd_fitnet.hint"] = first.product(new)
  state = second.init(products, np.uint32(0))
  after, metrics = jax.jit(second.step)(state, second.data)
  assert {"cross_entropy", "kl"} < set(metrics)
  # Adam's first step is the rate: a tenth of it below.
  rate = own.distil.rate
  gaps = jax.tree.map(lambda a, b: np.abs(a - b), state.params, after.params)
  np.testing.assert_allclose(gaps["head"]["bias"], rate, rtol=1e-3)
  np.testing.assert_allclose(gaps["fc_0"]["bias"].max(), rate / 10, rtol=1e-2)


def test_a_hint_across_kinds_is_of_the_pooled_map(config, images):
  x = np.arange(32, dtype=np.float32).reshape(1, 4, 4, 2)
  got = distilling.pooled(jnp.asarray(x), (2, 1))
  want = [x[:, 2 * i : 2 * i + 2].mean((1, 2)) for i in range(2)]
  np.testing.assert_allclose(got[:, :, 0], np.stack(want, 1))
  with pytest.raises(UsageError, match="no equal windows"):
    distilling.pooled(jnp.asarray(x), (3, 1))
  own = fields.override(config, {"distil.student_model": "cnn"})
  found = tables.load(own, images, lambda line: None)
  (phase,) = distilling.phases(own, found, "kd_hint_across")
  teacher = distilling.teacher_model(own, found)
  products = {"teacher": {"variables": teacher.shapes()}}
  state = jax.eval_shape(phase.init, products, np.uint32(0))
  new, metrics = jax.eval_shape(phase.step, state, phase.data)
  assert "hint" in metrics
  assert new.params["hint"].shape == (32, 6)
