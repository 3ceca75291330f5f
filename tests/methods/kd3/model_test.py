import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.kd3 import inputs, model
from kd_jax.methods.kd3.config import (
  Config,
  LossConfig,
  NetConfig,
  TeacherConfig,
)


def _count(tree):
  return sum(np.prod(x.shape) for x in jax.tree.leaves(tree))


def _shapes(module, *args, **kwargs):
  init = functools.partial(module.init, **kwargs)
  return jax.eval_shape(init, jax.random.key(0), *args)["params"]


def test_projector_and_embeddings_have_the_published_sizes():
  projector = model.Projector(512)
  init = functools.partial(projector.init, train=False)
  x = jnp.zeros((1, 4, 4, 512))
  found = jax.eval_shape(init, jax.random.key(0), x)["params"]
  assert _count(found) == 854_016
  found = _shapes(model.Embedding(128), jnp.zeros((1, 512)))
  assert _count(found) == 65_664


def test_a_resnet_student_is_its_parts():
  student = model.Student(NetConfig("resnet18"), 10, 512)
  x, teacher = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 512))
  found = _shapes(student, x, teacher, method="everything")
  assert _count(found["backbone"]) == 11_173_962
  total = 11_173_962 + 854_016 + 2 * 65_664
  assert _count(found) == total


@pytest.mark.parametrize(("m", "n"), [(8, 4), (7, 3), (4, 4), (2, 4)])
def test_pooling_to_a_size_averages_the_windows(m, n):
  x = np.random.default_rng(0).normal(size=(2, m, m, 3)).astype(np.float32)
  found = model.pool_to(x, (n, n))
  if m <= n:
    np.testing.assert_array_equal(found, x)
    return
  for i in range(n):
    for j in range(n):
      rows = slice(i * m // n, -(-(i + 1) * m // n))
      columns = slice(j * m // n, -(-(j + 1) * m // n))
      window = x[:, rows, columns].mean((1, 2))
      np.testing.assert_allclose(found[:, i, j], window, rtol=1e-5, atol=1e-6)


def test_normalised_pixels_with_one_number_for_all_channels_or_one_each():
  image = np.full((1, 2, 2, 3), 255, np.uint8)
  data = Config().data
  found = inputs.prepare(data, image)
  np.testing.assert_allclose(found, (1 - 0.13) / 0.28, rtol=1e-6)


def test_a_shared_classifier_is_the_teachers_layer_on_projected_features():
  config = Config(
    teacher=TeacherConfig(widths=(6, 8), strides=(2, 2)),
    student=NetConfig(widths=(4, 4), strides=(2, 1)),
    loss=LossConfig(embedding=4),
  )
  x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
  teacher = model.network(config.teacher, 5).init(
    jax.random.key(2), x, train=False
  )
  student = model.student_module(config, teacher)
  variables = student.init(
    jax.random.key(3), x, jnp.zeros((1, 8)), method="everything"
  )
  found = model.student_predict(config, {**variables, "teacher": teacher}, x)
  features = student.apply(variables, x, train=False)
  # The student's 4x4 map is larger than the teacher's 2x2.
  assert features.feature_map.shape == (3, 4, 4, 4)
  small = features.feature_map.reshape(3, 2, 2, 2, 2, 4).mean((2, 4))
  projected = model.Projector(8).apply(
    {k: variables[k]["projector"] for k in ("params", "batch_stats")},
    small,
    train=False,
  )
  assert projected.shape == (3, 2, 2, 8)
  head = teacher["params"]["head"]
  by_hand = projected.mean((1, 2)) @ head["kernel"] + head["bias"][None]
  np.testing.assert_allclose(found.logits, by_hand, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(found.pooled, features.pooled)
