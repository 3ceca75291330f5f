"""What the builders of knowledge graphs share.

A record is {head, relation, tail}, int32 numbers, in the order of the official
file. The names that the numbers stand for are the builder's metadata: the lists
`entities` and `relations` of `builder.info.metadata` (`metadata.json` beside
the records).
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from kd_jax.datasets import wheels
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import reading
from kd_jax.datasets.graphs.graph import SPLITS, Graph
from kd_jax.datasets.graphs.text import Text

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
    """The official files by part ("train", "entities" ...).

    Args:
      dl_manager: TFDS's download manager.

    Returns:
      The texts that `reading.read` takes.

    Raises:
      DataError: if they cannot be had, or are not those that were published.
    """
    raise NotImplementedError

  def checksums(self) -> list[tuple[str, str, str]]:
    """The lines of `checksums.tsv`.

    Returns:
      (URL, sha256, file name) of each official file.
    """
    # TFDS's own `url_infos` is None where the package is mapped to its folder.
    text = self.pkg_dir_path.joinpath("checksums.tsv").read_text()
    lines = [line.split("\t") for line in text.splitlines()]
    return [(url, sha256, name) for url, _, sha256, name in lines]

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
    found = {}
    for url, sha256, name in self.checksums():
      path = url.split("/", 1)[1]
      content = wheels.member(self.PACKAGE, self.PACKAGE_VERSION, path, sha256)
      found[name.removesuffix(".txt")] = Text(path, content)
    return found


class FilesBuilder(GraphBuilder, skip_registration=True):
  """A graph of files that are fetched, or brought by hand."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  train.txt, valid.txt and test.txt, and entities.dict and relations.dict if you
  have them, as they are distributed or gzip'd.
  """

  def official_texts(self, dl_manager: Any) -> Mapping[str, Text]:
    """The files of the manual folder if there are any, else those fetched."""
    try:
      folder = dl_manager.manual_dir
    except AssertionError:  # There is none, or it is empty.
      return self._fetch(dl_manager)
    return reading.find_files(folder)

  def _fetch(self, dl_manager: Any) -> Mapping[str, Text]:
    known = {
      name.split(".")[0]: (url, sha256)
      for url, sha256, name in self.checksums()
    }
    if not known:
      raise DataError(
        f"the files of {self.name} must be brought by hand: put train.txt, "
        f"valid.txt and test.txt of {self.HOMEPAGE} in a folder and give it as "
        "--manual-dir"
      )
    try:
      paths = dl_manager.download({p: url for p, (url, _) in known.items()})
    except (OSError, tfds.download.DownloadError) as error:
      line = " ".join(str(error).split())
      raise DataError(
        f"cannot fetch {self.name} ({line}); with a browser, put train.txt, "
        "valid.txt, test.txt, entities.dict and relations.dict of "
        f"{self.HOMEPAGE} in a folder and give it as --manual-dir"
      ) from None
    return {
      part: _checked(paths[part], url, sha256)
      for part, (url, sha256) in known.items()
    }


def _checked(path: epath.Path, url: str, sha256: str) -> Text:
  content = path.read_bytes()
  found = hashlib.sha256(content).hexdigest()
  if sha256 != found:
    raise DataError(f"{url} has sha256 {found}, expected {sha256}")
  return Text(url, content)
