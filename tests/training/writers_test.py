import csv
import json
import sys

import numpy as np
import pytest
import toy_tabular

import kd_jax
from kd_jax.errors import UsageError
from kd_jax.training.writers import Writer, read_rows


def test_rows_csv_and_rewinding(tmp_path):
  writer = Writer(tmp_path)
  writer.write("train", "a", "p", 1, {"loss": np.float32(0.5)})
  position = writer.position()
  writer.write("train", "a", "p", 2, {"loss": 0.25, "gone": 1})
  writer.close()

  again = Writer(tmp_path)
  again.rewind(position)
  values = {"v": np.array([1, np.nan]), "bad": np.inf, "loss": 3}
  again.write("eval", "", "p", 2, values)
  again.close()
  rows = list(read_rows(tmp_path / "metrics.jsonl"))
  place = {"phase": "p"}
  assert rows == [
    {"kind": "train", "arm": "a", **place, "step": 1, "loss": 0.5},
    {
      "kind": "eval",
      "arm": "",
      **place,
      "step": 2,
      "v": [1.0, None],
      "bad": None,
      "loss": 3.0,
    },
  ]
  text = (tmp_path / "metrics.jsonl").read_text()
  assert "NaN" not in text
  assert "Infinity" not in text
  with (tmp_path / "metrics.csv").open(newline="") as file:
    table = list(csv.reader(file))
  assert table == [
    ["kind", "arm", "phase", "step", "bad", "loss"],
    ["train", "a", "p", "1", "", "0.5"],
    ["eval", "", "p", "2", "", "3.0"],
  ]


def test_a_half_line_is_no_row(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"a": 1}\n{"a": ')
  assert list(read_rows(path)) == [{"a": 1}]
  # Rewinding beyond the end keeps the whole lines and adds nothing.
  writer = Writer(tmp_path)
  writer.rewind(1000)
  writer.write("train", "", "p", 1, {})
  writer.close()
  assert [len(r) for r in read_rows(path)] == [1, 4]
  path.write_bytes(b'{"a": 1}\nb\n')
  with pytest.raises(UsageError, match="line 2 is not JSON"):
    list(read_rows(path))


def test_tensorboard_has_the_numbers(tmp_path):
  run = kd_jax.train(
    toy_tabular.METHOD,
    "tiny",
    workdir=tmp_path,
    quiet=True,
    samples=50,
    tensorboard=True,
  )
  (file,) = (tmp_path / "tensorboard").iterdir()
  data = file.read_bytes()
  assert b"decay/train/loss" in data
  assert b"exact/eval/test_gap" in data
  loss = next(r["loss"] for r in run.rows() if r["kind"] == "train")
  assert np.float32(loss).tobytes() in data


def test_tensorboard_without_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(UsageError, match=r"pip install 'kd-jax\[tensorboard\]'"):
    Writer(tmp_path, tensorboard=True)
  assert not list(tmp_path.iterdir())


def test_rows_are_written_as_they_come(tmp_path):
  writer = Writer(tmp_path)
  writer.write("train", "", "p", 1, {"loss": 1})
  assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 1.0
  writer.close()
