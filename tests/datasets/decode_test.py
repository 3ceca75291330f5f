"""Columns that are decoded once."""

import os

import numpy as np
import pytest

from kd_jax.datasets import decode, images
from kd_jax.datasets.errors import DataError


class _Source:
  """A prepared builder, as far as `columns` looks at it."""

  name = "fake"

  def __init__(self, folder, records):
    folder.mkdir(exist_ok=True)
    self.data_dir = os.fspath(folder)
    self.records = records
    self.reads = 0
    (folder / "fake-train.array_record-00000-of-00001").write_bytes(b"12345")

  def as_data_source(self, split):
    self.reads += 1
    return self.records


def _records(n=5):
  return [
    {"image": np.full((2, 2, 1), i, np.uint8), "label": i, "name": "text"}
    for i in range(n)
  ]


def _columns(source, **kwargs):
  return decode.columns(source, "train", say=lambda line: None, **kwargs)


def test_decodes_once(tmp_path):
  source = _Source(tmp_path / "d", _records())
  for _ in range(2):
    got = _columns(source)
    assert sorted(got) == ["image", "label"]
    assert isinstance(got["image"], np.memmap)
    assert not got["image"].flags.writeable
    assert got["label"].dtype == np.int32
    np.testing.assert_array_equal(got["label"], np.arange(5))
    np.testing.assert_array_equal(got["image"][:, 1, 1, 0], np.arange(5))
  assert source.reads == 1


def test_changed_files_are_decoded_again(tmp_path):
  source = _Source(tmp_path / "d", _records())
  _columns(source)
  record = tmp_path / "d" / "fake-train.array_record-00000-of-00001"
  before = record.stat()
  record.write_bytes(b"123456")
  os.utime(record, ns=(before.st_atime_ns, before.st_mtime_ns))
  source.records = _records(7)
  assert len(_columns(source)["label"]) == 7
  (tmp_path / "d" / "picture.png").write_bytes(b"")  # Not one of its files.
  _columns(source)
  assert source.reads == 2


def test_killed_decode_leaves_nothing(tmp_path):
  class Killed(BaseException):
    pass

  def say(line):
    raise Killed

  source = _Source(tmp_path / "d", _records())
  with pytest.raises(Killed):
    decode.columns(source, "train", say=say)
  assert list((tmp_path / "d" / "columns").iterdir()) == []
  assert len(_columns(source)["label"]) == 5


def test_another_process_was_first(tmp_path):
  """Both give the columns, and the first one's files stay."""
  source = _Source(tmp_path / "d", _records())
  path = tmp_path / "d" / "columns" / "train"
  kept = []

  def say(line):
    if not kept:
      _columns(source)
      kept.append((path / "image.npy").stat().st_ino)

  got = decode.columns(source, "train", say=say)
  np.testing.assert_array_equal(got["label"], np.arange(5))
  assert source.reads == 2
  assert (path / "image.npy").stat().st_ino == kept[0]
  assert [p.name for p in path.parent.iterdir()] == ["train"]


@pytest.mark.parametrize("damage", ["truncated", "another shape"])
def test_damaged_column_is_decoded_again(tmp_path, damage):
  source = _Source(tmp_path / "d", _records())
  _columns(source, cache=tmp_path / "c")
  path = tmp_path / "c" / "train" / "image.npy"
  if damage == "truncated":
    path.write_bytes(path.read_bytes()[:130])
  else:
    np.save(path, np.zeros((3, 2, 2, 1), np.uint8))
  np.testing.assert_array_equal(
    _columns(source, cache=tmp_path / "c")["image"][:, 0, 0, 0], np.arange(5)
  )


def test_splits_have_their_own_folders(tmp_path):
  source = _Source(tmp_path / "d", _records())
  for split in ("train[:80%]", "train[:80]"):
    decode.columns(source, split, say=lambda line: None)
  assert len(list((tmp_path / "d" / "columns").iterdir())) == 2


def test_images_of_any_size_become_columns_of_one(tmp_path):
  rng = np.random.default_rng(0)
  records = [
    {"image": rng.integers(0, 256, (h, w, 3), np.uint8), "label": h}
    for h, w in [(4, 6), (9, 5), (7, 7)]
  ]
  source = _Source(tmp_path / "d", records)
  with pytest.raises(DataError, match="columns need one shape"):
    _columns(source)
  for size in [(4, 6), (3, 3)]:
    got = _columns(source, image_size=size)
    assert got["image"].shape == (3, *size, 3)
    for image, record in zip(got["image"], records, strict=True):
      np.testing.assert_array_equal(image, images.resize(record["image"], size))
    np.testing.assert_array_equal(got["label"], [4, 9, 7])
  np.testing.assert_array_equal(
    _columns(source, image_size=(4, 6))["image"][0], records[0]["image"]
  )
  assert source.reads == 3  # Each size is decoded once.


def test_bad_records(tmp_path):
  records = _records()
  records[3]["image"] = np.zeros((2, 3, 1), np.uint8)
  source = _Source(tmp_path / "d", records)
  with pytest.raises(DataError, match=r"record 3 is \(2, 3, 1\).*\(2, 2, 1\)"):
    _columns(source)
  with pytest.raises(DataError, match="has no records"):
    _columns(_Source(tmp_path / "e", []))
