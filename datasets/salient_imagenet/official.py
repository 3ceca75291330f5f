"""The files of Salient ImageNet as its authors publish them, and who said what.

Nothing in them is executed: the Python file is read as a literal.
"""

import ast
import csv
import re
from collections import defaultdict
from pathlib import Path

from kd_jax.datasets.errors import DataError

ANSWERS = "mturk_results/discover_spurious_features.csv"
NAMES = "wordnet_dict.py"
_COLUMNS = (
  "Input.wordnet_id",
  "Input.class_index",
  "Input.feature_index",
  "Answer.main",
)
SPURIOUS = ("background", "separate_object")
# Of five workers.
_MAJORITY = 3


def classes(path: Path) -> dict[int, str]:
  """WordNet identifiers by class index, out of a file that holds a dict.

  Args:
    path: `wordnet_dict.py`.

  Returns:
    Identifiers by index.

  Raises:
    DataError: if it is no literal dict of whole numbers to identifiers.
  """
  text = _text(path)
  try:
    found = ast.literal_eval(text[text.index("{") : text.rindex("}") + 1])
    return {int(k): str(v) for k, v in found.items()}
  except (ValueError, SyntaxError, AttributeError, TypeError):
    raise DataError(
      f"{path}: expected a dict of class indices to WordNet identifiers"
    ) from None


def kinds(path: Path) -> dict[tuple[str, int], str]:
  """Which features of which classes are core, and which spurious.

  A feature is spurious if three or more of its (five) workers said that it is
  background or a separate object.

  Args:
    path: `discover_spurious_features.csv`.

  Returns:
    "core" or "spurious" by WordNet identifier and feature.

  Raises:
    DataError: if a column or a number is missing; says which line.
  """
  rows = list(csv.DictReader(_text(path).splitlines()))
  missing = [c for c in _COLUMNS if not rows or c not in rows[0]]
  if missing:
    raise DataError(f"{path} has no column {missing[0]}")
  votes: dict[tuple[str, int], list[bool]] = defaultdict(list)
  for line, row in enumerate(rows, 2):
    try:
      key = row["Input.wordnet_id"].strip(), int(row["Input.feature_index"])
      answer = row["Answer.main"].strip().lower()
    except (ValueError, AttributeError):
      raise DataError(
        f"{path}, line {line}: expected a feature index"
      ) from None
    votes[key].append(answer in SPURIOUS)
  return {
    key: "spurious" if sum(said) >= _MAJORITY else "core"
    for key, said in votes.items()
  }


def features(folder: Path) -> dict[int, Path]:
  """The folders of a class's masks by feature.

  Args:
    folder: the class's.

  Returns:
    Folders by feature index.
  """
  found = {}
  for path in sorted(folder.iterdir()):
    if path.is_dir() and (name := re.fullmatch(r"feature_(\d+)", path.name)):
      found[int(name[1])] = path
  return found


def _text(path: Path) -> str:
  try:
    return path.read_text(encoding="utf-8-sig", errors="replace")
  except OSError as error:
    raise DataError(f"cannot read {path}: {error.strerror}") from None
