"""The phases of a run, and the finished model."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kd_jax import experiment
from kd_jax.datasets import graphs
from kd_jax.datasets.graphs.graph import Graph
from kd_jax.errors import UsageError
from kd_jax.methods.ote import (
  evaluation,
  inputs,
  neighbours,
  scorer,
  state,
  steps,
)
from kd_jax.methods.ote.arms import (
  BASES,
  of_arm,
  stage_of,
  with_bases,
)
from kd_jax.methods.ote.config import Config
from kd_jax.methods.ote.model import SIDES, Side
from kd_jax.methods.ote.validate import check

PyTree = Any


def phases(
  config: Config, data: Mapping[str, Any], say: Callable[[str], None]
) -> list[experiment.Phase]:
  """The phases of a run: an arm each, those that others go on from first.

  Args:
    config: the configuration.
    data: the user's own graph by the role "graph" (a `Graph`).
    say: takes lines of news.

  Returns:
    The phases.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  names = with_bases(config.arms)
  for arm in names:
    check(of_arm(config, arm))
  graph = load_graph(config, data, say)
  say(
    f"{graph.name}: {len(graph.entities):,} entities, "
    f"{len(graph.relations):,} relations, {len(graph.train):,} triples to "
    f"learn from, {len(graph.valid):,} and {len(graph.test):,} to judge by"
  )
  asked = questions(graph)
  return [arm_phase(config, arm, graph, asked) for arm in names]


def load_graph(
  config: Config,
  data: Mapping[str, Any],
  say: Callable[[str], None] = lambda line: None,
) -> Graph:
  """The configured graph, or the user's own.

  Args:
    config: the configuration.
    data: may hold "graph".
    say: takes lines of news.

  Returns:
    The graph.

  Raises:
    UsageError: for a role that there is not.
  """
  if unknown := set(data) - {"graph"}:
    raise UsageError(f"ote has no role {min(unknown)!r} for data; it is graph")
  return graphs.load(data.get("graph", config.graph), say=say)


def files(config: Config) -> dict[str, str]:
  """The user's own facts among a configuration's values.

  Args:
    config: the configuration.

  Returns:
    Their path by the name of the field; nothing for a graph by name.
  """
  if graphs.is_graph(config.graph):
    return {}
  return {"graph": graphs.whole_of(config.graph)}


def questions(graph: Graph) -> dict[str, PyTree]:
  """What validation and test triples ask, by split."""
  return {
    split: inputs.questions(graph, getattr(graph, split))
    for split in ("valid", "test")
  }


def arm_phase(
  config: Config,
  arm: str,
  graph: Graph,
  asked: Mapping[str, PyTree] | None = None,
) -> experiment.Phase:
  """One arm's training.

  Args:
    config: the method's configuration.
    arm: which arm.
    graph: the graph.
    asked: its `questions`, if they are there already.

  Returns:
    The phase; its product is a model by itself: "params", "entities" (how many)
    and, with context, "train" (the triples that it runs along).
  """
  own = of_arm(config, arm)
  stage, sizes = stage_of(own, arm), inputs.sizes(graph)

  def init(products, seed):
    base = products[f"{BASES[arm]}.train"]["params"] if arm in BASES else None
    return state.create_state(
      own, stage, seed, sizes.entities, sizes.relations, base
    )

  columns = inputs.training(graph, own)
  model = {"entities": np.int32(sizes.entities)}
  if own.model.context != "none":
    model["train"] = graph.train
  asked = questions(graph) if asked is None else asked
  data = {
    split: {"questions": q, "edges": columns["edges"]}
    for split, q in asked.items()
  }
  return experiment.Phase(
    name="train",
    arm=arm,
    init=init,
    step=steps.make_train_step(own, stage, sizes),
    steps=stage.steps // 2,
    data=columns,
    product=lambda s: {"params": state.chosen(s), **model},
    evaluations=_evaluations(own, stage.margin, sizes.entities, data),
    epoch=_validation(own, stage, sizes.entities, data["valid"]),
    batch_size=2 * stage.batch_size,
    split=state.divided if own.shard_entities else None,
  )


def _evaluations(own, margin, entities, data):
  asked = data["test"]["questions"]
  present = {
    side: tuple(np.unique(asked[side]["columns"]["category"]).tolist())
    for side in SIDES
  }
  return {
    split: experiment.Evaluation(
      evaluation.make_evaluation(own, margin, entities, groups),
      data[split],
      state.divided if own.shard_entities else None,
    )
    for split, groups in (("valid", None), ("test", present))
  }


def _validation(own, stage, entities, data):
  """Looks at validation triples now and then, and keeps what did best."""
  if not stage.valid_every:
    return None
  measure = evaluation.make_evaluation(own, stage.margin, entities)

  def run(carried, data, *, axis_name=None):
    product = {"params": carried.params}
    found = measure(product, data, axis_name=axis_name)
    values = {f"valid_{k}": m.total / m.count for k, m in found.items()}
    if own.keep == "best":
      carried = state.keep_better(carried, values["valid_mrr"])
    return carried, values

  return experiment.Epoch(run, stage.valid_every // 2, data, last=True)


def apply(
  config: Config, products: experiment.Products
) -> tuple[Callable[..., jax.Array], PyTree]:
  """The finished model, to use.

  Args:
    config: the configuration.
    products: of a run; see `answering` for whose model it is.

  Returns:
    `apply(variables, (kept, relations), side="tail") -> scores` (b, n) of all
    entities, and the variables. With the side "tail" heads are kept.
  """
  arm = answering(products)
  product = products[f"{arm}.train"]
  return scores_of(config, arm, product), product["params"]


def answering(products: experiment.Products) -> str:
  """Which arm speaks for a run.

  Args:
    products: of the run.

  Returns:
    The first there is of "gc_ote", "ote" and the run's own last.
  """
  names = [name.removesuffix(".train") for name in products]
  return next((a for a in ("gc_ote", "ote") if a in names), names[-1])


def scores_of(
  config: Config, arm: str, product: Mapping[str, PyTree]
) -> Callable[..., jax.Array]:
  """A function that scores all entities.

  Args:
    config: the method's configuration.
    arm: which arm.
    product: what it left.

  Returns:
    `(params, (kept, relations), side="tail") -> scores` (b, n), compiled.
  """
  own, count = of_arm(config, arm), int(product["entities"])
  margin, edges = stage_of(own, arm).margin, {}
  if "train" in product:
    shuffled = own.model.neighbours == "random"
    edges = neighbours.edges(np.asarray(product["train"]), shuffled)

  def answer(params, asked, side: Side = "tail"):
    kept, relation = (jax.numpy.asarray(x, "int32") for x in asked)
    s = scorer.scorer(own, margin, params, edges, count)
    return scorer.score_all(s, side, kept, relation)[:, :count]

  return jax.jit(answer, static_argnames="side")
