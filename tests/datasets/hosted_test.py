"""A column on the host gives what one on the devices gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel
from kd_jax.datasets import hosted, pipeline

_N, _B = 21, 8


@pytest.fixture
def image(tmp_path):
  """Mapped from a file, as decoded columns are."""
  path = tmp_path / "image.npy"
  rng = np.random.default_rng(0)
  np.save(path, rng.integers(0, 256, (_N, 3, 3, 1)).astype(np.uint8))
  return np.load(path, mmap_mode="r")


def test_rows_in_any_order_and_out_of_range(image):
  column = hosted.Hosted(image)
  index = jnp.array([5, 0, 20, 5, -3, 99])
  for fetch in (hosted.rows, jax.jit(hosted.rows)):
    got = fetch(column, index)
    np.testing.assert_array_equal(got, image[[5, 0, 20, 5, 0, 20]])
  np.testing.assert_array_equal(hosted.rows(image, index[:4]), image[index[:4]])
  assert jax.tree.leaves({"image": column}) == []
  assert accel.place({"image": column})["image"] is column


@pytest.mark.parametrize("mode", ["jit1", "pmap", "shard_map"])
def test_batches_and_passes_are_the_same(image, mode):
  def step(state, batch, *, axis_name=None):
    every = accel.all_gather((batch["index"], batch["image"]), axis_name)
    return state, every

  def score(state, batch, *, axis_name=None):
    return batch["image"].sum((1, 2, 3), dtype=jnp.int32)

  devices = jax.devices()[:1] if mode == "jit1" else jax.devices()
  lift = functools.partial(
    accel.data_parallel,
    donate=False,
    data="replicated",
    devices=devices,
    mode="auto" if mode == "jit1" else mode,
  )

  def draw(state, slots, batch_size, n):
    return pipeline.rows(3, 4, batch_size, n, slots)

  drawn = lift(pipeline.from_columns(step, _B, draw=draw))

  def whole(state, columns, *, axis_name=None):
    mapped = pipeline.map_columns(score, _B)
    return state, mapped(state, columns, axis_name=axis_name)

  scored = lift(whole)
  state = accel.place({"w": np.zeros(1, np.float32)}, devices)
  results = []
  for column in (np.array(image), hosted.Hosted(image)):
    columns = accel.place({"image": column}, devices)
    results.append((drawn(state, columns)[1], scored(state, columns)[1]))
  (batch, scores), (fetched, others) = results
  for a, b in zip(batch, fetched, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(scores, others)
  expected = np.array(image).astype(np.int32).sum((1, 2, 3))
  np.testing.assert_array_equal(scores, expected)


def test_what_fits():
  assert hosted.fits(10**9)
  assert not hosted.fits(5 * 10**9)
