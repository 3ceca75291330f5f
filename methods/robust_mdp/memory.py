"""What a learner holds, beside the model that it does without.

Counted from arrays that were made, and measured as the peak of a child process
that holds one or the other and sweeps once: `python memory.py` prints a table.
The child runs this file alone, and this file imports NumPy alone: the peak of
importing more would hide what is measured.
"""

import json
import pathlib
import resource
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

MIB = 2**20


def learner_state(states: int, actions: int) -> dict[str, np.ndarray]:
  """What Algorithms 1 and 2 hold: Q and eta.

  Args:
    states: |S|.
    actions: |A|.

  Returns:
    The arrays, written to.
  """
  shape = (states, actions)
  return {"q": np.ones(shape, np.float32), "eta": np.zeros(shape, np.float32)}


def estimated_model(states: int, actions: int) -> dict[str, np.ndarray]:
  """What a plug-in holds: P_hat and Q.

  Args:
    states: |S|.
    actions: |A|.

  Returns:
    The arrays, written to.
  """
  chances = np.full((states, actions, states), 1 / states, np.float32)
  return {"p_hat": chances, "q": np.ones((states, actions), np.float32)}


HELD = {"model_free": learner_state, "plug_in": estimated_model}


def held_bytes(states: int, actions: int) -> dict[str, int]:
  """Bytes of the arrays, by formula: 2 |S||A| and |S||A| (|S| + 1) floats.

  Args:
    states: |S|.
    actions: |A|.

  Returns:
    Bytes by kind.
  """
  pairs = states * actions
  return {"model_free": 8 * pairs, "plug_in": 4 * pairs * (states + 1)}


def measure(kind: str, states: int, actions: int) -> dict[str, float]:
  """Peak resident memory that one kind adds to a fresh process.

  Args:
    kind: a key of `HELD`.
    states: |S|.
    actions: |A|.

  Returns:
    "array_bytes" and "peak_rss_bytes", the latter less what the process had
    before.

  Raises:
    subprocess.CalledProcessError: if the child fails.
  """
  done = subprocess.run(
    [sys.executable, __file__, kind, str(states), str(actions)],
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def _child(kind: str, states: int, actions: int) -> dict[str, float]:
  """Holds one kind and takes a sweep over it."""
  before = _peak()
  held = HELD[kind](states, actions)
  values = held["q"].max(-1)
  swept = held["p_hat"] @ values if "p_hat" in held else held["eta"] + 1
  held["q"][:] = swept
  count = sum(array.nbytes for array in held.values())
  return {"array_bytes": count, "peak_rss_bytes": _peak() - before}


def _peak() -> int:
  """The most that this process has had resident, in bytes."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():
    # Linux's ru_maxrss is inherited from the parent, this is not.
    return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(
  sizes: Sequence[int] = (500, 1000, 2000, 4000, 8000),
  actions: int = 10,
  largest: int = 2 * 2**30,
) -> list[dict[str, Any]]:
  """Rows of bytes, held and measured.

  Args:
    sizes: |S| of each row.
    actions: |A|.
    largest: what needs more bytes is counted and not measured.

  Returns:
    "states", "actions", and of each kind "KIND_bytes" and "KIND_rss" (None
    where it was not measured).
  """
  rows = []
  for states in sizes:
    row: dict[str, Any] = {"states": states, "actions": actions}
    for kind, count in held_bytes(states, actions).items():
      row[f"{kind}_bytes"] = count
      row[f"{kind}_rss"] = None
      if count <= largest:
        found = measure(kind, states, actions)
        row[f"{kind}_rss"] = found["peak_rss_bytes"]
    rows.append(row)
  return rows


def _print_table() -> None:
  print("states  model-free MiB (peak)  plug-in MiB (peak)  ratio")
  for row in table():
    cells = []
    for kind in HELD:
      rss = row[f"{kind}_rss"]
      peak = "not run" if rss is None else f"{rss / MIB:.1f}"
      cells.append(f"{row[f'{kind}_bytes'] / MIB:.2f} ({peak})")
    ratio = row["plug_in_bytes"] / row["model_free_bytes"]
    print(f"{row['states']:6d}  {cells[0]:>21s}  {cells[1]:>18s}  {ratio:.0f}")


if __name__ == "__main__":
  if len(sys.argv) == 4:
    print(json.dumps(_child(sys.argv[1], *map(int, sys.argv[2:]))))
  else:
    _print_table()
