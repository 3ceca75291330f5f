"""A killed run of kd3 goes on to the bits of one that was left alone."""

import signal

import processes

KILL = signal.SIGKILL
WORDS = ["train", "kd3", "tiny", "--quiet", "--arms", "kd3"]
WORDS += ["--data.train-images", "60", "--teacher-steps", "2"]
WORDS += ["--epochs", "4", "--epoch-steps", "4", "--save-every", "3"]
WORDS += ["--log-every", "5", "--workdir"]


def test_a_student_killed_within_and_between_epochs(tmp_path):
  points = [
    # Within an epoch: its selection is in the checkpoint, and is not repeated.
    ("saved", 6, KILL),
    # At an edge: saved before the selection that is due.
    ("saved", 12, KILL),
  ]
  whole, killed = (str(tmp_path / name) for name in ("whole", "killed"))
  words = [*WORDS, killed]
  codes, said = processes.run_jobs(
    {"words": [*WORDS, whole]},
    *({"words": words, "at": at} for at in points),
    {"words": words},
  )
  assert codes == [0, -KILL, -KILL, 0], said
  processes.assert_same_runs(tmp_path / "whole", tmp_path / "killed")
