"""Representations of one's own: an `.npz`, or a dict of arrays, checked.

Any encoder serves: what it gave for a training and a test set is all that is
needed. Nothing in a file is executed; `checked` says what may be in it.
"""

import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.datasets.errors import DataError
from kd_jax.methods.qscore import checked, planted
from kd_jax.methods.qscore.config import Config


def load(config: Config, data: Mapping[str, Any]) -> checked.Table:
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
    return checked.table("the dict", source)
  if not isinstance(source, str | os.PathLike):
    raise DataError(
      f"features is a {type(source).__name__}; it is 'planted', the path of an "
      ".npz or a dict of arrays"
    )
  if os.fspath(source) == "planted":
    return checked.table("planted codes", planted_arrays(config))
  path = pathlib.Path(os.path.expanduser(source))
  return checked.table(str(path), read(path))


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
      f"{', '.join(checked.REQUIRED)}"
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


def planted_arrays(config: Config) -> dict[str, np.ndarray]:
  """Generated codes in the form of a file.

  Args:
    config: its seed draws them.

  Returns:
    Arrays by name.
  """
  train, test = (planted.draw(config.seed, i, config.examples) for i in (0, 1))
  return {
    "train_features": train["features"],
    "train_labels": train["labels"],
    "test_features": test["features"],
    "test_labels": test["labels"],
    "test_correct": test["correct"],
  }
