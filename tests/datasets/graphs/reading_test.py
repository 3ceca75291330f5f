"""Files of triples: what is read, and each sentence about bad ones."""

import gzip

import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.datasets.errors import DataError
from kd_jax.datasets.graphs import reading

_TRAIN = "ann\tlikes\tbob\nbob\tlikes\tcid\ncid\tknows\tann\n"
_GOOD = {
  "train.txt": _TRAIN,
  "valid.txt": "ann\tlikes\tcid\n",
  "test.txt": "bob\tknows\tann\n",
}
_NAMES = {
  "entities.dict": "0\tcid\n1\tann\n2\tbob\n3\tdee\n",
  "relations.dict": "0\tlikes\n1\tknows\n",
}


def _write(folder, files):
  for name, text in files.items():
    content = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(content)
  return folder


def _rows(graph, split):
  return [
    (graph.entities[h], graph.relations[r], graph.entities[t])
    for h, r, t in graph.splits[split].tolist()
  ]


def _lines(text):
  return [tuple(line.split("\t")) for line in text.splitlines()]


def test_without_dictionaries_names_are_sorted(tmp_path):
  graph = graphs.load(_write(tmp_path, _GOOD))
  assert graph.entities == ("ann", "bob", "cid")
  assert graph.relations == ("knows", "likes")
  assert graph.train.tolist() == [[0, 1, 1], [1, 1, 2], [2, 0, 0]]
  assert graph.train.dtype == np.int32
  for split in graphs.SPLITS:
    assert _rows(graph, split) == _lines(_GOOD[f"{split}.txt"])


def test_with_dictionaries_numbers_are_theirs(tmp_path):
  shuffled = "3\tdee\n1\tann\n0\tcid\n2\tbob\n"
  files = {**_GOOD, **_NAMES, "entities.dict": shuffled}
  graph = graphs.load(_write(tmp_path, files))
  assert graph.entities == ("cid", "ann", "bob", "dee")
  assert graph.relations == ("likes", "knows")
  assert graph.train.tolist() == [[1, 0, 2], [2, 0, 0], [0, 1, 1]]


def test_what_lines_may_look_like(tmp_path):
  """CRLF, a byte order mark, no last line end, .tsv, gzip: the same graph."""
  plain, other = tmp_path / "plain", tmp_path / "other"
  plain.mkdir(), other.mkdir()
  files = {
    "train.txt.gz": gzip.compress(_TRAIN.replace("\n", "\r\n").encode()),
    "valid.tsv": b"\xef\xbb\xbf" + _GOOD["valid.txt"].encode(),
    "test.tsv.gz": gzip.compress(_GOOD["test.txt"].strip().encode()),
    "entities.dict.gz": gzip.compress(_NAMES["entities.dict"].encode()),
    "relations.dict": _NAMES["relations.dict"],
  }
  one = graphs.load(_write(plain, {**_GOOD, **_NAMES}))
  two = graphs.load(_write(other, files))
  assert one.entities == two.entities
  np.testing.assert_array_equal(one.known, two.known)


def test_names_may_hold_spaces_and_any_script(tmp_path):
  odd = "the old man\tis a\tГерой\u2028x\nГерой\u2028x\tis a\tthe old man\n"
  files = {**_GOOD, "train.txt": _TRAIN + odd}
  graph = graphs.load(_write(tmp_path, files))
  assert {"the old man", "Герой\u2028x"} < set(graph.entities)
  assert len(graph.train) == 5


def test_an_entity_that_train_lacks_needs_a_dictionary(tmp_path):
  _write(tmp_path, {**_GOOD, "test.txt": "dee\tknows\tann\n"})
  with pytest.raises(DataError, match=r"test.txt, line 1: .*'dee' occurs now"):
    reading.read_folder(tmp_path)
  allowed = reading.read_folder(tmp_path, unseen="allow")
  assert _rows(allowed, "test") == [("dee", "knows", "ann")]
  named = graphs.load(_write(tmp_path, _NAMES))
  assert _rows(named, "test") == [("dee", "knows", "ann")]


