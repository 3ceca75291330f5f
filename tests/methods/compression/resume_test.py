"""A killed compression goes on to the bits of one that was left alone."""

import signal

import processes

KILL = signal.SIGKILL
WORDS = ["train", "compression", "tiny", "--quiet", "--arms", "pipeline"]
WORDS += ["--widths", "6", "--dense-steps", "4", "--tune-steps", "6"]
WORDS += ["--pipeline", "filters:0.5,steps=0 | gradual:0.6 | share:2 | huffman"]
WORDS += ["--save-every", "4", "--log-every", "3", "--workdir"]


def test_killed_within_a_schedule_and_after_a_cut(tmp_path):
  points = [
    # Masks and their place in the schedule are in the optimizer's state.
    ("saved", 4, KILL),
    # After a phase on the host, whose shapes are read from its product.
    ("finishing", 6, KILL),
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
