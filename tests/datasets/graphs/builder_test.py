"""Our builders of graphs, on dummy data in the official on-disk format."""

import gzip
import hashlib
import http.server
import importlib
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from kd_jax import listing
from kd_jax.datasets import catalog, downloads, graphs, wheels
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import reading

_WHEELS = ("kinships", "nations", "umls")
_FILES = ("fb15k237", "wn18rr", "yago3_10")
_OFFICIAL = {
  "kinships": (104, 25, 8544, 1068, 1074),
  "umls": (135, 46, 5216, 652, 661),
  "nations": (14, 55, 1592, 199, 201),
  "fb15k237": (14541, 237, 272115, 17535, 20466),
  "wn18rr": (40943, 11, 86835, 3034, 3134),
  "yago3_10": (123182, 37, 1079040, 5000, 5000),
}


def _quiet(line):
  del line


def _module(name):
  return importlib.import_module(
    f"kd_jax.datasets.{name}.{name}_dataset_builder"
  )


def _dummy(name):
  return Path(_module(name).__file__).parent / "dummy_data"


@pytest.fixture
def wheel(graph_dummies, monkeypatch):
  """The wheel holds the dummy files."""

  def member(package, version, path, sha256):
    assert (package, version, len(sha256)) == ("pykeen", "1.11.1", 64)
    _, _, name, file = path.split("/")
    return (_dummy(name) / file).read_bytes()

  monkeypatch.setattr(wheels, "member", member)


def _same(one, two):
  assert one.entities == two.entities
  assert one.relations == two.relations
  for split in graphs.SPLITS:
    np.testing.assert_array_equal(one.splits[split], two.splits[split])


@pytest.mark.parametrize("name", _WHEELS)
def test_first_use_builds_what_the_wheel_holds(wheel, name):
  said = []
  graph = graphs.load(name, say=said.append)
  assert said[0].startswith(f"building {name} in ")
  # Records come in the order of the lines.
  _same(graph, reading.read_folder(_dummy(name)))
  assert graph.train.dtype == np.int32
  assert graph.name == name
  _same(graphs.load(name, say=_quiet), graph)


@pytest.mark.parametrize("name", _FILES)
def test_builds_what_the_folder_holds(graph_dummies, name):
  with pytest.raises(DataError, match=f"run: kd-jax data build {name}"):
    graphs.load(name)
  catalog.build(name, manual_dir=_dummy(name), say=_quiet)
  expected = reading.read_folder(_dummy(name), unseen="allow")
  _same(graphs.load(name, say=_quiet), expected)
  # An entity that train lacks has a number all the same.
  assert set(expected.train[:, [0, 2]].ravel()) < set(
    range(len(expected.entities))
  )


@pytest.mark.parametrize("name", [*_WHEELS, *_FILES])
def test_layout(data, name):
  source = catalog.builder(name)
  folder = _dummy(name).parent
  for file in ("README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"):
    assert (folder / file).exists(), file
  assert source.info.citation.startswith("@")
  assert "Licence:" in source.info.description
  assert list(source.info.features) == ["head", "relation", "tail"]
  assert all(f.np_dtype == np.int32 for f in source.info.features.values())
  assert source.name == name
  assert _OFFICIAL[name] == source.SIZES
  lines = (folder / "checksums.tsv").read_text()
  for remote in downloads.remotes(lines):
    assert remote.url.endswith(f"/{remote.name}")
    assert len(remote.digest) == 64


def test_wrong_sizes_are_refused(wheel, monkeypatch):
  monkeypatch.setattr(_module("umls").Builder, "SIZES", (5, 3, 21, 4, 4))
  with pytest.raises(DataError, match="umls has 20 train triples, expected 21"):
    graphs.load("umls", say=_quiet)


def _lines(change):
  def damage(content):
    return "".join(change(content.decode().splitlines(True))).encode()

  return damage


@pytest.mark.parametrize(
  ("file", "damage", "match"),
  [
    ("train.txt", _lines(lambda x: x[:-2]), "has 18 train triples, expected"),
    ("train.txt", lambda c: c[:-9], r"train.txt, line 20"),
    ("test.txt", _lines(lambda x: [*x, x[0]]), "test.txt, line 4: .*already"),
    ("valid.txt", lambda c: c[:30] + b"\xff" + c[30:], "is not UTF-8"),
    ("valid.txt", lambda c: c.replace(b"\t", b" "), "tabs separate them"),
    ("entities.dict", _lines(lambda x: x[:-1]), "dict has no entity '0064"),
    ("entities.dict", lambda c: b"", "entities.dict is empty"),
    ("relations.dict", _lines(lambda x: [*x, "2\tnew\n"]), "has 3 relations"),
  ],
)
def test_damaged_files_are_refused(
  graph_dummies, tmp_path, file, damage, match
):
  folder = tmp_path / "manual"
  shutil.copytree(_dummy("wn18rr"), folder)
  path = folder / file
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(DataError, match=match):
    catalog.build("wn18rr", manual_dir=folder, say=_quiet)
  assert not catalog.is_built(catalog.builder("wn18rr"))


def test_a_gzip_file_cut_short_is_refused(graph_dummies, tmp_path):
  folder = tmp_path / "manual"
  shutil.copytree(_dummy("fb15k237"), folder)
  path = folder / "train.txt.gz"
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(DataError, match=r"cannot read .*train.txt.gz"):
    catalog.build("fb15k237", manual_dir=folder, say=_quiet)