_BAD = {
  "two columns": ({"train.txt": "a\tr\n"}, r"train.txt, line 1 has 2 columns"),
  "four columns": (
    {"valid.txt": "ann\tlikes\tcid\nann\tlikes\tbob\t1\n"},
    r"valid.txt, line 2 has 4 columns, expected 3",
  ),
  "spaces for tabs": (
    {"train.txt": "ann likes bob\n"},
    r"line 1 has 1 column, expected 3 \(tabs separate them, not spaces\)",
  ),
  "an empty line": (
    {"train.txt": _TRAIN + "\nann\tknows\tbob\n"},
    r"train.txt, line 4 is empty",
  ),
  "an empty last line": ({"train.txt": _TRAIN + "\n"}, r"line 4 is empty"),
  "a line of spaces": (
    {"test.txt": "bob\tknows\tann\n  \n"},
    "line 2 is empty",
  ),
  "an empty file": ({"valid.txt": ""}, r"valid.txt is empty"),
  "only line ends": ({"valid.txt": "\r\n\r\n"}, r"valid.txt is empty"),
  "an empty name": (
    {"train.txt": "ann\t\tbob\n"},
    r"line 1: column 2 is empty",
  ),
  "spaces around a name": (
    {"train.txt": "ann\tlikes\tbob\nbob\tlikes\t cid\n"},
    r"line 2: column 3 is ' cid', with spaces around it",
  ),
  "bytes that are not UTF-8": (
    {"train.txt": _TRAIN.encode() + b"ann\tlikes\t\xe9va\n"},
    r"train.txt, line 4: byte \d+ is not UTF-8",
  ),
  "UTF-16": (
    {"test.txt": _TRAIN.encode("utf-16")},
    r"test.txt, line 1: byte 0",
  ),
  "the same line twice": (
    {"train.txt": _TRAIN + "ann\tlikes\tbob\n"},
    r"train.txt, line 4: 'ann likes bob' is in line 1 of .*train.txt already",
  ),
  "a test triple in train": (
    {"test.txt": "bob\tknows\tann\nbob\tlikes\tcid\n"},
    r"test.txt, line 2: 'bob likes cid' is in line 2 of .*train.txt already",
  ),
  "a header": (
    {k: "head\trelation\ttail\n" + v for k, v in _GOOD.items()},
    r"valid.txt, line 1: 'head relation tail' is in line 1 of .*train.txt",
  ),
  "no test file": ({"test.txt": None}, r"has no test.txt \(nor .tsv"),
  "two train files": (
    {"train.tsv": _TRAIN},
    r"has both train.txt and train.tsv",
  ),
  "two dictionaries": (
    {**_NAMES, "entities.dict.gz": gzip.compress(b"0\tann\n")},
    r"has both entities.dict and entities.dict.gz",
  ),
  "an unknown entity in valid": (
    {"valid.txt": "ann\tlikes\tzoe\n"},
    r"valid.txt, line 1: the entity 'zoe' occurs nowhere in .*train.txt; if it",
  ),
  "an unknown relation in test": (
    {"test.txt": "ann\thates\tbob\n"},
    r"test.txt, line 1: the relation 'hates' occurs nowhere in .*train.txt$",
  ),
  "an entity that its dictionary lacks": (
    {**_NAMES, "entities.dict": "0\tann\n1\tbob\n"},
    r"train.txt, line 2: entities.dict has no entity 'cid'",
  ),
  "a relation that its dictionary lacks": (
    {**_NAMES, "relations.dict": "0\tlikes\n"},
    r"train.txt, line 3: relations.dict has no relation 'knows'",
  ),
  "a relation that only its dictionary has": (
    {
      **_NAMES,
      "relations.dict": "0\tlikes\n1\tknows\n2\thates\n",
      "test.txt": "ann\thates\tbob\n",
    },
    r"test.txt, line 1: the relation 'hates' occurs nowhere",
  ),
  "an entity as a relation": (
    {**_NAMES, "train.txt": _TRAIN + "ann\tbob\tlikes\n"},
    r"train.txt, line 4: relations.dict has no relation 'bob'",
  ),
  "a number twice": (
    {"entities.dict": "0\tann\n1\tbob\n1\tcid\n"},
    r"entities.dict, line 3: the number 1 is that of 'bob' already, line 2",
  ),
  "a name twice": (
    {"entities.dict": "0\tann\n1\tbob\n2\tann\n"},
    r"entities.dict, line 3: the name 'ann' is in line 1 already",
  ),
  "a gap in the numbers": (
    {"entities.dict": "0\tann\n1\tbob\n3\tcid\n"},
    r"line 3: '3' is not a number from 0 to 2, as 3 lines have",
  ),
  "columns turned around": (
    {"entities.dict": "ann\t0\nbob\t1\ncid\t2\n"},
    r"entities.dict, line 1: 'ann' is not a number",
  ),
  "a negative number": (
    {"relations.dict": "-1\tlikes\n0\tknows\n"},
    r"relations.dict, line 1: '-1' is not a number",
  ),
  "a dictionary of names alone": (
    {"entities.dict": "ann\nbob\ncid\n"},
    r"entities.dict, line 1 has 1 column, expected 2",
  ),
  "an empty dictionary": ({"relations.dict": ""}, r"relations.dict is empty"),
  "a gzip file cut short": (
    {"train.txt": None, "train.txt.gz": gzip.compress(_TRAIN.encode())[:-9]},
    r"cannot read .*train.txt.gz: ",
  ),
  "a gzip file with a flipped bit": (
    {
      "train.txt": None,
      "train.txt.gz": gzip.compress(_TRAIN.encode())[:-5] + b"\0\0\0\0\0",
    },
    r"cannot read .*train.txt.gz: ",
  ),
  "text that is called gzip": (
    {"train.txt": None, "train.txt.gz": _TRAIN},
    r"cannot read .*train.txt.gz: Not a gzipped file",
  ),
}


@pytest.mark.parametrize(("change", "match"), _BAD.values(), ids=_BAD)
def test_bad_files(tmp_path, change, match):
  files = {k: v for k, v in {**_GOOD, **change}.items() if v is not None}
  with pytest.raises(DataError, match=match) as error:
    graphs.load(_write(tmp_path, files))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("source", "match"),
  [
    ("", "is empty"),
    ("kinship", r"no graph 'kinship'; did you mean kinships\? There is: fb"),
    ("none/of/it", "there is no graph 'none/of/it'; there is: fb15k237, "),
    ("none/of/it.tsv", "there is no file none/of/it.tsv"),
    ("~nobody_of_that_name/x", "there is no folder ~nobody_of_that_name/x"),
    ("families:1", r"families has \d+ entities; it cannot be cut to 1"),
    ("families:99999", "cannot be cut to 99999"),
  ],
)
def test_bad_sources(data, source, match):
  with pytest.raises(DataError, match=match):
    graphs.load(source)
