"""Our builders of official files: what they make of good and damaged ones."""

import gzip
import importlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import official_files
import pytest

from kd_jax import listing
from kd_jax.datasets import catalog, decode, shown, sources
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.official import families

_SHARED = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn_cropped")
# What the publishers say, or count.
_OFFICIAL = {
  "mnist": {"train": 60_000, "test": 10_000},
  "fashion_mnist": {"train": 60_000, "test": 10_000},
  "mnist_rotated": {"train": 12_000, "test": 50_000},
  "cifar10": {"train": 50_000, "test": 10_000},
  "cifar100": {"train": 50_000, "test": 10_000},
  "svhn_cropped": {"train": 73_257, "test": 26_032, "extra": 531_131},
  "cinic10": {"train": 90_000, "valid": 90_000, "test": 90_000},
  "tiny_imagenet": {"train": 100_000, "validation": 10_000},
  "imagenet32": {"train": 1_281_167, "validation": 50_000},
  "imagenet64": {"train": 1_281_167, "validation": 50_000},
}
_CLASSES = {"cifar100": 100, "tiny_imagenet": 200, "cifar100_c": 100} | {
  "imagenet32": 1000,
  "imagenet64": 1000,
}


def _hush(line):
  del line


def _module(name):
  return importlib.import_module(
    f"kd_jax.datasets.{name}.{name}_dataset_builder"
  )


def _dummy(name):
  return Path(_module(name).__file__).parent / "dummy_data"


@pytest.fixture
def sizes(data, monkeypatch):
  """The builders expect as many examples as the dummy data have."""
  for name, (by_split, _) in official_files.SIZES.items():
    if name.endswith("_c"):  # Not all 95, which takes long.
      by_split = dict(list(by_split.items())[3:8])
    monkeypatch.setattr(_module(name).Builder, "SIZES", by_split)
  return data


def _order(columns):
  flat = np.concatenate(
    [v.reshape(len(v), -1).astype(np.int64) for v in columns.values()], 1
  )
  return np.lexsort(flat.T[::-1])


@pytest.mark.parametrize("name", sorted(official_files.SIZES))
def test_builds_what_the_files_say(sizes, name):
  catalog.build(name, manual_dir=_dummy(name), say=_hush)
  source = catalog.builder(name)
  assert set(source.info.splits) == set(source.SIZES)
  for split in source.SIZES:
    got = decode.columns(source, split, say=_hush)
    expected = official_files.content(name, split)
    assert set(got) == set(expected)
    close = 2 if name == "tiny_imagenet" else 0  # JPEG rounds.
    # TFDS shuffles the records, but for those whose order means something.
    mine, theirs = (
      (slice(None), slice(None))
      if source.ORDERED
      else (np.argsort(c["image"].sum((1, 2, 3))) for c in (got, expected))
    )
    for key, value in expected.items():
      np.testing.assert_allclose(
        got[key][mine].astype(int), value[theirs], rtol=0, atol=close
      )


@pytest.mark.parametrize("name", sorted(official_files.SIZES))
def test_layout(data, name):
  source = catalog.builder(name)
  folder = _dummy(name).parent
  for file in ("README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"):
    assert (folder / file).exists(), file
  assert source.info.citation.startswith("@")
  assert "Licence:" in source.info.description
  assert source.info.features["label"].num_classes == _CLASSES.get(name, 10)
  assert source.name == (f"kd_jax_{name}" if name in _SHARED else name)
  corrupted = {
    f"{c}_{s}": 10_000 for c in families.CORRUPTIONS for s in range(1, 6)
  }
  assert _OFFICIAL.get(name, corrupted) == source.SIZES
  names = {remote.name for remote in source.remotes()}
  assert names == {path.name for path in _dummy(name).iterdir()}
  for remote in source.remotes():
    assert remote.url.endswith(f"/{remote.name}")
    assert len(remote.digest) in (32, 64)


def test_ours_and_theirs_are_registered_side_by_side(data):
  import tensorflow_datasets as tfds

  for name in _SHARED:
    ours = catalog.builder(name)
    theirs = catalog.builder(f"tfds:{name}")
    assert (theirs.name, ours.name) == (name, f"kd_jax_{name}")
    assert type(theirs).__module__.startswith("tensorflow_datasets.")
    assert isinstance(tfds.builder(f"kd_jax_{name}"), type(ours))
    assert theirs.data_dir != ours.data_dir


def test_the_list_tells_ours_from_theirs(data):
  for folder in ("cifar10/3.0.2", "kd_jax_cifar100/1.0.0", "omniglot/3.0.0"):
    (data / folder).mkdir(parents=True)
    (data / folder / "dataset_info.json").write_text("{}")
  built = {e.name for e in catalog.entries() if e.built}
  assert built == {"tfds:cifar10", "cifar100", "omniglot"}


