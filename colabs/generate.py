"""Makes the notebooks from the scripts beside them, and executes them.

A script is Python in cells: "# %%" begins a cell of code, "# %% [markdown]" one
of text whose lines are comments. Lines that only a notebook understands stand
behind "# !" ("# !%pip install ..."), so that the script stays Python for ruff.

  python colabs/generate.py                    writes every notebook anew
  python colabs/generate.py --check            says which ones have drifted
  python colabs/generate.py --execute FILE...  runs them as a user would
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
# The scripts beside this one have names of modules (ssl, compression).
sys.path[:] = [
  p for p in sys.path if pathlib.Path(p).resolve() != HERE.resolve()
]


def cells(script):
  """The cells of a script: (kind, text)."""
  found = []
  for line in script.read_text().splitlines():
    if line.startswith("# %%"):
      kind = "markdown" if "[markdown]" in line else "code"
      found.append((kind, []))
    elif found:
      kind, lines = found[-1]
      if kind == "markdown":
        lines.append(line.removeprefix("#").removeprefix(" "))
      else:
        lines.append(line.removeprefix("# !"))
  return [(kind, "\n".join(lines).strip("\n")) for kind, lines in found]


def notebook(script):
  """A script as the JSON of a notebook."""
  made = []
  for number, (kind, text) in enumerate(cells(script)):
    cell = {
      "cell_type": kind,
      "id": f"cell-{number}",
      "metadata": {},
      "source": text.splitlines(keepends=True),
    }
    if kind == "code":
      cell |= {"execution_count": None, "outputs": []}
    made.append(cell)
  kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
  whole = {
    "cells": made,
    "metadata": {"accelerator": "GPU", "kernelspec": kernel},
    "nbformat": 4,
    "nbformat_minor": 5,
  }
  return json.dumps(whole, indent=1) + "\n"


def scripts():
  """The scripts that are notebooks."""
  return [p for p in sorted(HERE.glob("*.py")) if p.name != "generate.py"]


def execute(paths):
  """Runs notebooks; a cell that fails fails the whole."""
  import nbclient
  import nbformat

  for path in paths:
    client = nbclient.NotebookClient(
      nbformat.read(path, as_version=4), timeout=1200, kernel_name="python3"
    )
    done = client.execute()
    print(f"{path}: {len(done.cells)} cells ran")


def main(words):
  """Writes, checks or executes."""
  if words[:1] == ["--execute"]:
    execute(words[1:])
    return 0
  drifted = []
  for script in scripts():
    target, text = script.with_suffix(".ipynb"), notebook(script)
    if not target.exists() or target.read_text() != text:
      drifted.append(target.name)
      if "--check" not in words:
        target.write_text(text)
  print("drifted:" if "--check" in words else "written:", *drifted)
  return int(bool(drifted) and "--check" in words)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
