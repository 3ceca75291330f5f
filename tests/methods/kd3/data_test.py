import numpy as np
import pytest
from PIL import Image

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.kd3 import data
from kd_jax.methods.kd3.arms import PRESETS

CONFIG = fields.override(
  PRESETS["tiny"].data,
  {"train_images": 20, "val_images": 5, "test_images": 10, "relevant": 8},
)


def _digits():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (100, 28, 28, 1)).astype(np.uint8)
  return images, np.arange(100) % 10


def _rows(images):
  return {image.tobytes() for image in images}


def test_the_embedded_tables_have_the_sizes_asked_for():
  found = data.digits_and_web(*_digits(), CONFIG, 0)
  assert found.train["image"].shape == (40, 14, 14, 1)
  assert found.train["image"].dtype == np.uint8
  assert found.val["label"].shape == (5,)
  assert found.test["shifted"].shape == (10, 14, 14, 1)
  # Fifty irrelevant digits, six times.
  assert found.web["image"].shape == (8 + 300, 14, 14, 1)
  assert found.web["relevant"].sum() == found.relevant == 8
  assert set(found.train["label"]) <= set(range(5))
  assert "label" not in found.web


def test_no_original_image_is_on_the_web_and_splits_are_disjoint():
  found = data.digits_and_web(*_digits(), CONFIG, 0)
  train, web = _rows(found.train["image"]), _rows(found.web["image"])
  assert not train & web
  clean = [_rows(t["image"]) for t in (found.val, found.test)]
  assert not clean[0] & clean[1]
  assert not train & (clean[0] | clean[1])


def test_the_tables_are_a_function_of_the_seed():
  first, again, other = (
    data.digits_and_web(*_digits(), CONFIG, seed) for seed in (3, 3, 4)
  )
  assert (first.web["image"] == again.web["image"]).all()
  assert (first.web["image"] != other.web["image"]).any()
  assert (first.train["image"] != other.train["image"]).any()


def test_too_many_images_are_refused_with_both_numbers():
  config = fields.override(CONFIG, {"train_images": 40})
  with pytest.raises(UsageError, match=r"63; the original task has 50"):
    data.digits_and_web(*_digits(), config, 0)


def test_turning_by_nothing_and_by_a_right_angle():
  image = np.random.default_rng(0).uniform(size=(2, 14, 14))
  turned = data._turn(image, np.array([0.0, np.pi / 2]))
  np.testing.assert_allclose(turned[0], image[0], atol=1e-12)
  np.testing.assert_allclose(turned[1], np.rot90(image[1], -1), atol=1e-9)


def test_blurring_keeps_the_sum_and_nothing_changes_at_width_zero():
  image = np.zeros((2, 14, 14))
  image[:, 7, 7] = 1.0
  blurred = data._blur(image, np.array([0.0, 0.5]))
  np.testing.assert_allclose(blurred[0], image[0], atol=1e-12)
  np.testing.assert_allclose(blurred[1].sum(), 1.0)
  k = np.exp(-2.0 * np.arange(-2, 3) ** 2)
  k /= k.sum()
  np.testing.assert_allclose(blurred[1][7, 5:10], k * k[2], atol=1e-12)


def _own(n=20, size=6, channels=1, **extra):
  rng = np.random.default_rng(1)
  image = rng.integers(0, 256, (n, size, size, channels)).astype(np.uint8)
  return {"image": image, **extra}


def test_a_users_own_data_take_both_roles():
  original = _own(label=np.arange(20) % 4)
  own = {"original": original, "web": _own(7)}
  found = data.load(CONFIG, 0, own, lambda line: None)
  assert found.classes == 4
  assert list(found.web) == ["image"]
  assert found.web["image"].shape == (7, 6, 6, 1)
  assert found.quota == 0
  assert len(found.val["label"]) == 3  # A fifth of 16, at most.
  rows = len(found.train["label"]) + len(found.val["label"])
  assert rows + len(found.test["label"]) == 20


def test_one_role_alone_and_unknown_roles_are_refused():
  original = _own(label=np.arange(20) % 4)
  with pytest.raises(UsageError, match="both original and web"):
    data.load(CONFIG, 0, {"original": original}, lambda line: None)
  with pytest.raises(UsageError, match="not pool"):
    data.load(CONFIG, 0, {"pool": original}, lambda line: None)


def test_images_of_another_size_are_refused_with_both_sizes():
  own = {"original": _own(label=np.arange(20) % 4), "web": _own(7, size=8)}
  with pytest.raises(UsageError, match=r"\(8, 8, 1\).*\(6, 6, 1\)"):
    data.load(CONFIG, 0, own, lambda line: None)


def test_so_many_copies_that_they_fill_the_memory_are_refused():
  for name in ("copies", "halves"):
    config = fields.override(CONFIG, {name: 10**6})
    with pytest.raises(UsageError, match="images, expected at most 1000000"):
      data.digits_and_web(*_digits(), config, 0)


def test_a_shift_as_large_as_the_images_is_refused():
  own = {"original": _own(label=np.arange(20) % 4), "web": _own(7)}
  config = fields.override(CONFIG, {"max_shift": 6})
  with pytest.raises(UsageError, match="max_shift is 6; the images are 6x6"):
    data.load(config, 0, own, lambda line: None)
  config = fields.override(CONFIG, {"max_shift": 5})
  assert data.load(config, 0, own, lambda line: None).classes == 4


def test_a_folder_is_resized_to_images_that_are_not_square(tmp_path):
  Image.new("L", (9, 9), 7).save(tmp_path / "0.png")
  image = np.zeros((20, 8, 6, 1), np.uint8)
  own = {
    "original": {"image": image, "label": np.arange(20) % 4},
    "web": str(tmp_path),
  }
  found = data.load(CONFIG, 0, own, lambda line: None)
  assert found.web["image"].shape == (1, 8, 6, 1)
