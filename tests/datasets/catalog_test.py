"""What stands behind `kd-jax data list | build | show`."""

import types

import numpy as np
import pytest
from PIL import Image

from kd_jax.datasets import catalog, folders, images, shown
from kd_jax.datasets.errors import DataError


def test_list_build_show(dummies, capfd):
  assert not any(entry.built for entry in catalog.entries())
  said = []
  folder = catalog.build("digits", say=said.append)
  assert folder == dummies / "digits" / "1.0.0"
  assert catalog.build("digits", say=said.append) == folder
  assert [line.split(" ")[0] for line in said] == ["building", "digits"]
  built = {e.name: e.built for e in catalog.entries()}
  assert {"digits", "mnist_5k", "kinships", "wn18rr", "cifar10"} < set(built)
  assert [name for name, is_built in built.items() if is_built] == ["digits"]
  found = shown.show("digits", say=said.append)
  assert found.features == {"image": "8x8x1 uint8", "label": "scalar int32"}
  assert found.counts == {"test": [2, 2], "train": [8, 8]}
  with Image.open(found.grid) as grid:
    pixels = np.asarray(grid)
  assert pixels.shape[0] * 10 == pixels.shape[1] * 2  # Two classes, ten wide.
  assert 0 < pixels.mean() < 255
  assert capfd.readouterr() == ("", "")  # No chatter.


def test_other_built_sets_are_listed(data):
  (data / "omniglot" / "3.0.0").mkdir(parents=True)
  (data / "omniglot" / "3.0.0" / "dataset_info.json").write_text("{}")
  entry = catalog.entries()[-1]
  assert (entry.name, entry.built) == ("omniglot", True)


def test_show_of_images_that_differ_in_size(tmp_path, monkeypatch):
  found = [
    {"image": np.full((h, w, 3), h, np.uint8), "label": i % 2}
    for i, (h, w) in enumerate([(9, 4), (5, 4), (6, 4)])
  ]
  source = types.SimpleNamespace(
    name="fake",
    data_dir=tmp_path,
    as_data_source=lambda split, decoders=None: found,
    info=types.SimpleNamespace(
      features={"label": np.zeros(())},
      splits={"train": types.SimpleNamespace(num_examples=3)},
    ),
  )
  monkeypatch.setattr(catalog, "builder", lambda name: source)
  monkeypatch.setattr(catalog, "is_built", lambda source: True)
  got = shown.show("fake", say=lambda line: None)
  assert got.features == {"image": "?x4x3 uint8", "label": "scalar int32"}
  assert got.counts == {"train": [2, 1]}
  grid = images.read(got.grid, grey=False)
  assert {9, 5, 6} <= set(np.unique(grid))


def test_show_needs_a_built_set(dummies):
  with pytest.raises(DataError, match="run: kd-jax data build digits"):
    shown.show("digits")


def test_build_says_what_is_missing(data, tmp_path):
  with pytest.raises(DataError, match="cannot build imagenet2012: Manual dir"):
    catalog.build(
      "imagenet2012", manual_dir=tmp_path / "none", say=lambda line: None
    )


def test_two_processes_build_at_once(dummies, monkeypatch):
  """The slower one takes what the faster one built."""
  source = catalog.builder("digits")
  monkeypatch.setattr(catalog, "builder", lambda name: source)
  generate = type(source)._split_generators

  def second(self, dl_manager):
    monkeypatch.setattr(type(source), "_split_generators", generate)
    faster = type(source)(
      data_dir=str(folders.data_dir()), file_format="array_record"
    )
    faster.download_and_prepare()
    return generate(self, dl_manager)

  monkeypatch.setattr(type(source), "_split_generators", second)
  folder = catalog.build("digits", say=lambda line: None)
  assert catalog.is_built(source)
  assert [p.name for p in folder.parent.iterdir()] == ["1.0.0"]


def test_unknown_name(data):
  with pytest.raises(DataError, match="no data set is named 'zzz'"):
    catalog.build("zzz")


def test_folders(monkeypatch, tmp_path):
  for name in ("KD_JAX_DATA", "TFDS_DATA_DIR"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
  assert folders.data_dir() == tmp_path / "x" / "kd_jax" / "data"
  assert folders.wheels_dir() == tmp_path / "x" / "kd_jax" / "wheels"
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "t"))
  assert folders.data_dir() == tmp_path / "t"
  assert folders.wheels_dir() == tmp_path / "x" / "kd_jax" / "wheels"
  monkeypatch.setenv("KD_JAX_DATA", str(tmp_path / "k"))
  assert folders.data_dir() == tmp_path / "k"
  assert folders.wheels_dir() == tmp_path / "k" / "wheels"