def test_a_folder_that_is_absent_or_lacks_a_split(graph_dummies, tmp_path):
  with pytest.raises(DataError, match=r"Manual directory .* is absent"):
    catalog.build("wn18rr", manual_dir=tmp_path / "none", say=_quiet)
  folder = tmp_path / "manual"
  shutil.copytree(_dummy("wn18rr"), folder)
  (folder / "test.txt").unlink()
  with pytest.raises(DataError, match=r"manual has no test.txt"):
    catalog.build("wn18rr", manual_dir=folder, say=_quiet)


def test_tfds_prepares_it_without_our_command(graph_dummies):
  import tensorflow_datasets as tfds

  config = tfds.download.DownloadConfig(
    manual_dir=_dummy("wn18rr"), try_download_gcs=False
  )
  catalog.builder("wn18rr").download_and_prepare(download_config=config)
  expected = reading.read_folder(_dummy("wn18rr"))
  _same(graphs.load("wn18rr", say=_quiet), expected)


@pytest.mark.parametrize("name", _FILES)
def test_an_empty_folder_is_refused_and_nothing_is_fetched(
  graph_dummies, tmp_path, monkeypatch, name
):
  monkeypatch.setattr(downloads, "fetch", None)
  match = r"has no train.txt, valid.txt, test.txt .* published at https://"
  with pytest.raises(DataError, match=match):
    catalog.build(name, manual_dir=tmp_path, say=_quiet)


def test_without_a_digest_files_are_brought_by_hand(graph_dummies):
  match = r"brought by hand: put train.txt, .* and give it as --manual-dir$"
  with pytest.raises(DataError, match=match):
    catalog.build("yago3_10", say=_quiet)


class _Silent(http.server.SimpleHTTPRequestHandler):
  def log_message(self, format, *args):
    del format, args


@pytest.fixture
def served(tmp_path, monkeypatch):
  """The dummy files of wn18rr behind URLs, with their digests."""
  monkeypatch.setenv("no_proxy", "127.0.0.1")
  folder = tmp_path / "served"
  shutil.copytree(_dummy("wn18rr"), folder)
  server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 0), lambda *a: _Silent(*a, directory=str(folder))
  )
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  remotes = [
    downloads.Remote(
      f"http://127.0.0.1:{server.server_port}/{path.name}",
      path.stat().st_size,
      hashlib.sha256(path.read_bytes()).hexdigest(),
      path.name,
    )
    for path in sorted(folder.iterdir())
  ]
  monkeypatch.setattr(_module("wn18rr").Builder, "remotes", lambda _: remotes)
  yield folder
  server.shutdown()
  thread.join()
  server.server_close()


def test_fetches_the_files(graph_dummies, served):
  catalog.build("wn18rr", say=_quiet)
  expected = reading.read_folder(_dummy("wn18rr"))
  _same(graphs.load("wn18rr", say=_quiet), expected)


def test_a_fetched_file_of_another_digest_is_refused(graph_dummies, served):
  path = served / "valid.txt"
  path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
  with pytest.raises(DataError, match=r"valid.txt has sha256 .*, expected"):
    catalog.build("wn18rr", say=_quiet)
  assert not list(graph_dummies.glob("downloads/wn18rr/valid.txt*"))


def test_a_fetch_goes_on_where_it_broke_off(graph_dummies, served):
  (served / "valid.txt").rename(served / "elsewhere")
  with pytest.raises(DataError, match=r"cannot fetch .*valid.txt: HTTP Error"):
    catalog.build("wn18rr", say=_quiet)
  # What came before the break is not asked for again.
  (served / "train.txt").unlink()
  (served / "elsewhere").rename(served / "valid.txt")
  catalog.build("wn18rr", say=_quiet)
  expected = reading.read_folder(_dummy("wn18rr"))
  _same(graphs.load("wn18rr", say=_quiet), expected)


def test_a_file_that_cannot_be_fetched(graph_dummies, served):
  (served / "test.txt").unlink()
  match = r"cannot fetch http.*test.txt: .*; with a browser, .* --manual-dir"
  with pytest.raises(DataError, match=match):
    catalog.build("wn18rr", say=_quiet)


def test_show(wheel):
  text = listing.show("umls", None)
  assert "umls" in text
  rows = [line.split("│")[1:3] for line in text.splitlines() if "│" in line]
  shown = {label.strip(): value.strip() for label, value in rows}
  assert shown["entities"] == "5"
  assert shown["valid triples"] == "4"
  assert "N-N" in shown["test triples by category"]


def test_the_list_says_what_first_use_builds(data):
  rows = [
    [cell.strip() for cell in line.split("│")[1:-1]]
    for line in listing.data().splitlines()
    if "│" in line
  ]
  built = {row[0]: row[-1] for row in rows}
  assert built["kinships"] == "on first use"
  assert built["fb15k237"] == "when asked for"


def test_dummy_files_are_as_distributed():
  """Freebase's lines end in CRLF; all hold three columns."""
  train = gzip.decompress((_dummy("fb15k237") / "train.txt.gz").read_bytes())
  assert train.count(b"\r\n") == 20
  for name in [*_WHEELS, "wn18rr", "yago3_10"]:
    for line in (_dummy(name) / "train.txt").read_text().splitlines():
      assert line.count("\t") == 2
