"""The figures of a finished run: who predicts what how well."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd_jax import report
from kd_jax.methods.ote import evaluation, inputs
from kd_jax.methods.ote.arms import with_bases
from kd_jax.methods.ote.map import entity_map
from kd_jax.methods.ote.train import load_graph

_SIDES = ("heads", "tails")


def plots(run: Any) -> dict[str, Any]:
  """Draws what there is to see of a run.

  Args:
    run: a finished run: `config`, `metrics`, `products` and `data`.

  Returns:
    Figures by file stem: "arms", "categories", "degrees" and "entities" (a map
    by the last arm's table).

  Raises:
    UsageError: if an arm's scores have collapsed.
  """
  evaluation.refuse_collapsed(run.metrics)
  names = with_bases(run.config.arms)
  graph = load_graph(run.config, run.data)
  table = run.products[f"{names[-1]}.train"]["params"]["entity"]
  return {
    "arms": arms(run.metrics, names),
    "categories": groups(run.metrics, names, inputs.GROUPS, "hits10"),
    "degrees": groups(
      run.metrics, names, [f"degree_{d}" for d in inputs.DEGREES], "mrr"
    ),
    "entities": entity_map(graph, table[: len(graph.entities)]),
  }


def arms(metrics: Mapping[str, float], names: Sequence[str]) -> Any:
  """Bars of the ranks of all questions.

  Args:
    metrics: "arm.metric" to number.
    names: the arms, in order.

  Returns:
    The figure.
  """
  figure = report.new_figure(1.5 + 1.0 * len(names), 4)
  axes = figure.subplots()
  kinds = {"MRR": "mrr", "Hits@1": "hits1", "Hits@10": "hits10"}
  width = 0.8 / len(kinds)
  for i, (label, kind) in enumerate(kinds.items()):
    heights = [metrics[f"{name}.test_{kind}"] for name in names]
    axes.bar(np.arange(len(names)) + i * width, heights, width, label=label)
  axes.set_xticks(np.arange(len(names)) + width, names, rotation=20)
  axes.set_ylim(0, 1)
  axes.set_ylabel("test triples, filtered")
  axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(kinds))
  return figure


def groups(
  metrics: Mapping[str, float],
  names: Sequence[str],
  places: Sequence[str],
  kind: str,
) -> Any:
  """Bars by a group of questions, heads and tails apart.

  Args:
    metrics: "arm.metric" to number.
    names: the arms, in order.
    places: the groups; one that no question belongs to is left out.
    kind: "mrr" or "hits10".

  Returns:
    The figure, a panel per side.
  """
  figure = report.new_figure(10, 4)
  for axes, side in zip(figure.subplots(1, 2), _SIDES, strict=True):
    there = [
      place
      for place in places
      if f"{names[0]}.test_{side}_{place}_{kind}" in metrics
    ]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
      heights = [metrics[f"{name}.test_{side}_{p}_{kind}"] for p in there]
      axes.bar(np.arange(len(there)) + i * width, heights, width, label=name)
    labels = [p.replace("degree_", "").replace("_", "-") for p in there]
    axes.set_xticks(np.arange(len(there)) + 0.4 - width / 2, labels)
    axes.set_ylim(0, 1)
    axes.set_title(f"{side} are asked for ({kind})")
  figure.axes[0].legend(fontsize="small", loc="upper left")
  return figure
