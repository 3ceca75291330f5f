"""A graph as the arrays that steps and evaluations take, made on the host."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from kd_jax.datasets.graphs.describe import CATEGORIES, categories
from kd_jax.datasets.graphs.graph import Graph
from kd_jax.methods.ote import known, neighbours
from kd_jax.methods.ote.batches import Sizes
from kd_jax.methods.ote.config import Config
from kd_jax.methods.ote.model import SIDES, Side

PyTree = Any
# The relations' categories as metrics name them.
GROUPS = tuple(c.replace("-", "_").lower() for c in CATEGORIES)
DEGREES = ("low", "middle", "high")


def sizes(graph: Graph) -> Sizes:
  """What the graph fixes of compiled programs.

  Args:
    graph: the graph.

  Returns:
    The sizes.
  """
  depths = [known.depth(known.index(graph.train, side)[0]) for side in SIDES]
  return Sizes(len(graph.entities), len(graph.relations), tuple(depths))


def training(graph: Graph, config: Config) -> dict[str, PyTree]:
  """What a step draws from.

  Args:
    graph: the graph; its training triples alone are read.
    config: the arm's configuration.

  Returns:
    By side of what is asked for, "asks" (columns by triple: "kept",
    "relation", "answer", "question") and "known"; "weight" by triple; "edges"
    for models with context, else {}.
  """
  asks, lists = {}, {}
  for side in SIDES:
    kept, relation, answer = known.columns(graph.train, side)
    lists[side], question = known.index(graph.train, side)
    asks[side] = {
      "kept": kept,
      "relation": relation,
      "answer": answer,
      "question": question,
    }
  return {
    "asks": asks,
    "known": lists,
    "weight": weights(asks["tail"]["question"], asks["head"]["question"]),
    "edges": edges(graph, config),
  }


def edges(graph: Graph, config: Config) -> dict[str, PyTree]:
  """The edges that context runs along.

  Args:
    graph: the graph.
    config: the arm's configuration.

  Returns:
    See `neighbours.edges`; {} for a model without context.
  """
  if config.model.context == "none":
    return {}
  return neighbours.edges(graph.train, config.model.neighbours == "random")


def weights(
  asks_tail: Int32[np.ndarray, "n"], asks_head: Int32[np.ndarray, "n"]
) -> Float32[np.ndarray, "n"]:
  """Sub-sampling weights: triples of frequent pairs count less.

  Source: the paper's code, (6 + f_hr + f_rt)^(-1/2); the 6 stands for counters
  that begin at 4

  Args:
    asks_tail: each triple's (head, relation) pair, by number.
    asks_head: its (relation, tail) pair.

  Returns:
    A weight per triple.
  """
  counts = [np.bincount(pair)[pair] for pair in (asks_tail, asks_head)]
  return ((6 + counts[0] + counts[1]) ** -0.5).astype(np.float32)


def questions(
  graph: Graph, triples: Int32[np.ndarray, "n 3"]
) -> dict[Side, dict[str, PyTree]]:
  """Two questions per triple, with all answers that any split knows.

  Args:
    graph: the graph.
    triples: the triples that are asked for.

  Returns:
    By side, "columns" ("kept", "relation", "answer", "start" and "count" of the
    known answers, "category", "degree"), questions with as many known answers
    side by side, and "answers".
  """
  category = categories(graph)
  found = {}
  for side in SIDES:
    kept, relation, answer = known.columns(triples, side)
    # Those that are asked come first, so that their questions are theirs.
    everything = np.concatenate([triples, graph.known])
    lists, question = known.index(everything, side)
    question = question[: len(triples)]
    count = np.diff(lists.start)[question]
    columns = {
      "kept": kept,
      "relation": relation,
      "answer": answer,
      "start": lists.start[question],
      "count": count,
      "category": category[relation],
      "degree": _thirds(_degrees(graph, side)[answer]),
    }
    order = np.argsort(count, kind="stable")
    found[side] = {
      "columns": {k: v[order].astype(np.int32) for k, v in columns.items()},
      "answers": lists.answers,
    }
  return found


def _degrees(graph, side):
  """How often entities are answers of a side in training."""
  answers = known.columns(graph.train, side)[2]
  return np.bincount(answers, minlength=len(graph.entities))


def _thirds(values):
  """Which third of the questions each belongs to, ties going down together."""
  edges = np.quantile(values, [1 / 3, 2 / 3])
  return np.searchsorted(edges, values, side="left")
