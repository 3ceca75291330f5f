"""A user's data as one argument.

`load(spec, split)` takes the name of a data set, an `.npz` file, a folder of
class folders of images or, in Python, a dict of arrays, and gives columns.

- An `.npz`, or a dict, has the keys "image" ((n, h, w) or (n, h, w, c), uint8
  0 to 255 or floats 0 to 1) and "label" ((n,) integers from 0); or such keys
  for each split ("train_image", "train_label", "test_image" ...; in a dict also
  {"train": {"image": ...}, ...}).
- A folder holds one folder per class, the classes numbered in the order of
  their sorted names; or "train" and "test" (and others), each of such. Grey
  files stay grey if the first one is; all others become RGB.
- A named data set without a "test" is tested on its validation split.
- Without a split of its own, "test" is every fifth example of each class in
  the order they come, "train" the others, "all" everything. Data without labels
  is not split.
"""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kd_jax.datasets import catalog, images
from kd_jax.datasets.checks import check
from kd_jax.datasets.decode import columns
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.holdout import every_fifth
from kd_jax.datasets.progress import Say, to_stderr, track

Spec = str | os.PathLike[str] | Mapping[str, Any]


def load(
  spec: Spec,
  split: str = "train",
  *,
  labelled: bool = True,
  classes: int | None = None,
  image_size: int | tuple[int, int] | None = None,
  say: Say = to_stderr,
) -> dict[str, np.ndarray]:
  """Loads and checks a split of a user's data.

  Args:
    spec: a name, a path or a dict; see the module.
    split: "train", "test", "all", or what the data set itself has.
    labelled: whether labels are wanted. Without, they are neither asked for nor
      returned, and an image folder is searched at any depth.
    classes: how many classes there are, to check the labels against.
    image_size: folders and named data sets are resized to this height and
      width (one number is both); if None all images of a folder must be of the
      first one's size.
    say: takes what is being done, in lines.

  Returns:
    "image" uint8 (n, h, w, c) and, if `labelled`, "label" int32 (n,).

  Raises:
    DataError: one sentence: what is wrong, where, what was expected.
  """
  if isinstance(spec, Mapping):
    return _arrays(spec, split, "the dict", labelled, classes)
  spec = os.fspath(spec)
  if not spec:
    raise DataError("the name of a data set, or its path, is empty")
  try:
    path = Path(spec).expanduser()
  except RuntimeError as error:
    raise DataError(f"there is no folder {spec}: {error}") from None
  if path.suffix == ".npz":
    return _arrays(_npz(path), split, str(path), labelled, classes)
  if is_path(spec):
    arrays = _folder(path, split, labelled, image_size, say)
    return check(arrays, where=str(path), labelled=labelled, classes=classes)
  return _named(spec, split, labelled, classes, image_size, say)


def is_path(spec: str) -> bool:
  """Whether a user's data is a file or folder of theirs, and not a name.

  Args:
    spec: what `load` takes.

  Returns:
    True for an `.npz`, and for a folder. A name wins over a folder of that
    name; ./NAME is the folder.
  """
  if spec.endswith(".npz"):
    return True
  if catalog.is_embedded(spec):
    return False
  return spec.startswith((".", "~", os.sep)) or Path(spec).is_dir()


def _named(name, split, labelled, classes, size, say):
  try:
    source = catalog.builder(name)
  except DataError as error:
    raise DataError(f"{error}; nor is it a folder or an .npz") from error
  if not catalog.is_built(source):
    if not catalog.is_embedded(name):
      raise catalog.not_built(name)
    catalog.build(name, say=say)
    source = catalog.builder(name)
  splits = list(source.info.splits)
  if split == "test" and split not in splits:
    # What papers test on where the test labels were never published.
    split = next((s for s in ("validation", "valid") if s in splits), split)
  if split.split("[")[0] not in [*splits, "all"]:
    raise DataError(f"{name} has no split {split!r}; it has {splits}")
  size = (size, size) if isinstance(size, int) else size
  if size is not None and source.info.features["image"].shape[:2] == size:
    size = None
  found = columns(source, split, image_size=size, say=say)
  return check(found, where=name, labelled=labelled, classes=classes)