@pytest.mark.parametrize(
  ("name", "split", "n"),
  [("tiny_imagenet", "test", 4), ("cinic10", "valid", 10)],
)
def test_loads_by_name(sizes, name, split, n):
  with pytest.raises(DataError, match=f"run: kd-jax data build {name}"):
    sources.load(name, split)
  catalog.build(name, manual_dir=_dummy(name), say=_hush)
  assert len(sources.load(name, split, say=_hush)["image"]) == n


def test_an_unpacked_archive_gives_the_same(sizes, tmp_path):
  packed = catalog.build("cifar10", manual_dir=_dummy("cifar10"), say=_hush)
  first = decode.columns(catalog.builder("cifar10"), "train", say=_hush)
  first = {k: np.array(v) for k, v in first.items()}
  shutil.rmtree(packed)
  with tarfile.open(_dummy("cifar10") / "cifar-10-binary.tar.gz") as archive:
    archive.extractall(tmp_path / "m", filter="data")
  for folder in (tmp_path / "m", tmp_path / "m" / "cifar-10-batches-bin"):
    built = catalog.build("cifar10", manual_dir=folder, say=_hush)
    again = decode.columns(catalog.builder("cifar10"), "train", say=_hush)
    for key, value in first.items():
      np.testing.assert_array_equal(value, again[key])
    shutil.rmtree(built)


def test_says_that_a_file_is_not_the_published_one(sizes):
  said = []
  catalog.build("mnist", manual_dir=_dummy("mnist"), say=said.append)
  notes = [line for line in said if "is not the published file" in line]
  assert len(notes) == 4
  assert "bytes, expected 9,912,422" in " ".join(notes)
  assert [s for s in said if s.startswith("building mnist train: 20 to do")]


def test_show(sizes, tmp_path):
  catalog.build("cifar100", manual_dir=_dummy("cifar100"), say=_hush)
  found = shown.show("cifar100", out=tmp_path / "grid.png", say=_hush)
  assert found.features == {
    "coarse_label": "scalar int32",
    "image": "32x32x3 uint8",
    "label": "scalar int32",
  }
  labels = official_files.content("cifar100", "test")["label"]
  assert found.counts["test"] == np.bincount(labels).tolist()
  assert (tmp_path / "grid.png").exists()
  assert "per class" in listing.show("cifar100", str(tmp_path / "again.png"))
  assert listing._per_class([3, 0, 3]) == "per class [3, 0, 3]"
  assert listing._per_class([7] * 1000) == "1000 classes of 7"
  assert listing._per_class([7] * 1000 + [2]) == "1001 classes of 2 to 7"


# Damage: to which file of which set, how, and what is said of it.


