"""A user's own files: a run is known by what they hold, and keeps them."""

import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest
import toy_tabular

import kd_jax
from kd_jax import inputs
from kd_jax.errors import Interrupted, UsageError


@dataclasses.dataclass(frozen=True)
class Filed(toy_tabular.Toy):
  """The toy's configuration.

  Attributes:
    table: the path of an `.npz` of rewards, and of how many times, "PATH:2";
      "" takes the toy's own.
  """

  table: str = ""


def phases(config, data, say):
  path, _, times = config.table.partition(":")
  path, world = data.get("table", path), toy_tabular.world()
  if path:
    if not os.path.exists(path):
      raise UsageError(f"there is no file {path}")
    with np.load(path) as file:
      world["rewards"] = file["rewards"] * int(times or 1)
  return toy_tabular.phases(config, {"world": world}, say)


METHOD = dataclasses.replace(
  toy_tabular.METHOD,
  presets={"tiny": Filed(arms=("decay",), samples=40, save_every=10)},
  phases=phases,
  default="tiny",
  files=lambda config: (
    {"table": config.table.partition(":")[0]} if config.table else {}
  ),
)


def write(path, scale):
  np.savez(path, rewards=scale * toy_tabular.world()["rewards"])
  return str(path)


def train(workdir, table, **how):
  return kd_jax.train(METHOD, workdir=workdir, table=table, quiet=True, **how)


def stop_at(wanted):
  def observe(event, step):
    if (event, step) == wanted:
      raise Interrupted(15, "stopped")

  return observe


@pytest.fixture
def stopped(tmp_path):
  """A run that was stopped half way, and its file."""
  table, workdir = write(tmp_path / "mine.npz", 1.0), tmp_path / "run"
  with pytest.raises(Interrupted):
    train(workdir, table, observer=stop_at(("product", 100)))
  return workdir, table


def test_a_file_that_changed_is_refused_and_the_same_one_goes_on(stopped):
  workdir, table = stopped
  before = pathlib.Path(table).read_bytes()
  write(table, 2.0)
  with pytest.raises(UsageError, match="table: what the path names holds som"):
    train(workdir, table)
  pathlib.Path(table).write_bytes(before)
  whole = train(workdir.parent / "whole", table)
  assert train(workdir, table).metrics == whole.metrics


def test_another_path_is_told_once(stopped, tmp_path):
  workdir, _ = stopped
  other = write(tmp_path / "other.npz", 2.0)
  with pytest.raises(UsageError, match=r"table: '.*mine\.npz' there") as caught:
    train(workdir, other)
  assert "names" not in str(caught.value)


def test_a_file_that_is_gone_goes_on_from_its_copy(stopped):
  workdir, table = stopped
  whole = train(workdir.parent / "whole", table)
  os.remove(table)
  again = train(workdir, table)
  assert again.metrics == whole.metrics
  assert again.summary["config"]["table"] == table
  shutil.rmtree(workdir / "inputs")
  with pytest.raises(UsageError, match="table: what the path names is gone"):
    train(workdir, table)


def test_a_finished_run_needs_no_file(tmp_path):
  table = write(tmp_path / "mine.npz", 3.0)
  run = train(tmp_path / "run", f"{table}:2")
  twice, learned = run.products["exact"]["q"], run.state["q"]
  plain = train(tmp_path / "plain", "").products["exact"]["q"]
  np.testing.assert_allclose(twice, 6 * plain, rtol=1e-5)
  write(table, 1.0)
  for _ in range(2):
    assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
    _, q = kd_jax.load(run.workdir, METHOD)
    np.testing.assert_array_equal(q, learned)
    np.testing.assert_array_equal(
      kd_jax.open_run(run.workdir, METHOD).products["exact"]["q"], twice
    )
    if os.path.exists(table):
      os.remove(table)


