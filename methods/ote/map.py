"""A map of the entities: their table's two widest directions."""

from typing import Any

import numpy as np
from jaxtyping import Float

from kd_jax import report
from kd_jax.datasets.graphs import Graph, degrees

_NAMED = 12


def project(
  table: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "2"]]:
  """Principal components of rows.

  By singular values of the covariance, which stays small however many rows
  there are. Of both directions of a component that one is taken whose largest
  entry is positive, so that the map does not turn over from run to run.

  Args:
    table: the rows; two columns at least.

  Returns:
    Their places on the map, and the share of the variance that each of its two
    directions holds.
  """
  centred = np.asarray(table, np.float64)
  centred = centred - centred.mean(0)
  _, values, rows = np.linalg.svd(centred.T @ centred)
  axes = rows[:2]
  largest = np.abs(axes).argmax(1)
  axes = axes * np.sign(axes[np.arange(2), largest])[:, None]
  return centred @ axes.T, values[:2] / max(values.sum(), 1e-30)


def entity_map(graph: Graph, table: Float[np.ndarray, "m d"]) -> Any:
  """Draws the entities, coloured by how much is known of them.

  Args:
    graph: the graph.
    table: the entities' table; rows beyond the entities are padding.

  Returns:
    The figure; the busiest entities carry their names.
  """
  places, shares = project(np.asarray(table)[: len(graph.entities)])
  busy = degrees(graph)
  figure = report.new_figure(8, 6.5)
  axes = figure.subplots()
  # The busiest last: they lie on top.
  order = np.argsort(busy, kind="stable")
  drawn = axes.scatter(
    *places[order].T,
    c=np.maximum(busy[order], 1),
    norm="log",
    s=np.clip(2e4 / len(order), 3, 40),
    cmap="viridis",
    linewidths=0,
  )
  for i in order[::-1][:_NAMED]:
    axes.annotate(
      _short(graph.entities[i]),
      places[i],
      xytext=(3, 3),
      textcoords="offset points",
      fontsize="x-small",
      parse_math=False,
    )
  figure.colorbar(drawn, ax=axes, label="training triples")
  for name, share in zip("xy", shares, strict=True):
    axes.set(**{f"{name}label": f"{100 * share:.1f} % of the variance"})
  axes.set_title(f"the entities of {graph.name}", parse_math=False)
  return figure


def _short(name: str, length: int = 24) -> str:
  return name if len(name) <= length else name[: length - 1] + "…"
