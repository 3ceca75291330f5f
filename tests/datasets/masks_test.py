"""Data sets with masks: cluttered digits, and Salient ImageNet's files."""

import importlib
import zipfile
from pathlib import Path

import mask_files
import numpy as np
import pytest

from kd_jax.datasets import catalog, decode, sources
from kd_jax.datasets.clutter import clutter
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.salient_imagenet import official


def _hush(line):
  del line


def _dummy(name):
  module = importlib.import_module(
    f"kd_jax.datasets.{name}.{name}_dataset_builder"
  )
  return module, Path(module.__file__).parent / "dummy_data"


def _squares(n):
  images = np.zeros((n, 28, 28), np.uint8)
  for i in range(n):
    images[i, 3 + i : 12 + i, 8:14] = 150 + i
  return images


def test_clutter_is_other_images_over_an_image():
  images = _squares(6)
  made = clutter(images, 3, noise=0.0)
  np.testing.assert_array_equal(made.core, images > 127)
  # Without noise what is seen is the brighter of digit and clutter.
  assert (made.image >= images).all()
  bright = made.image > 127
  np.testing.assert_array_equal(bright, made.core | made.spurious)
  assert not (made.core & made.spurious).any()
  assert made.spurious.any()
  for i in range(6):
    values = set(np.unique(made.image[i][made.spurious[i]]))
    assert values <= {150 + j for j in range(6) if j != i}
    # Two patches of 9x9 cannot hold more.
    assert made.spurious[i].sum() <= 2 * 81


def test_clutter_is_the_seeds_and_noise_is_clipped():
  images = _squares(5)
  a, b, c = (clutter(images, seed) for seed in (1, 1, 2))
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x, y)
  assert (a.image != c.image).any()
  black = a.image[~a.core & ~a.spurious]
  assert black.min() == 0
  # Half of the noise on black is cut off: the rest has mean 0.4 of its spread.
  assert 8 < black[black < 120].mean() < 12.5


def test_one_image_has_no_others_to_take_patches_from():
  with pytest.raises(ValueError, match="cannot be taken from other images"):
    clutter(_squares(1), 0)
  with pytest.raises(ValueError, match="patches of 40"):
    clutter(_squares(3), 0, size=40)


@pytest.fixture
def cluttered(data, monkeypatch):
  """The builder reads ten fake digits."""
  _, folder = _dummy("cluttered_mnist")
  mnist, _ = _dummy("mnist_5k")
  content = (folder / "mnist_5k.csv.gz").read_bytes()
  monkeypatch.setattr(mnist, "official_file", lambda: content)
  return data


def test_cluttered_mnist_is_built_on_first_use(cluttered):
  train = sources.load("cluttered_mnist", "train", say=_hush)
  assert train["image"].shape == (8, 28, 28, 1)
  columns = decode.columns(
    catalog.builder("cluttered_mnist"), "test", say=_hush
  )
  assert set(columns) == {"image", "core", "spurious", "label"}
  assert len(columns["label"]) == 2 * 4
  assert set(np.unique(columns["core"])) == {0, 255}
  assert not ((columns["core"] > 0) & (columns["spurious"] > 0)).any()
  # Four clutters of each digit: the digit's own mask is the same in all.
  for label in (0, 1):
    own = columns["core"][columns["label"] == label]
    assert len(np.unique(own, axis=0)) == 1
    images = columns["image"][columns["label"] == label]
    assert len(np.unique(images, axis=0)) == 4


@pytest.fixture
def salient(tmp_path):
  """The fake files, unpacked."""
  _, folder = _dummy("salient_imagenet")
  with zipfile.ZipFile(folder / "salient_imagenet.zip") as archive:
    archive.extractall(tmp_path / "own")
  return tmp_path / "own"


def test_dummy_data_are_what_the_script_writes():
  _, folder = _dummy("salient_imagenet")
  with zipfile.ZipFile(folder / "salient_imagenet.zip") as archive:
    assert set(archive.namelist()) == set(mask_files.salient())


def test_salient_imagenet_merges_masks_by_what_was_said(data, salient):
  catalog.build("salient_imagenet", manual_dir=salient, say=_hush)
  found = decode.columns(catalog.builder("salient_imagenet"), "test", say=_hush)
  assert found["image"].shape == (3, 224, 224, 3)
  order = np.argsort(found["core"].reshape(3, -1).mean(1))
  assert sorted(found["label"]) == [3, 3, 7]
  rows = {i: found["core"][i][:, 100, 0] > 127 for i in range(3)}
  spurious = {i: found["spurious"][i][:, 100, 0] > 127 for i in range(3)}

  def between(low, high):
    # Of 256 rows 16 are cut off at either end.
    place = np.arange(16, 240)
    return (place >= low) & (place < high)

  wanted = {
    "a": (between(0, 180), between(100, 256)),  # Two core features as one.
    "b": (between(50, 150), between(0, 0)),
    "c": (between(0, 128), between(0, 0)),  # Two of five are no majority.
  }
  for core, rest in wanted.values():
    hits = [
      i
      for i in order
      if (rows[i] != core).sum() <= 4 and (spurious[i] != rest).sum() <= 4
    ]
    assert len(hits) == 1


def test_what_workers_said_decides(salient):
  said = official.kinds(salient / official.ANSWERS)
  assert said == {
    ("n01491361", 1): "core",
    ("n01491361", 2): "spurious",
    ("n01491361", 30): "core",
    ("n01514668", 5): "core",
  }


def test_python_files_are_not_run(salient):
  path = salient / "masks" / official.NAMES
  path.write_text("wordnet_dict = {3: __import__('os').getcwd()}")
  with pytest.raises(DataError, match="expected a dict of class indices"):
    official.classes(path)


@pytest.mark.parametrize(
  ("break_it", "message"),
  [
    (lambda f: (f / "masks" / official.NAMES).unlink(), "has no masks/wordnet"),
    (lambda f: (f / "train/n01491361/a.JPEG").unlink(), "there is no image"),
    (
      lambda f: (f / "masks/n01514668/feature_5").rename(
        f / "masks/n01514668/feature_6"
      ),
      "says nothing of .*feature_6",
    ),
    (
      lambda f: (f / official.ANSWERS).write_text("a,b\n1,2\n"),
      "has no column Input.wordnet_id",
    ),
    (
      lambda f: (f / "train/n01491361/a.JPEG").write_text("x"),
      "cannot read .*a.JPEG",
    ),
  ],
)
def test_what_is_missing_is_one_sentence(data, salient, break_it, message):
  break_it(salient)
  with pytest.raises(DataError, match=message):
    catalog.build("salient_imagenet", manual_dir=salient, say=_hush)


def test_salient_imagenet_is_not_fetched(data):
  with pytest.raises(DataError, match=r"may not be fetched .* --manual-dir"):
    catalog.build("salient_imagenet", say=_hush)


@pytest.mark.parametrize("name", ["cluttered_mnist", "salient_imagenet"])
def test_layout(data, name):
  source = catalog.builder(name)
  folder = _dummy(name)[1].parent
  for file in ("README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"):
    assert (folder / file).exists(), file
  assert source.info.citation.startswith("@")
  assert "Licence:" in source.info.description
  assert source.name == name
