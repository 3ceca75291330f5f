"""ImageNet-100's classes, and a folder of them."""

import re

import numpy as np
import pytest
from PIL import Image

from kd_jax.datasets import sources
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import synsets


def test_there_are_a_hundred():
  names = synsets.IMAGENET100
  assert len(names) == len(set(names)) == 100
  assert (names[0], names[1], names[-1]) == (
    "n02869837",
    "n01749939",
    "n02090622",
  )
  assert all(re.fullmatch(r"n\d{8}", name) for name in names)


def test_a_folder_of_links_is_read_as_images(tmp_path):
  for split, grey in (("train", 50), ("val", 200)):
    for place, name in enumerate([*synsets.IMAGENET100, "n99999999"]):
      folder = tmp_path / "all" / split / name
      folder.mkdir(parents=True)
      pixel = Image.fromarray(np.full((1, 1), grey + place % 50, np.uint8))
      pixel.save(folder / "a.png")
  synsets.link(tmp_path / "all", tmp_path / "hundred")
  ours = sorted(synsets.IMAGENET100)
  for split, grey in (("train", 50), ("test", 200)):
    found = sources.load(tmp_path / "hundred", split, say=lambda line: None)
    np.testing.assert_array_equal(found["label"], np.arange(100))
    expect = [grey + synsets.IMAGENET100.index(name) % 50 for name in ours]
    np.testing.assert_array_equal(found["image"].ravel(), expect)
  with pytest.raises(UsageError, match="is there; expected a folder that is"):
    synsets.link(tmp_path / "all", tmp_path / "hundred")


def test_a_class_that_is_not_there_is_named(tmp_path):
  with pytest.raises(UsageError, match="has no train/n02869837; expected Imag"):
    synsets.link(tmp_path, tmp_path / "hundred")
  assert not (tmp_path / "hundred").exists()


def test_what_cannot_be_made_is_told_and_leaves_nothing(tmp_path):
  for split in ("train", "val"):
    for name in synsets.IMAGENET100:
      (tmp_path / "all" / split / name).mkdir(parents=True)
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match=r"cannot make .*file/hundred: "):
    synsets.link(tmp_path / "all", tmp_path / "file" / "hundred")
  (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
  with pytest.raises(UsageError, match="nowhere is there"):
    synsets.link(tmp_path / "all", tmp_path / "nowhere")
  left = {path.name for path in tmp_path.iterdir()}
  assert left == {"all", "file", "nowhere"}
