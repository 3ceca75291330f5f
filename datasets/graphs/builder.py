"""What the builders of knowledge graphs share.

A record is {head, relation, tail}, int32 numbers, in the order of the official
file. The names that the numbers stand for are the builder's metadata: the lists
`entities` and `relations` of `builder.info.metadata` (`metadata.json` beside
the records).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from kd_jax.datasets import downloads, wheels
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import reading
from kd_jax.datasets.graphs.graph import SPLITS, Graph
from kd_jax.datasets.graphs.text import Text, open_text
from kd_jax.datasets.official.files import OfficialFiles

COLUMNS = ("head", "relation", "tail")


class GraphBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A builder of three splits of triples.

  Attributes:
    SIZES: the official sizes: entities, relations, and triples of train, valid
      and test.
    HOMEPAGE: where the data set comes from.
  """

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First release."}  # noqa: RUF012
  SIZES: tuple[int, int, int, int, int]
  HOMEPAGE: str

  def official_texts(self, dl_manager: Any) -> Mapping[str, Text]:
    """The official files' texts by part ("train", "entities" ...).

    Args:
      dl_manager: TFDS's download manager.

    Returns:
      The texts that `reading.read` takes.

    Raises:
      DataError: if they cannot be had, or are not those that were published.
    """
    raise NotImplementedError

  def _info(self) -> tfds.core.DatasetInfo:
    number = tfds.features.Scalar(np.int32)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(dict.fromkeys(COLUMNS, number)),
      homepage=self.HOMEPAGE,
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
    texts = self.official_texts(dl_manager)
    graph = reading.read(texts, name=self.name, unseen="allow")
    self._check_sizes(graph, texts)
    self.info.metadata["entities"] = list(graph.entities)
    self.info.metadata["relations"] = list(graph.relations)
    return {
      split: self._generate_examples(triples)
      for split, triples in graph.splits.items()
    }

  def _generate_examples(self, triples: Any) -> Iterator[Any]:
    for row, triple in enumerate(triples.tolist()):
      yield row, dict(zip(COLUMNS, triple, strict=True))

  def _check_sizes(self, graph: Graph, texts: Mapping[str, Text]) -> None:
    sizes = len(graph.entities), len(graph.relations)
    sizes += tuple(map(len, graph.splits.values()))
    things = ("entities", "relations", *(f"{s} triples" for s in SPLITS))
    for thing, found, expected in zip(things, sizes, self.SIZES, strict=True):
      if found != expected:
        where = texts["train"].where
        raise DataError(
          f"{self.name} has {found:,} {thing}, expected {expected:,}: {where} "
          "and its neighbours are not whole, or not the official files"
        )


class WheelBuilder(GraphBuilder, skip_registration=True):
  """A graph whose files PyKEEN's wheel holds."""

  HOMEPAGE = "https://github.com/pykeen/pykeen"
  PACKAGE = "pykeen"
  PACKAGE_VERSION = "1.11.1"

  def official_texts(self, dl_manager: Any) -> Mapping[str, Text]:
    """The files as the wheel ships them."""
    del dl_manager  # The wheel is fetched by `wheels`, as a package is.
    # TFDS's own `url_infos` is None where the package is mapped to its folder.
    lines = self.pkg_dir_path.joinpath("checksums.tsv").read_text()
    found = {}
    for remote in downloads.remotes(lines):
      path = remote.url.split("/", 1)[1]
      content = wheels.member(
        self.PACKAGE, self.PACKAGE_VERSION, path, remote.digest
      )
      found[reading.part(remote.name)] = Text(path, content)
    return found


class FilesBuilder(OfficialFiles, GraphBuilder, skip_registration=True):
  """A graph of files that are fetched, or brought by hand."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  train.txt, valid.txt and test.txt, and entities.dict and relations.dict if you
  have them, as they are distributed or gzip'd.
  """

  def found(self, manual_dir: Path) -> dict[str, Path]:
    """The files of a folder, gzip'd or not; dictionaries may be absent.

    Args:
      manual_dir: where the user put them.

    Returns:
      Their paths by their published names.

    Raises:
      DataError: says which file is missing.
    """
    return {p.name: p for p in reading.find_files(manual_dir).values()}

  def wanted(self) -> list[str]:
    """What the official files are called, to tell users."""
    return reading.NAMES

  def official_texts(self, dl_manager: Any) -> Mapping[str, Text]:
    """The files of the manual folder if there is one, else those fetched."""
    paths = self.obtained(dl_manager)
    return {reading.part(name): open_text(p) for name, p in paths.items()}