def _npz(path: Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    raise DataError(f"there is no file {path}")
  try:
    # Opened here: NumPy leaves the file of a broken archive open.
    with path.open("rb") as file, zipfile.ZipFile(file):
      file.seek(0)
      with np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
  # What a broken archive, and pickled objects in it, raise.
  except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as e:
    raise DataError(f"cannot read {path}: {e}") from None


def _arrays(data, split, where, labelled, classes):
  """The split's arrays: its own, or a part of all of them."""
  data = dict(data)
  for name, value in list(data.items()):
    if isinstance(value, Mapping):
      data |= {f"{name}_{key}": array for key, array in value.items()}
      del data[name]
  own = {
    key: data[f"{split}_{key}"]
    for key in ("image", "label")
    if f"{split}_{key}" in data
  }
  if own:
    where = f"{where}, split {split}"
    return check(own, where=where, labelled=labelled, classes=classes)
  others = [k for k in data if k.endswith(("_image", "_label"))]
  if others and "image" not in data:
    raise DataError(f"{where} has no split {split!r}; its keys are {others}")
  arrays = check(data, where=where, labelled=labelled, classes=classes)
  return _part(arrays, split, where)


def _part(arrays, split, where):
  """The fixed split of data that has none."""
  if split not in ("train", "test", "all"):
    raise DataError(
      f"{where} has no split {split!r}; it is cut into train and test, or all"
    )
  if "label" not in arrays or split == "all":
    return arrays
  test = every_fifth(arrays["label"])
  chosen = test if split == "test" else ~test
  if not chosen.any():
    raise DataError(
      f"{where} has no {split} part: no class has the 5 examples it takes"
    )
  return {name: a[chosen] for name, a in arrays.items()}


def _folder(path, split, labelled, size, say):
  """Decodes the files of a folder's split, and no others."""
  if not path.is_dir():
    raise DataError(f"there is no folder {path}")
  parts = _folders(path)
  names = [part.name for part in parts]
  whole = not {"train", "test"} & set(names)
  if whole:
    parts = [path]
  elif split not in (*names, "all"):
    raise DataError(f"{path} has no split {split!r}; it has {names}")
  wanted = [p for p in parts if whole or split in (p.name, "all")]
  # Numbered over all splits: one that lacks a class must not shift the others.
  classes = sorted({f.name for part in parts for f in _folders(part)})
  files, labels = _files(wanted, classes if labelled else None)
  if not files:
    raise DataError(
      f"{path} has no images ({', '.join(sorted(images.SUFFIXES))})"
      + (" in class folders" if labelled else "")
    )
  arrays = {"image": np.array(files, object)}
  if labelled:
    arrays["label"] = np.array(labels, np.int32)
    _check_classes(path, classes, arrays["label"], whole or split == "all")
  if whole:
    arrays = _part(arrays, split, str(path))
  label = f"decoding {path}" if split == "all" else f"decoding {path}, {split}"
  return {**arrays, "image": _decode(arrays["image"], size, label, say)}


def _check_classes(path, classes, labels, every: bool) -> None:
  """Two classes or more; and, where `every` file was listed, none is empty."""
  counts = np.bincount(labels, minlength=len(classes))
  if every and not counts.all():
    empty = classes[int(np.argmin(counts))]
    raise DataError(f"the class folder {empty} of {path} has no images")
  if (counts > 0).sum() < 2:
    only = classes[int(np.argmax(counts))]
    raise DataError(f"{path} has one class only ({only}), expected two or more")


def _folders(path: Path) -> list[Path]:
  found = (p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
  return sorted(found)


def _files(
  roots: list[Path], classes: list[str] | None
) -> tuple[list[Path], list[int]]:
  """Image files in order, and the number of each one's class."""
  if classes is None:
    return [f for root in roots for f in _images(root, "**/*")], []
  files, labels = [], []
  for label, name in enumerate(classes):
    found = [f for root in roots for f in _images(root / name, "*")]
    files += found
    labels += [label] * len(found)
  return files, labels


def _images(folder: Path, pattern: str) -> list[Path]:
  return sorted(
    p for p in folder.glob(pattern) if p.suffix.lower() in images.SUFFIXES
  )


def _decode(files, size, label, say):
  """All images in one array; grey if the first one is."""
  grey = images.is_grey(files[0])
  first = images.read(files[0], grey, size)
  out = np.empty((len(files), *first.shape), np.uint8)
  for i, file in enumerate(track(files, len(files), label, say)):
    image = images.read(file, grey, size)
    if image.shape != first.shape:
      raise DataError(
        f"{file} is {image.shape[0]}x{image.shape[1]}, {files[0]} is "
        f"{first.shape[0]}x{first.shape[1]}: give an image size to resize to"
      )
    out[i] = image
  return out
