"""Two processes with two devices each run what one process runs.

They share no folder, as hosts of a slice do not: each stands in one of its own,
and the second one's must stay empty.
"""

import signal

import numpy as np
import processes
import pytest

from kd_jax import accel, api
from kd_jax.errors import UsageError

KILL, TERM = signal.SIGKILL, signal.SIGTERM
KD3 = ["train", "kd3", "tiny", "--quiet", "--arms", "kd3"]
KD3 += ["--data.train-images", "60", "--teacher-steps", "3", "--epochs", "2"]
KD3 += ["--epoch-steps", "3", "--save-every", "2", "--log-every", "2"]
KD3 += ["--teacher.widths", "4", "6", "--teacher.strides", "2", "2"]
KD3 += ["--student.widths", "3", "4", "--student.strides", "2", "2"]
KD3 += ["--workdir", "run"]
NET = ["train", "toy_net", "--quiet", "--stream", "True", "--steps", "12"]
NET += ["--save-every", "4", "--workdir", "net"]
TABULAR = ["train", "toy_tabular", "tiny", "--quiet", "--samples", "100"]
TABULAR += ["--save-every", "0", "--log-every", "20", "--workdir", "tabular"]


def together(folders, words, at=None, who=1):
  """A job of two processes; the `who`-th stops at a point."""
  return [
    {
      "words": words,
      "devices": 2,
      "folder": str(folder),
      "at": at if number == who else None,
    }
    for number, folder in enumerate(folders)
  ]


@pytest.fixture
def folders(tmp_path):
  found = [tmp_path / "first", tmp_path / "second"]
  for folder in found:
    folder.mkdir()
  return found


def assert_close(one, other):
  """Two folders hold the same run, sums in another order aside."""
  for run in (one, other):
    assert (run / "plots" / "loss.png").exists()
  a, b = processes.leaves(one), processes.leaves(other)
  assert a.keys() == b.keys()
  for name, leaf in a.items():
    np.testing.assert_allclose(leaf, b[name], rtol=1e-3, atol=1e-4)
  first, second = api.open_run(one), api.open_run(other)
  assert second.metrics == pytest.approx(first.metrics, rel=1e-3, abs=1e-4)
  rows = first.rows()
  assert len(rows) == len(second.rows()) > 3
  for row, same in zip(rows, second.rows(), strict=True):
    for name in ("kind", "arm", "phase", "step"):
      assert row.pop(name) == same.pop(name)
    assert row.keys() == same.keys()
    for name, value in row.items():
      assert same[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_kd3_on_two_processes_killed_and_started_again(folders, tmp_path):
  alone = tmp_path / "alone"
  alone.mkdir()
  codes, said = processes.run_jobs(
    {"words": KD3, "folder": str(alone)},
    # The second one dies, in the student.
    together(folders, KD3, ["saved", 4, KILL]),
    together(folders, KD3),
  )
  assert codes == [0, [-KILL, -KILL], [0, 0]], said
  assert_close(alone / "run", folders[0] / "run")
  assert not list(folders[1].iterdir())
  assert said.count("everything is in run") == 2  # Alone, and the first's.


def test_a_stream_and_a_signal_that_one_process_gets(folders, tmp_path):
  alone = tmp_path / "alone"
  alone.mkdir()
  codes, said = processes.run_jobs(
    *({"words": w, "folder": str(alone)} for w in (NET, TABULAR)),
    # Each reads its half of every batch: the same half would be another run.
    together(folders, NET, ["saved", 4, KILL], who=0),
    together(folders, NET),
    together(folders, TABULAR, ["step", 40, TERM]),
    together(folders, TABULAR),
    # Another configuration is refused, and both say so.
    together(folders, [*TABULAR, "--seed", "5"]),
  )
  killed, stopped = [-KILL, -KILL], [143, 143]
  assert codes == [0, 0, killed, [0, 0], stopped, [0, 0], [2, 2]], said
  for name in ("net", "tabular"):
    assert_close(alone / name, folders[0] / name)
  assert not list(folders[1].iterdir())
  assert said.count("stopped by SIGTERM at step 40") == 2
  assert said.count("seed: 0 there, 5 here") == 2


def test_one_process_asks_nobody():
  tree = {"a": np.arange(3, dtype=np.int16), "b": np.array(True)}
  assert accel.tree_from_first(lambda: tree, tree) is tree
  assert accel.from_first(lambda: (1, 2)) == (1, 2)
  assert accel.largest(7) == 7
  assert accel.is_first()
  assert not accel.several()
  with pytest.raises(UsageError, match="no"):
    accel.from_first(lambda: (_ for _ in ()).throw(UsageError("no")))
