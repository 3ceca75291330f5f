"""Arrays of one's own, checked: what is wrong, where, and what was expected."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.datasets.errors import DataError

REQUIRED = ("train_features", "train_labels", "test_features", "test_labels")
MASKS = ("test_maps", "test_core", "test_spurious")
KNOWN = (*REQUIRED, "test_correct", *MASKS, "test_image")
_AXES = {"test_maps": 4, "test_core": 3, "test_spurious": 3, "test_image": 4}
# What arrays that are no measurements may hold.
_RANGES = {"test_core": (0, 1), "test_spurious": (0, 1), "test_image": (0, 255)}


@dataclasses.dataclass(frozen=True)
class Table:
  """Representations with what is known about them.

  Attributes:
    name: where they are from.
    arrays: by the names of `KNOWN`; labels count from 0 without gaps.
    classes: how many there are.
  """

  name: str
  arrays: Mapping[str, np.ndarray]
  classes: int

  @property
  def masked(self) -> bool:
    """Whether heatmaps can be made and judged."""
    return all(name in self.arrays for name in MASKS)


def table(where: str, arrays: Mapping[str, Any]) -> Table:
  """Checks arrays.

  Args:
    where: what to call them in messages.
    arrays: by name.

  Returns:
    The table: float32, int32 and bool, all of them finite.

  Raises:
    DataError: one sentence for the first thing that is wrong.
  """
  _check_names(where, arrays)
  found = {name: _cast(where, name, array) for name, array in arrays.items()}
  for split in ("train", "test"):
    own = {k: v for k, v in found.items() if k.startswith(split)}
    _check_rows(where, f"{split}_features", own)
  _check_widths(where, found)
  for split in ("train", "test"):
    _check_lengths(where, f"{split}_features", found[f"{split}_features"])
  _check_correct(where, found)
  labels, classes = _classes(where, found)
  return Table(where, found | labels, classes)


def _check_names(where, arrays):
  missing = [name for name in REQUIRED if name not in arrays]
  if missing:
    raise DataError(
      f"{where}: no {' and no '.join(missing)}; expected {', '.join(REQUIRED)}"
    )
  if unknown := sorted(map(str, set(arrays) - set(KNOWN))):
    raise DataError(f"{where}: unknown {unknown[0]}; known: {', '.join(KNOWN)}")
  if 0 < len(given := [name for name in MASKS if name in arrays]) < len(MASKS):
    raise DataError(
      f"{where}: {' and '.join(given)} without the others of "
      f"{', '.join(MASKS)}: give all three, or none"
    )


def _cast(where, name, values):
  """As numbers of the kind that the name has."""
  try:
    array = np.asarray(values)
  except ValueError as error:
    raise DataError(f"{where}: {name} is no array ({error})") from None
  kind = array.dtype.kind
  if name.endswith("labels"):
    if kind not in "iu":
      raise DataError(
        f"{where}: {name} holds {array.dtype}; expected whole numbers"
      )
    return array
  if kind not in "biuf":
    raise DataError(
      f"{where}: {name} holds {array.dtype}; expected real numbers"
    )
  if array.ndim == 0:
    raise DataError(f"{where}: {name} is one number, expected an array")
  if not (fine := np.isfinite(array)).all():
    row = np.flatnonzero(~fine.reshape(len(array), -1).all(1))[0]
    raise DataError(f"{where}: row {row} of {name} is not finite")
  if name in _RANGES and array.size:
    _check_range(where, name, array)
  if name in ("test_correct", "test_image"):
    return array
  with np.errstate(over="ignore"):  # Lengths are looked at below.
    return array.astype(np.float32)


def _check_range(where, name, array):
  low, high = _RANGES[name]
  if array.min() < low or array.max() > high:
    raise DataError(
      f"{where}: {name} goes from {array.min():g} to {array.max():g}; expected "
      f"{low} to {high}"
    )
  if name != "test_image" and not array.any():
    raise DataError(f"{where}: {name} is 0 everywhere; there is no mask in it")


def _check_rows(where, first, arrays):
  features = arrays[first]
  if features.ndim != 2 or features.size == 0:
    raise DataError(
      f"{where}: {first} is {features.shape}; expected (examples, coordinates)"
    )
  for name, array in arrays.items():
    axes = _AXES.get(name, 1)
    if name != first and (array.ndim != axes or len(array) != len(features)):
      raise DataError(
        f"{where}: {name} is {array.shape}; expected {axes} axes and "
        f"{len(features)} rows, as {first} has"
      )
    if array.size == 0:
      raise DataError(
        f"{where}: {name} is {array.shape}; there is nothing in it"
      )


def _check_widths(where, found):
  r = found["train_features"].shape[1]
  if r < 3:
    raise DataError(
      f"{where}: train_features has {r} coordinates; of fewer than 3 none can "
      "be a deviation above the mean"
    )
  for name in ("test_features", "test_maps"):
    if name in found and found[name].shape[-1] != r:
      raise DataError(
        f"{where}: {name} has {found[name].shape[-1]} coordinates, "
        f"train_features {r}"
      )
  image, core, spurious = (
    found.get(f"test_{k}") for k in ("image", "core", "spurious")
  )
  if core is not None and core.shape != spurious.shape:
    raise DataError(
      f"{where}: test_core is {core.shape}, test_spurious {spurious.shape}"
    )
  if image is not None and image.shape[3] not in (1, 3):
    raise DataError(
      f"{where}: test_image is {image.shape}; expected 1 or 3 channels, last"
    )
  if image is not None and core is not None and image.shape[:3] != core.shape:
    raise DataError(
      f"{where}: test_image is {image.shape}, test_core {core.shape}: masks "
      "have the images' height and width"
    )


def _check_lengths(where, name, features):
  """Whether rows have a length in float32, and not all are flat."""
  with np.errstate(over="ignore"):
    squares = np.square(features).sum(1)
  if not np.isfinite(squares).all():
    row = np.flatnonzero(~np.isfinite(squares))[0]
    raise DataError(
      f"{where}: row {row} of {name} is too long for float32; scale all of them"
    )
  if (features == features[:, :1]).all():
    raise DataError(
      f"{where}: each row of {name} is one number over and over, out of which "
      "nothing stands"
    )


def _check_correct(where, found):
  if (correct := found.get("test_correct")) is None:
    return
  if not np.isin(correct, (0, 1)).all():
    wrong = correct[~np.isin(correct, (0, 1))][0]
    raise DataError(
      f"{where}: test_correct holds {wrong}; expected True or False, 1 or 0"
    )
  if len(np.unique(correct)) < 2:
    raise DataError(
      f"{where}: test_correct is {bool(correct[0])} everywhere, and a score "
      "tells right from wrong; leave it out to have a probe say"
    )
  found["test_correct"] = correct.astype(bool)


def _classes(where, found):
  """The labels, counted from 0 without gaps, and how many there are."""
  train, test = (found[f"{split}_labels"] for split in ("train", "test"))
  if (least := min(train.min(), test.min())) < 0:
    raise DataError(f"{where}: a label is {least}; classes begin at 0")
  known = np.unique(train)
  if len(known) < 2:
    raise DataError(
      f"{where}: train_labels has one class, expected two or more"
    )
  if len(other := np.setdiff1d(test, known)):
    raise DataError(
      f"{where}: test_labels has the class {other[0]}, of which there is "
      "nothing in train_labels"
    )
  labels = {
    f"{split}_labels": np.searchsorted(known, own).astype(np.int32)
    for split, own in (("train", train), ("test", test))
  }
  return labels, len(known)
