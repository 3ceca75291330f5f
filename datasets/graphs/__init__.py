"""Knowledge graphs by name or path.

`load(source)` takes

- the name of a data set that `kd-jax data list` shows ("kinships",
  "fb15k237" ...), which is built on first use if it is small;
- "families", the generated graph, whose people the seed draws;
- a folder with train, valid and test files, or one file of triples (see
  `reading` and `text` for what they may hold, `one_file` for what is held out);
- any of these with ":1000" behind it: the part that its 1,000 entities of
  largest training degree make (see `cut`);
- in Python, a `Graph` of your own.
"""

import difflib
import os
import re
from pathlib import Path

import numpy as np

from kd_jax.datasets import catalog
from kd_jax.datasets.decode import columns
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs.cut import busiest
from kd_jax.datasets.graphs.cut import degrees as degrees
from kd_jax.datasets.graphs.generated import families
from kd_jax.datasets.graphs.graph import HEAD as HEAD
from kd_jax.datasets.graphs.graph import RELATION as RELATION
from kd_jax.datasets.graphs.graph import SPLITS as SPLITS
from kd_jax.datasets.graphs.graph import TAIL as TAIL
from kd_jax.datasets.graphs.graph import Graph as Graph
from kd_jax.datasets.graphs.one_file import read_file
from kd_jax.datasets.graphs.own import checked
from kd_jax.datasets.graphs.reading import read_folder
from kd_jax.datasets.progress import Say, to_stderr

GENERATED = "families"
_CUT = re.compile(r"(?P<source>.+):(?P<count>\d+)")
_FILE = re.compile(r".+\.(txt|tsv)(\.gz)?")


def load(
  source: str | os.PathLike[str] | Graph,
  *,
  seed: int = 0,
  say: Say = to_stderr,
) -> Graph:
  """Loads a graph.

  Args:
    source: a name, a path, or a graph; see the module.
    seed: draws the people of "families", and what one file holds out.
    say: takes what is being done, in lines.

  Returns:
    The graph.

  Raises:
    DataError: one sentence: what is wrong, in which file and line.
  """
  if isinstance(source, Graph):
    return checked(source)
  if not isinstance(source, str | os.PathLike):
    raise DataError(
      f"a graph is a name, a path or a Graph, not {type(source).__name__}; "
      "arrays and lists make one by kd_jax.datasets.graphs.Graph(name, "
      "entities, relations, train, valid, test)"
    )
  source = os.fspath(source)
  if not source:
    raise DataError("the name of a graph, or its path, is empty")
  if source == GENERATED:
    return families(seed)
  if source in catalog.graphs():
    return _built(source, say)
  if cut := _CUT.fullmatch(source):
    whole = load(cut["source"], seed=seed, say=say)
    return busiest(whole, int(cut["count"]))
  return _path(source, seed)


def whole_of(source: str) -> str:
  """The name or path of the graph that a source is, or is cut from.

  Args:
    source: a name or a path, with or without ":1000" behind it.

  Returns:
    What stands before it.
  """
  while cut := _CUT.fullmatch(source):
    source = cut["source"]
  return source


def is_graph(source: str) -> bool:
  """Whether a name is that of a graph, cut or whole; paths are not names.

  Args:
    source: the name.

  Returns:
    True if `load` would take it as a name.
  """
  name = whole_of(source)
  return name == GENERATED or name in catalog.graphs()


def _built(name: str, say: Say) -> Graph:
  """The graph that a builder's files hold."""
  builder = catalog.builder(name)
  if not catalog.is_built(builder):
    if not catalog.is_embedded(name):
      raise catalog.not_built(name)
    catalog.build(name, say=say)
    builder = catalog.builder(name)
  splits = {}
  for split in SPLITS:
    found = columns(builder, split, say=say)
    order = ("head", "relation", "tail")
    splits[split] = np.stack([found[c] for c in order], axis=1)
  names = builder.info.metadata
  entities, relations = names["entities"], names["relations"]
  return Graph(name, tuple(entities), tuple(relations), **splits)


def _path(source: str, seed: int) -> Graph:
  try:
    path = Path(source).expanduser()
  except RuntimeError as error:
    raise DataError(f"there is no folder {source}: {error}") from None
  if path.is_dir():
    return read_folder(path)
  if path.is_file() or _FILE.fullmatch(source):
    return read_file(path, seed=seed)
  known = [*catalog.graphs(), GENERATED]
  close = difflib.get_close_matches(source, known, n=1)
  hint = f"did you mean {close[0]}? There" if close else "there"
  raise DataError(
    f"there is no graph {source!r}; {hint} is: {', '.join(known)}, or the path "
    "of a folder with train.txt, valid.txt and test.txt, or of one .tsv file"
  )