def test_a_large_file_must_stay_as_it_was(tmp_path, monkeypatch):
  monkeypatch.setattr(inputs, "MOST_BYTES", 10)
  table = write(tmp_path / "mine.npz", 1.0)
  run = train(tmp_path / "run", table)
  assert not (run.workdir / "inputs").exists()
  assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
  write(table, 2.0)
  with pytest.raises(UsageError, match=r"\(table\) holds something else now"):
    kd_jax.evaluate(METHOD, run.workdir)
  os.remove(table)
  with pytest.raises(UsageError, match=r"mine\.npz \(table\) is gone; "):
    kd_jax.load(run.workdir, METHOD)
  # Its table of results needs no file.
  assert kd_jax.open_run(run.workdir, METHOD).table() == run.table()


def test_a_path_by_role_is_told_by_its_content_too(tmp_path):
  table = write(tmp_path / "mine.npz", 2.0)
  run = train(tmp_path / "run", "", data={"table": table})
  assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
  write(table, 1.0)
  with pytest.raises(UsageError, match=r"data\.table: what the path names h"):
    train(tmp_path / "run", "", data={"table": table})
  # It reads its copy; other data that is given is refused.
  assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
  with pytest.raises(UsageError, match=r"\(data\.table\) holds something else"):
    kd_jax.evaluate(METHOD, run.workdir, {"table": table})
  os.remove(table)
  assert kd_jax.evaluate(METHOD, run.workdir) == dict(run.metrics)
  again = train(tmp_path / "run", "", data={"table": table})
  assert again.metrics == run.metrics


def test_a_missing_file_is_the_methods_to_refuse(tmp_path):
  with pytest.raises(UsageError, match="there is no file"):
    train(tmp_path / "run", str(tmp_path / "none.npz"))
  assert not (tmp_path / "run").exists()


def test_a_folder_is_its_names_and_bytes(tmp_path):
  folder = tmp_path / "a"
  (folder / "deep").mkdir(parents=True)
  (folder / "x.txt").write_text("one")
  (folder / "deep" / "y.txt").write_text("two")
  first = inputs.digest(folder)
  assert inputs.digest(str(folder) + "/") == first
  shutil.copytree(folder, tmp_path / "b")
  assert inputs.digest(tmp_path / "b") == first
  (folder / ".hidden").write_text("not data")
  assert inputs.digest(folder) == first
  (folder / "x.txt").rename(folder / "z.txt")
  assert inputs.digest(folder) != first
  (folder / "z.txt").rename(folder / "x.txt")
  (folder / "x.txt").write_text("One")
  assert inputs.digest(folder) != first
  (tmp_path / "c").mkdir()
  (tmp_path / "c" / "x.txt").write_text("one")
  (tmp_path / "c" / "deep").symlink_to(tmp_path / "b" / "deep")
  (tmp_path / "b" / "deep" / "loop").symlink_to(tmp_path / "c")
  assert inputs.digest(tmp_path / "c") == first
  assert inputs.digest(tmp_path / "none") is None


def test_only_what_is_read_of_a_folder_counts(tmp_path):
  folder = tmp_path / "facts"
  (folder / "runs" / "train.txt").mkdir(parents=True)
  (folder / "train.txt").write_text("one")
  names = ("train.txt", "train.tsv")
  first = inputs.digest(folder, names)
  (folder / "runs" / "metrics.csv").write_text("grows as a run goes on")
  assert inputs.digest(folder, names) == first
  (folder / "train.tsv").write_text("two")
  assert inputs.digest(folder, names) != first
  given, digests = {"graph": str(folder)}, {"graph": first}
  own = inputs.Inputs(given, digests, {}, names)
  inputs.keep(own, tmp_path / "run")
  copy = tmp_path / "run" / "inputs" / "graph" / "facts"
  assert {path.name for path in copy.iterdir()} == set(names)


def test_a_folder_is_kept_and_found_again(tmp_path):
  source = tmp_path / "images"
  (source / "cats").mkdir(parents=True)
  (source / "cats" / "a.png").write_bytes(b"cat")
  given = {"data.web": str(source)}
  own = inputs.Inputs(given, {"data.web": inputs.digest(source)}, {})
  inputs.keep(own, tmp_path / "run")
  copy = tmp_path / "run" / "inputs" / "data.web" / "images"
  assert (copy / "cats" / "a.png").read_bytes() == b"cat"
  assert inputs.digest(copy) == own.digests["data.web"]
