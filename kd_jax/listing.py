"""What `kd-jax list` and `kd-jax data` print."""

from collections.abc import Sequence
from typing import Any

from kd_jax import registry, report
from kd_jax.training.progress import duration


def methods() -> str:
  """The installed methods with their presets, times, data and arms.

  Returns:
    The text.
  """
  parts = []
  for method in map(registry.find, registry.names()):
    rows = [
      [
        name + (" (default)" if name == method.default else ""),
        _time(method.minutes.get(name)),
        ", ".join(config.arms),
      ]
      for name, config in method.presets.items()
    ]
    header = ["preset", "train takes", "arms"]
    title = f"{method.name}: {method.title}\n{method.task}; data: {method.data}"
    parts.append(report.render(title, header, rows, texts=3))
    arms = "".join(f"  {k}: {v}\n" for k, v in method.arms.items())
    parts.append(f"arms (--arms ...):\n{arms}")
  return "\n".join(parts)


def _time(minutes: Any) -> str:
  if isinstance(minutes, int | float):
    return f"about {duration(60 * minutes)}, two CPU cores"
  return str(minutes or "-")


def losses() -> str:
  """Every public loss with its shapes, its equation and its source.

  Returns:
    The text.
  """
  from kd_jax.losses import catalog

  return "\n".join(
    f"{loss.signature}\n  {loss.summary}\n  {loss.shapes}\n  {loss.equation}\n"
    f"  {loss.source}\n  checked against: {loss.checked or '-'}\n"
    for loss in catalog.catalog()
  )


def data() -> str:
  """The data sets, and which of them are built.

  Returns:
    The text.
  """
  from kd_jax.datasets import catalog

  def built(entry):
    wait = "on first use" if entry.embedded else "when asked for"
    return "yes" if entry.built else wait

  rows = [
    [e.name, e.task, e.size, e.licence, built(e)] for e in catalog.entries()
  ]
  header = ["name", "task", "size", "licence", "built"]
  return report.render("data sets", header, rows, texts=5)


def build(name: str, manual_dir: str | None) -> None:
  """Builds a data set.

  Args:
    name: its name.
    manual_dir: where files lie that had to be fetched by hand.
  """
  from kd_jax.datasets import catalog

  catalog.build(name, manual_dir=manual_dir)


def show(name: str, out: str | None) -> str:
  """Describes a data set and writes a grid of its images.

  Args:
    name: its name; a graph's may be cut ("NAME:1000").
    out: where the grid goes; beside the data set's files if None.

  Returns:
    The text.
  """
  from kd_jax.datasets import graphs, shown

  if graphs.is_graph(name):
    return _graph(name)
  found = shown.show(name, out=out)
  rows = [[k, v] for k, v in found.features.items()]
  text = report.render(name, ["column", "shape and type"], rows, texts=2)
  for split, counts in found.counts.items():
    text += f"{split}: {sum(counts)} examples, {_per_class(counts)}\n"
  if found.grid is not None:
    text += f"images: {found.grid}\n"
  return text + f"files: {found.folder}\n"


def _per_class(counts: Sequence[int], most: int = 100) -> str:
  """Examples per class; of more than `most` classes, the range."""
  if len(counts) <= most:
    return f"per class {list(counts)}"
  low, high = min(counts), max(counts)
  each = f"{low}" if low == high else f"{low} to {high}"
  return f"{len(counts)} classes of {each}"


def _graph(source: str) -> str:
  from kd_jax.datasets import graphs
  from kd_jax.datasets.graphs import describe

  graph = graphs.load(source)
  rows = [[label, text] for label, text in describe.facts(graph).items()]
  return report.render(graph.name, ["what", "in numbers"], rows, texts=2)
