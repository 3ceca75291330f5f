"""Representations of one's own: an `.npz`, or a dict of arrays, checked.

Any encoder serves: what it gave for a training and a test set is all that is
needed. Nothing in a file is executed.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.datasets.errors import DataError
from kd_jax.methods.qscore import planted
from kd_jax.methods.qscore.config import Config

REQUIRED = ("train_features", "train_labels", "test_features", "test_labels")
MASKS = ("test_maps", "test_core", "test_spurious")
KNOWN = (*REQUIRED, "test_correct", *MASKS, "test_image")
_AXES = {"test_maps": 4, "test_core": 3, "test_spurious": 3, "test_image": 4}


@dataclasses.dataclass(frozen=True)
class Table:
  """Representations with what is known about them.

  Attributes:
    name: where they are from.
    arrays: by the names of `KNOWN`.
    classes: how many there are.
  """

  name: str
  arrays: Mapping[str, np.ndarray]
  classes: int

  @property
  def masked(self) -> bool:
    """Whether heatmaps can be made and judged."""
    return all(name in self.arrays for name in MASKS)


def load(config: Config, data: Mapping[str, Any]) -> Table:
  """The configured representations, or the user's own by role.

  Args:
    config: says which; its seed draws the planted ones.
    data: may hold "features": a path or a dict of arrays.

  Returns:
    The table.

  Raises:
    DataError: one sentence: what is wrong, where, what was expected.
  """
  source = data.get("features", config.features)
  if isinstance(source, Mapping):
    return table("the dict", source)
  if os.fspath(source) == "planted":
    train, test = (
      planted.draw(config.seed, i, config.examples) for i in (0, 1)
    )
    arrays = {
      "train_features": train["features"],
      "train_labels": train["labels"],
      "test_features": test["features"],
      "test_labels": test["labels"],
      "test_correct": test["correct"],
    }
    return table("planted codes", arrays)
  path = pathlib.Path(os.path.expanduser(source))
  return table(str(path), read(path))


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Every known array of an `.npz`.

  Args:
    path: the file.

  Returns:
    Arrays by name.

  Raises:
    DataError: if it cannot be read, or holds what is not known.
  """
  if not path.is_file():
    what = "a folder" if path.is_dir() else "no such file"
    raise DataError(
      f"{path}: {what}; features is 'planted' or an .npz with "
      f"{', '.join(REQUIRED)}"
    )
  try:
    if not zipfile.is_zipfile(path):
      raise ValueError("it is no zip archive")
    with np.load(path, allow_pickle=False) as file:
      found = {name: file[name] for name in file.files}
  # What zip, its compressions and NumPy's header raise has no common parent.
  except Exception as error:
    why = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{path}: not an .npz of plain arrays ({why})") from error
  return found


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
  missing = [name for name in REQUIRED if name not in arrays]
  if missing:
    raise DataError(
      f"{where}: no {' and no '.join(missing)}; expected {', '.join(REQUIRED)}"
    )
  if unknown := sorted(set(arrays) - set(KNOWN)):
    raise DataError(f"{where}: unknown {unknown[0]}; known: {', '.join(KNOWN)}")
  found = {k: _cast(where, k, np.asarray(v)) for k, v in arrays.items()}
  for split in ("train", "test"):
    own = {k: v for k, v in found.items() if k.startswith(split)}
    _check_rows(where, f"{split}_features", own)
  _check_widths(where, found)
  labels = np.concatenate([found["train_labels"], found["test_labels"]])
  if labels.min() < 0:
    raise DataError(f"{where}: a label is {labels.min()}; classes begin at 0")
  if len(np.unique(found["train_labels"])) < 2:
    raise DataError(
      f"{where}: train_labels has one class, expected two or more"
    )
  return Table(where, found, int(labels.max()) + 1)


def _cast(where, name, array):
  """As numbers of the kind that the name has."""
  kind = array.dtype.kind
  if name.endswith("labels"):
    if kind not in "iu":
      raise DataError(
        f"{where}: {name} holds {array.dtype}; expected whole numbers"
      )
    return array.astype(np.int32)
  if kind not in "biuf":
    raise DataError(
      f"{where}: {name} holds {array.dtype}; expected real numbers"
    )
  if name == "test_correct":
    return array.astype(bool)
  if name == "test_image":
    return array
  array = array.astype(np.float32)
  if not np.isfinite(array).all():
    row = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0]
    raise DataError(f"{where}: row {row} of {name} is not finite")
  return array


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


def _check_widths(where, found):
  r = found["train_features"].shape[1]
  for name in ("test_features", "test_maps"):
    if name in found and found[name].shape[-1] != r:
      raise DataError(
        f"{where}: {name} has {found[name].shape[-1]} coordinates, "
        f"train_features {r}"
      )
  core, spurious = (found.get(k) for k in ("test_core", "test_spurious"))
  if core is not None and spurious is not None and core.shape != spurious.shape:
    raise DataError(
      f"{where}: test_core is {core.shape}, test_spurious {spurious.shape}"
    )