def _cut(content):
  return content[: len(content) * 2 // 3]


def _inside_gzip(change):
  def damage(content):
    return gzip.compress(change(gzip.decompress(content)), mtime=0)

  return damage


def _in_tar(member, change):
  def damage(content):
    out = io.BytesIO()
    with (
      tarfile.open(fileobj=io.BytesIO(content)) as old,
      tarfile.open(fileobj=out, mode="w") as new,
    ):
      for info in old:
        body = old.extractfile(info).read()
        if info.name.endswith(member):
          body = change(body)
          if body is None:
            continue
        info.size = len(body)
        new.addfile(info, io.BytesIO(body))
    return out.getvalue()

  return damage


def _in_zip(member, change):
  def damage(content):
    with zipfile.ZipFile(io.BytesIO(content)) as old:
      inside = {name: old.read(name) for name in old.namelist()}
    for name in list(inside):
      if name.endswith(member):
        inside[name] = change(inside[name])
        if inside[name] is None:
          del inside[name]
    return official_files.zipped(inside)

  return damage


def _gone(body):
  del body


def _pickled(body):
  del body
  array = np.array([{"a": 1}], dtype=object)
  stream = io.BytesIO()
  np.lib.format.write_array(stream, array, allow_pickle=True)
  return stream.getvalue()


_MNIST = "train-images-idx3-ubyte.gz"
_LABELS = "train-labels-idx1-ubyte.gz"
_C10 = "cifar-10-binary.tar.gz"
_ROTATED = "mnist_rotation_new.zip"
_VAL = "Imagenet32_val_npz.zip"
_TINY = "tiny-imagenet-200.zip"
_CINIC = "CINIC-10.tar.gz"
_C = "CIFAR-10-C.tar"


@pytest.mark.parametrize(
  ("name", "file", "damage", "match"),
  [
    ("mnist", _MNIST, _cut, f"cannot read .*{_MNIST}: Compressed file ended"),
    ("mnist", _MNIST, _inside_gzip(_cut), f"{_MNIST} has .* for 20x28x28, not"),
    ("mnist", _MNIST, lambda c: b"<html>", "is not an IDX file"),
    (
      "mnist",
      _LABELS,
      _inside_gzip(lambda c: c[:7] + b"\x13" + c[8:-1]),
      "20 im",
    ),
    (
      "mnist",
      _LABELS,
      _inside_gzip(lambda c: c[:-1] + b"\x0b"),
      "is 11, expect",
    ),
    ("mnist_rotated", _ROTATED, _cut, f"cannot read .*{_ROTATED}: "),
    (
      "mnist_rotated",
      _ROTATED,
      _in_zip("test.amat", _gone),
      "has no mnist_all_rotation_normalized_float_test.amat",
    ),
    (
      "mnist_rotated",
      _ROTATED,
      _in_zip("valid.amat", lambda c: c.replace(b" 0.", b" nan", 1)),
      "train_valid.amat in .*, line 1: expected 784 intensities",
    ),
    (
      "mnist_rotated",
      _ROTATED,
      _in_zip("valid.amat", lambda c: c[:-11] + b"\n"),
      "line 6: expected 784 intensities from 0 to 1 and a label",
    ),
    (
      "mnist_rotated",
      _ROTATED,
      _in_zip("valid.amat", lambda c: c[:-9] + b"2.5\n"),
      "line 6: the label is 2.5, expected 0 to 9",
    ),
    ("cifar10", _C10, _cut, f"cannot read .*{_C10}: "),
    (
      "cifar10",
      _C10,
      lambda c: b"\x80\x04junk" * 99,
      f"cannot read .*{_C10}: ",
    ),
    (
      "cifar10",
      _C10,
      _in_tar("h_2.bin", _cut),
      r"data_batch_2.bin in .*multiple",
    ),
    (
      "cifar10",
      _C10,
      _in_tar("test_batch.bin", _gone),
      "has no test_batch.bin",
    ),
    (
      "cifar10",
      _C10,
      _in_tar("h_1.bin", lambda c: b"\xff" + c[1:]),
      "label of example 0 of split 'train' is 255, expected 0 to 9",
    ),
    ("svhn_cropped", "test_32x32.mat", _cut, r"cannot read .*test_32x32.mat"),
    (
      "svhn_cropped",
      "test_32x32.mat",
      lambda c: b"",
      "cannot read .*test_32x32",
    ),
    ("cinic10", _CINIC, _cut, f"cannot read .*{_CINIC}: "),
    (
      "cinic10",
      _CINIC,
      _in_tar("train-3.png", _cut),
      "image train/.*train-3.png",
    ),
    (
      "cinic10",
      _CINIC,
      _in_tar("test-4.png", _gone),
      "'test' has 9 examples, exp",
    ),
    ("tiny_imagenet", _TINY, _cut, f"cannot read .*{_TINY}: "),
    ("tiny_imagenet", _TINY, _in_zip("wnids.txt", _gone), "has no wnids.txt"),
    ("tiny_imagenet", _TINY, _in_zip("s.txt", _gone), "has no wnids.txt"),
    (
      "tiny_imagenet",
      _TINY,
      _in_zip("annotations.txt", lambda c: c.replace(b"n02", b"n99")),
      "val_annotations.txt in .*, line 2: expected a file, a class of wnids",
    ),
    (
      "tiny_imagenet",
      _TINY,
      _in_zip("n01_boxes.txt", lambda c: c.split(b"\n")[0]),
      "no text file in .* speaks of train/n01/images/n01_3.JPEG",
    ),
    ("imagenet32", _VAL, _cut, f"cannot read .*{_VAL}: "),
    ("imagenet32", _VAL, _in_zip("npz", _cut), f"val_data.npz in .*{_VAL}"),
    (
      "imagenet32",
      _VAL,
      _in_zip("npz", _in_zip("data.npy", _cut)),
      f"data of val_data.npz in .*{_VAL} ends in row 2 of 4",
    ),
    (
      "imagenet32",
      _VAL,
      _in_zip("npz", _in_zip("labels.npy", _pickled)),
      "labels of val_data.npz .* is object",
    ),
    (
      "imagenet32",
      _VAL,
      _in_zip("npz", _in_zip("labels.npy", _gone)),
      "no array",
    ),
    (
      "imagenet64",
      "Imagenet64_train_part2_npz.zip",
      _in_zip("npz", _gone),
      "'train' has 4 examples, expected 6",
    ),
    ("cifar10_c", _C, _in_tar("labels.npy", _gone), f"{_C} has no labels.npy"),
    (
      "cifar10_c",
      _C,
      _in_tar("contrast.npy", _cut),
      "contrast.npy in .* ends in",
    ),
    (
      "cifar10_c",
      _C,
      _in_tar("labels.npy", _pickled),
      "labels.npy .* is object",
    ),
  ],
)
def test_damaged_files_are_refused(sizes, tmp_path, name, file, damage, match):
  folder = tmp_path / "manual"
  shutil.copytree(_dummy(name), folder)
  path = folder / file
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(DataError, match=match) as error:
    catalog.build(name, manual_dir=folder, say=_hush)
  assert "\n" not in str(error.value)
  assert not catalog.is_built(catalog.builder(name))
  assert not list(Path(catalog.builder(name).data_dir).parent.glob("*incompl*"))


@pytest.mark.parametrize("name", sorted(official_files.SIZES))
def test_an_empty_folder_is_refused(data, tmp_path, name):
  with pytest.raises(DataError, match=r"has no .* it is published at http"):
    catalog.build(name, manual_dir=tmp_path, say=_hush)
