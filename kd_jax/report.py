"""Tables and plots of a finished run."""

import io
import pathlib
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Figures = Mapping[str, Any]
WIDTH = 118


def render(
  title: str,
  header: Sequence[str],
  rows: Sequence[Sequence[str]],
  *,
  texts: int = 1,
) -> str:
  """A table as text.

  Args:
    title: stands above it.
    header: the titles of the columns.
    rows: the cells.
    texts: how many leading columns are words and not numbers.

  Returns:
    The text, without colours.
  """
  table = Table(header_style="")
  for place, name in enumerate(header):
    table.add_column(
      name, justify="left" if place < texts else "right", overflow="fold"
    )
  for row in rows:
    table.add_row(*map(Text, row))
  out = io.StringIO()
  Console(file=out, width=_width(), color_system=None).print(table)
  lines = (line.rstrip() for line in out.getvalue().splitlines())
  # The table's own title would be folded to the table's width.
  return "\n".join([title, *lines]) + "\n"


def _width() -> int:
  """118 columns, or what a narrower terminal has."""
  if not sys.stdout.isatty():
    return WIDTH
  return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def number(value: float | None) -> str:
  """A number for a table: four digits, "-" where there is none."""
  if value is None or value != value:
    return "-"
  return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"


def table(run: Any) -> str:
  """The closing table of a run: an arm a row, the headline metrics beside it.

  Args:
    run: a finished run (`kd_jax.api.Run`).

  Returns:
    The text, with the folder where everything lies.
  """
  method, names = run.method, _row_names(run)
  # Not those that none of these arms has a number for.
  metrics = [
    m for m in method.headline if any(f"{n}.{m}" in run.metrics for n in names)
  ]
  rows = [
    [
      f"{name}{' (the method)' if name == method.main else ''}",
      method.arms.get(name, ""),
      *[number(run.metrics.get(f"{name}.{m}")) for m in metrics],
    ]
    for name in names
  ]
  summary = run.summary
  title = (
    f"{method.name} {run.preset}, seed {summary['seed']}, "
    f"{summary['devices'][0]} x {len(summary['devices'])}"
  )
  times = (
    f"compiled {summary['compile_s']:.1f} s, trained {summary['train_s']:.1f} s"
    f", {summary['wall_s']:.1f} s in all; everything is in {run.workdir}\n"
  )
  header = ["arm", "what it is", *[method.headline[m] for m in metrics]]
  return render(title, header, rows, texts=2) + times


def _row_names(run: Any) -> list[str]:
  """Shared phases that have a headline number, then the arms in order."""
  names = list(dict.fromkeys(k.rsplit(".", 1)[0] for k in run.metrics))
  return [
    name
    for name in names
    if any(f"{name}.{m}" in run.metrics for m in run.method.headline)
  ]


def curves(rows: Sequence[Mapping[str, Any]], metric: str) -> Any:
  """One metric over steps, a line per arm and phase.

  Many lines have their names beside the axes, and a scale of powers if they
  are far apart.

  Args:
    rows: rows of `metrics.jsonl`.
    metric: its name.

  Returns:
    The figure.
  """
  lines: dict[str, list[tuple[int, float]]] = {}
  for row in rows:
    if row["kind"] == "train" and row.get(metric) is not None:
      label = ".".join(filter(None, (row["arm"], row["phase"])))
      lines.setdefault(label, []).append((row["step"], row[metric]))
  columns = -(-len(lines) // 25)
  beside = len(lines) > 8
  figure = new_figure(7 + 2 * columns if beside else 7)
  axes = figure.subplots()
  for number, (label, points) in enumerate(lines.items()):
    style = ("-", "--", ":", "-.")[number // 10 % 4]
    axes.plot(*zip(*points, strict=True), style, label=label)
  axes.set(xlabel="step", ylabel=metric)
  values = [value for points in lines.values() for _, value in points]
  if beside and 0 < 100 * min(values) < max(values):
    axes.set_yscale("log")
  if beside:
    figure.legend(loc="outside right upper", ncols=columns, fontsize=7)
  elif lines:
    axes.legend()
  return figure


def new_figure(width: float = 7, height: float = 4.5) -> Any:
  """A figure that no window and no global state knows of.

  Args:
    width: in inches.
    height: in inches.

  Returns:
    The figure.
  """
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), layout="constrained")


def figures(run: Any) -> Figures:
  """All figures of a run: the loss, and what the method adds.

  Args:
    run: a finished run.

  Returns:
    Figures by name.
  """
  own = run.method.plots(run) if run.method.plots else {}
  rows = run.rows()
  if any("loss" in row for row in rows):
    own = {"loss": curves(rows, "loss"), **own}
  return own


def save_figures(run: Any) -> list[pathlib.Path]:
  """Writes a run's figures into its folder's `plots/`.

  Args:
    run: a finished run.

  Returns:
    The files.
  """
  return save(figures(run), run.workdir / "plots")


def save(named: Figures, folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes figures as PNG files.

  Args:
    named: figures by name.
    folder: where to; it is made if it is not there.

  Returns:
    The files.
  """
  folder.mkdir(parents=True, exist_ok=True)
  paths = []
  for name, figure in named.items():
    paths.append(folder / f"{name}.png")
    with warnings.catch_warnings():
      # A user's names may be in any script; the font draws boxes.
      warnings.filterwarnings("ignore", "Glyph .* missing from font")
      figure.savefig(paths[-1], dpi=120)
  return paths
