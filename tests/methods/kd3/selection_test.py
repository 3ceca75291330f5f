import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.kd3 import selection
from kd_jax.methods.kd3.config import SelectConfig

# t and alpha(t) of the paper's page, to the digits given there.
ALPHAS = {1: 0.992, 20: 0.977, 40: 0.937, 60: 0.853, 80: 0.705, 100: 0.493,
          119: 0.268, 120: 0.0, 121: 0.0, 240: 0.0}  # fmt: skip


@pytest.mark.parametrize(("epoch", "value"), ALPHAS.items())
def test_alpha_is_the_published_schedule(epoch, value):
  found = selection.alpha(jnp.int32(epoch), 240)
  assert abs(float(found) - value) < 6e-4


def test_alpha_is_rescaled_to_the_length_of_the_run():
  for epoch in range(1, 21):
    whole = selection.alpha(jnp.int32(12 * epoch), 240)
    assert selection.alpha(jnp.int32(epoch), 20) == whole
  assert selection.alpha(jnp.int32(9), 20) > 0
  assert selection.alpha(jnp.int32(10), 20) == 0
  # Lengths at which 240 / epochs is rounded down.
  for epochs in (58, 86, 106, 138, 1000):
    assert selection.alpha(jnp.int32(epochs // 2), epochs) == 0
    assert selection.alpha(jnp.int32(epochs // 2 - 1), epochs) > 0.25


def test_alpha_without_a_schedule_is_teacher_or_student():
  assert selection.alpha(jnp.int32(200), 240, "teacher") == 1
  assert selection.alpha(jnp.int32(1), 240, "student") == 0


def test_thresholds_at_the_values_of_the_paper():
  found = selection.thresholds(jnp.array([1000, 500, 100, 0]))
  np.testing.assert_allclose(found, [0.95, 0.95 / 3, 0.05, 0.0], atol=1e-6)


def test_thresholds_of_nothing_are_finite():
  assert (selection.thresholds(jnp.zeros(3, jnp.int32)) == 0).all()


def test_scores_blend_logits_and_not_probabilities():
  rng = np.random.default_rng(0)
  teacher, student = rng.normal(size=(2, 5, 3)).astype(np.float32) * 4
  found = selection.score(teacher, student, jnp.float32(0.3))
  for i in range(5):
    z = 0.3 * teacher[i] + 0.7 * student[i]
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(found.confidence[i], p.max(), rtol=1e-5)
    assert found.predicted[i] == p.argmax()


def _choose(rule, confidence, predicted, tau, valid, count=2, seed=0):
  scores = selection.Scores(jnp.array(confidence), jnp.array(predicted))
  select = SelectConfig(rule=rule, count=count)
  key = jax.random.key(seed)
  found = selection.choose(
    select, scores, jnp.array(tau), jnp.array(valid), key
  )
  return found.tolist()


def test_rules_against_worked_examples():
  confidence = [0.9, 0.5, 0.97, 0.96, 0.99]
  predicted = [0, 1, 0, 1, 1]
  valid = [True, True, True, True, False]
  tau = [0.95, 0.5]
  args = (confidence, predicted, tau, valid)
  # 0.5 is not above 0.5; the last is no image.
  assert _choose("classwise", *args) == [False, False, True, True, False]
  assert _choose("fixed", *args) == [False, False, True, True, False]
  assert _choose("top_k", *args, 3) == [True, False, True, True, False]
  assert _choose("all", *args) == valid
  random = _choose("random", *args, 3)
  assert sum(random) == 3
  assert not random[-1]
  assert _choose("random", *args, 50) == valid


def test_of_equally_confident_images_any_may_be_taken():
  # Not the first ones: on the embedded web these are the relevant ones.
  args = ([1.0] * 8, [0] * 8, [0.5], [True] * 7 + [False], 3)
  found = [_choose("top_k", *args, seed) for seed in range(6)]
  assert all(sum(taken) == 3 and not taken[7] for taken in found)
  assert len({tuple(taken) for taken in found}) > 2


def test_rare_classes_have_lower_thresholds_under_the_classwise_rule_only():
  args = ([0.4, 0.4], [0, 1], [0.95, 0.3], [True, True])
  assert _choose("classwise", *args) == [False, True]
  assert _choose("fixed", *args) == [False, False]


def test_order_puts_the_selected_first_and_padding_last():
  mask = jnp.array([False, True, False, True, True, False, False])
  valid = jnp.arange(7) < 6
  order, front = selection.arrange(jax.random.key(1), mask, valid)
  assert front == 3
  assert sorted(order[:3].tolist()) == [1, 3, 4]
  assert sorted(order[3:6].tolist()) == [0, 2, 5]
  assert order[6] == 6


def test_an_empty_selection_takes_every_image():
  valid = jnp.arange(5) < 4
  order, front = selection.arrange(jax.random.key(1), jnp.zeros(5, bool), valid)
  assert front == 4
  assert sorted(order[:4].tolist()) == [0, 1, 2, 3]


def test_a_pass_over_the_selection_takes_each_image_once():
  mask = jnp.arange(20) % 3 == 0
  valid = jnp.ones(20, bool)
  order, front = selection.arrange(jax.random.key(2), mask, valid)
  web = jnp.arange(100, 120)
  taken = []
  for step in range(40, 54):
    state = types.SimpleNamespace(
      web=web,
      order=order,
      front=front,
      since=jnp.int32(40),
      step=jnp.int32(step),
      seed=jnp.uint32(0),
    )
    taken += selection.draw(state, jnp.arange(2), 2, 120).tolist()
  selected = (100 + np.flatnonzero(mask)).tolist()
  assert int(front) == len(selected) == 7
  passes = [taken[start : start + 7] for start in range(0, 28, 7)]
  for one in passes:
    assert sorted(one) == selected
  # Every pass in an order of its own.
  assert len({tuple(one) for one in passes}) == 4


def test_per_class_counts():
  predicted = jnp.array([0, 2, 2, 1, 2])
  mask = jnp.array([True, True, False, False, True])
  assert selection.per_class(predicted, mask, 4).tolist() == [1, 0, 2, 0]
