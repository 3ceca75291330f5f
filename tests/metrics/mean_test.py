"""Sums and counts against NumPy, and over uneven batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import metrics


def test_uneven_batches_add_up_to_the_mean_of_all():
  values = np.random.default_rng(0).normal(size=11).astype(np.float32)
  parts = [values[:3], values[3:4], values[4:]]
  merged = {"x": metrics.mean(parts[0])}
  for part in parts[1:]:
    merged = metrics.merge(merged, {"x": metrics.mean(part)})
  assert metrics.compute(merged)["x"] == pytest.approx(
    values.mean(dtype=np.float64), abs=1e-7
  )


def test_masked_values_do_not_count_even_if_nan():
  values = np.array([1.0, np.nan, 3.0], np.float32)
  where = np.array([True, False, True])
  assert metrics.compute({"x": metrics.mean(values, where)}) == {"x": 2.0}


def test_nothing_counted_is_nan():
  values, where = np.ones(2, np.float32), np.zeros(2, bool)
  assert np.isnan(metrics.compute({"x": metrics.mean(values, where)})["x"])


def test_a_sum_a_seed_is_a_list():
  total, count = np.array([3.0, 1.0, 5.0]), np.array([2.0, 0.0, 4.0])
  found = metrics.compute(
    {
      "x": metrics.Mean(total, count),
      "y": metrics.mean(np.eye(4, dtype=np.float32)[0]),
    }
  )
  assert found["x"][::2] == [1.5, 1.25]
  assert np.isnan(found["x"][1])
  assert type(found["y"]) is float


def test_half_precision_is_summed_in_float32():
  values = jnp.full(4096, 1.0, jnp.bfloat16)
  assert metrics.compute({"x": metrics.mean(values)})["x"] == 1.0
  assert metrics.mean(values).total == 4096


def test_accuracy_takes_the_first_of_equal_classes():
  logits = np.array([[1, 1, 0], [0, 2, 2], [3, 1, 2]], np.float32)
  labels = np.array([0, 2, 0])
  assert metrics.compute({"a": metrics.accuracy(logits, labels)})[
    "a"
  ] == pytest.approx(2 / 3)


def test_a_mask_of_another_size_is_refused(unhooked):
  with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
    unhooked(metrics.mean)(np.ones(2, np.float32), np.ones(3, bool))


def test_gradient_passes_where_it_counts():
  where = np.array([True, False])

  def total(values):
    return metrics.mean(values, where).total

  assert jax.grad(total)(jnp.ones(2)).tolist() == [1.0, 0.0]
