"""A killed run goes on to the bits of one that was left alone."""

import signal

import processes

KILL = signal.SIGKILL
WORDS = ["train", "ssl", "tiny", "--quiet", "--arms", "moco_v2"]
WORDS += ["--net.widths", "4", "6", "--net.strides", "2", "2", "--steps", "6"]
WORDS += ["--settings.queue", "64", "--probe.steps", "4"]
WORDS += ["--save-every", "2", "--log-every", "3", "--workdir"]


def test_killed_with_a_queue_and_between_phases(tmp_path):
  points = [("saved", 4, KILL), ("product", 6, KILL)]
  whole, killed = (str(tmp_path / name) for name in ("whole", "killed"))
  words = [*WORDS, killed]
  codes, said = processes.run_jobs(
    {"words": [*WORDS, whole]},
    *({"words": words, "at": at} for at in points),
    {"words": words},
  )
  assert codes == [0, -KILL, -KILL, 0], said
  processes.assert_same_runs(tmp_path / "whole", tmp_path / "killed")
