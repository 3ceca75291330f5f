"""Decoding a split once, into memory-mapped columns beside its files.

Decoding an image in Python costs more than a small network's training step. The
columns are plain `.npy` files with a manifest; they are written into a folder
of another name that is renamed when complete, so that a killed decode leaves
nothing half done.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kd_jax.datasets import images
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.progress import Say, to_stderr, track

_MANIFEST = "manifest.json"


def columns(
  source: Any,
  split: str,
  *,
  cache: str | os.PathLike[str] | None = None,
  image_size: tuple[int, int] | None = None,
  say: Say = to_stderr,
) -> dict[str, np.memmap]:
  """Decodes a prepared builder's split, or maps what was decoded before.

  Args:
    source: a TFDS builder whose files are prepared (array_record).
    split: the split's name, in TFDS's syntax ("train", "train[:80%]").
    cache: folder of the columns; "columns" beside the builder's files if None.
    image_size: the height and width that "image" is resized to.
    say: takes plain lines of progress where there is no terminal.

  Returns:
    One array (n, ...) per numeric feature, mapped from disk and read-only;
    integers of 64 bits become int32. Text features are left out.

  Raises:
    DataError: if records differ in shape (names the record), or there are none.
  """
  files = Path(source.data_dir)
  what = split
  if image_size is not None:
    what += f" at {image_size[0]}x{image_size[1]}"
  folder = Path(files / "columns" if cache is None else cache) / _name(what)
  fingerprint = _fingerprint(files, what)
  if (found := _read(folder, fingerprint)) is not None:
    return found
  records = source.as_data_source(split)
  label = f"decoding {source.name} {what}"
  prepare = functools.partial(_prepared, image_size=image_size)
  _write(records, prepare, folder, fingerprint, label, say)
  found = _read(folder, fingerprint)
  if found is None:
    raise DataError(f"{files} changed while its split {split!r} was decoded")
  return found


def numeric(record: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """A record's numeric features as arrays; text is left out.

  Args:
    record: decoded features by name.

  Returns:
    Arrays by name; 64-bit integers as int32 and 64-bit floats as float32, which
    is what JAX would make of them.
  """
  narrow = {"int64": np.int32, "uint64": np.uint32, "float64": np.float32}
  arrays = {name: np.asarray(value) for name, value in record.items()}
  return {
    name: a.astype(narrow.get(a.dtype.name, a.dtype), copy=False)
    for name, a in arrays.items()
    if a.dtype.kind in "biuf"
  }


def _prepared(record, image_size) -> dict[str, np.ndarray]:
  """A record's numeric features, the image in the size that is wanted."""
  found = numeric(record)
  if image_size is not None and found["image"].shape[:2] != image_size:
    found["image"] = images.resize(found["image"], image_size)
  return found


def _write(records, prepare, folder: Path, fingerprint, label, say) -> None:
  n = len(records)
  if not n:
    raise DataError(f"{label}: the split has no records")
  folder.parent.mkdir(parents=True, exist_ok=True)
  part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
  try:
    first = prepare(records[0])
    out = {
      name: np.lib.format.open_memmap(
        part / f"{name}.npy", mode="w+", dtype=a.dtype, shape=(n, *a.shape)
      )
      for name, a in first.items()
    }
    for i, record in enumerate(track(each(records), n, label, say)):
      _fill(out, i, prepare(record), label)
    for column in out.values():
      column.flush()
    manifest = {
      "fingerprint": fingerprint,
      "columns": {k: [list(c.shape), c.dtype.str] for k, c in out.items()},
    }
    (part / _MANIFEST).write_text(json.dumps(manifest, indent=1))
    # Another process may have been first; what it maps must stay.
    if _read(folder, fingerprint) is None:
      shutil.rmtree(folder, ignore_errors=True)
      _rename(part, folder)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, folder: Path) -> None:
  try:
    part.rename(folder)
  except OSError:
    # Another process finished the same columns first; its work is as good.
    if not (folder / _MANIFEST).exists():
      raise


def _fill(out, i, record, label) -> None:
  for name, column in out.items():
    if record[name].shape != column.shape[1:]:
      raise DataError(
        f"{label}: {name} of record {i} is {record[name].shape}, that of "
        f"record 0 is {column.shape[1:]}; columns need one shape (an image "
        "size, where the method has a field for it)"
      )
    column[i] = record[name]


def each(records: Any, size: int = 64) -> Iterator[Any]:
  """All records; many at a time where the source can read so.

  Args:
    records: random access to records.
    size: how many are read at a time.

  Yields:
    The records in their order.
  """
  many = getattr(records, "__getitems__", None)
  for start in range(0, len(records), size):
    indices = range(start, min(start + size, len(records)))
    yield from many(list(indices)) if many else (records[i] for i in indices)


def _read(folder: Path, fingerprint: str) -> dict[str, np.memmap] | None:
  """The columns, or None if they are absent or of other files."""
  try:
    manifest = json.loads((folder / _MANIFEST).read_text())
    if manifest["fingerprint"] != fingerprint:
      return None
    found = {
      name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
      for name in manifest["columns"]
    }
  except (OSError, ValueError, KeyError):
    return None
  said = {k: [list(c.shape), c.dtype.str] for k, c in found.items()}
  return found if said == manifest["columns"] else None


def _fingerprint(files: Path, split: str) -> str:
  """Changes when the builder's files do."""
  digest = hashlib.sha256(split.encode())
  for path in sorted(files.iterdir()):
    # Not dataset_info.json, which TFDS may write again, nor pictures of ours.
    if ".array_record" in path.name or path.name == "features.json":
      stat = path.stat()
      line = f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n"
      digest.update(line.encode())
  return digest.hexdigest()


def _name(split: str) -> str:
  """A split as the name of a folder, different for different splits."""
  plain = re.sub(r"\W+", "_", split)
  if plain == split:
    return plain
  return f"{plain}-{hashlib.sha256(split.encode()).hexdigest()[:8]}"
