"""From files of triples to a graph: names become numbers, mistakes errors.

Numbers are those of the dictionaries where there are any, else the places of
the sorted names. What is refused, besides what `text` refuses:

- a name that its dictionary lacks;
- without a dictionary, an entity in valid or test that train lacks: it is
  rather misspelled than meant, and nothing would be learned of it. The official
  files of FB15k-237, WN18RR and YAGO3-10 have such entities; they come with
  dictionaries, and their builders pass `unseen="allow"`. An `entities.dict`
  that lists the name allows it anywhere;
- a relation in valid or test that train lacks: no official file has one;
- a triple twice in a split, or in two splits: it would be counted twice, or be
  tested on what was trained on. No official file has one.

A name of a dictionary that occurs in no triple is legal: an entity that can be
asked about and predicted, though nothing was learned of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int32

from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs.graph import (
  HEAD,
  RELATION,
  SPLITS,
  TAIL,
  Graph,
  repeated,
)
from kd_jax.datasets.graphs.text import (
  Text,
  Triple,
  dictionary,
  open_text,
  triples,
)

Unseen = Literal["refuse", "allow"]
DICTIONARIES = {"entities": "entities.dict", "relations": "relations.dict"}
NAMES = [*(f"{split}.txt" for split in SPLITS), *DICTIONARIES.values()]
_SUFFIXES = (".txt", ".tsv", ".txt.gz", ".tsv.gz")
# What a folder's files may be called, by part.
_NAMES = {s: tuple(f"{s}{suffix}" for suffix in _SUFFIXES) for s in SPLITS} | {
  part: (name, f"{name}.gz") for part, name in DICTIONARIES.items()
}
FILE_NAMES = tuple(name for names in _NAMES.values() for name in names)


def read_folder(
  folder: Path, *, name: str | None = None, unseen: Unseen = "refuse"
) -> Graph:
  """Reads train, valid and test, and the dictionaries that are there.

  Args:
    folder: holds train, valid and test as .txt or .tsv, and, if wanted,
      entities.dict and relations.dict; each may be gzip'd (".gz").
    name: what to call the graph; the folder if None.
    unseen: what becomes of entities that train lacks, without a dictionary.

  Returns:
    The graph.

  Raises:
    DataError: says what is wrong, in which file and line.
  """
  texts = {part: open_text(p) for part, p in find_files(folder).items()}
  return read(texts, name=name or str(folder), unseen=unseen)


def find_files(folder: Path) -> dict[str, Path]:
  """The files of a folder by their part.

  Args:
    folder: as in `read_folder`.

  Returns:
    "train", "valid", "test" and those of "entities" and "relations" that are
    there.

  Raises:
    DataError: for missing splits, and for a part with two files.
  """
  if not folder.is_dir():
    raise DataError(f"there is no folder {folder}")
  found = {part: _only(folder, names) for part, names in _NAMES.items()}
  missing = ", ".join(f"{s}.txt" for s in SPLITS if found[s] is None)
  if missing:
    raise DataError(
      f"{folder} has no {missing} (nor .tsv, nor one of them as .gz)"
    )
  return {part: path for part, path in found.items() if path is not None}


def part(name: str) -> str:
  """Which part of a graph a file is, by its name ("train.txt" is "train")."""
  return name.split(".")[0]


def _only(folder: Path, names: Sequence[str]) -> Path | None:
  paths = [folder / name for name in names if (folder / name).is_file()]
  if len(paths) > 1:
    raise DataError(f"{folder} has both {paths[0].name} and {paths[1].name}")
  return paths[0] if paths else None


def read(
  texts: Mapping[str, Text], *, name: str, unseen: Unseen = "refuse"
) -> Graph:
  """Makes a graph of the texts of its parts.

  Args:
    texts: "train", "valid" and "test"; "entities" and "relations" if there are
      dictionaries.
    name: what to call the graph.
    unseen: what becomes of entities that train lacks, without a dictionary.

  Returns:
    The graph.

  Raises:
    DataError: says what is wrong, in which file and line.
  """
  rows = {split: triples(texts[split]) for split in SPLITS}
  names = {
    part: dictionary(texts[part]) if part in texts else None
    for part in DICTIONARIES
  }
  _refuse_untrained(texts, rows, names, unseen)
  return number(texts, rows, names, name)


def number(
  texts: Mapping[str, Text],
  rows: Mapping[str, Sequence[Triple]],
  names: Mapping[str, tuple[str, ...] | None],
  name: str,
) -> Graph:
  """Turns names into numbers.

  Args:
    texts: the files by split, for messages; row i is line i + 1.
    rows: triples of names, by split.
    names: "entities" and "relations" in the order of their numbers; None takes
      the sorted names of the rows.
    name: what to call the graph.

  Returns:
    The graph.

  Raises:
    DataError: for an unknown name, and for a triple that comes twice.
  """
  entities = names["entities"] or _sorted(rows, (HEAD, TAIL))
  relations = names["relations"] or _sorted(rows, (RELATION,))
  places = [{n: i for i, n in enumerate(v)} for v in (entities, relations)]
  splits = {
    split: _numbers(texts[split], rows[split], places) for split in SPLITS
  }
  graph = Graph(name, tuple(entities), tuple(relations), **splits)
  _refuse_twice(graph, texts, rows)
  return graph


def _sorted(rows, columns) -> tuple[str, ...]:
  return tuple(
    sorted({row[c] for part in rows.values() for row in part for c in columns})
  )


def _numbers(text, rows, places) -> Int32[np.ndarray, "n 3"]:
  entities, relations = places
  out = np.empty((len(rows), 3), np.int32)
  for i, (head, relation, tail) in enumerate(rows):
    try:
      out[i] = entities[head], relations[relation], entities[tail]
    except KeyError as error:
      what = "relation" if relation not in relations else "entity"
      file = DICTIONARIES["relations" if what == "relation" else "entities"]
      raise DataError(
        f"{text.where}, line {i + 1}: {file} has no {what} {error.args[0]!r}"
      ) from None
  return out


def _refuse_untrained(texts, rows, names, unseen: Unseen) -> None:
  """Names of valid and test that train lacks, where that is a mistake."""
  checks = {"relation": (RELATION,)}
  if names["entities"] is None and unseen == "refuse":
    checks["entity"] = (HEAD, TAIL)
  for what, columns in checks.items():
    trained = {row[c] for row in rows["train"] for c in columns}
    for split in SPLITS[1:]:
      for n, row in enumerate(rows[split], start=1):
        for c in columns:
          if row[c] not in trained:
            raise _untrained(texts, split, n, what, row[c])


def _untrained(texts, split, n, what, name) -> DataError:
  hint = (
    "; if it is meant, list every entity in entities.dict"
    if what == "entity"
    else ""
  )
  return DataError(
    f"{texts[split].where}, line {n}: the {what} {name!r} occurs nowhere in "
    f"{texts['train'].where}{hint}"
  )


def _refuse_twice(graph: Graph, texts, rows) -> None:
  """A triple that comes again, in its own split or another."""
  if twice := repeated(graph):
    (other, m), (split, n) = twice
    raise DataError(
      f"{texts[split].where}, line {n + 1}: {' '.join(rows[split][n])!r} is in "
      f"line {m + 1} of {texts[other].where} already"
    )
