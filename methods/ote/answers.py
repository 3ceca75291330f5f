"""Questions by name to a finished run: which tails, which heads?

  kd-jax evaluate ote --query "person80 term20 ?"
  kd-jax evaluate ote --query "? term20 person80"
  kd-jax evaluate ote --query @questions.txt

A name that holds spaces stands in quotes of its own ("'the old man' likes ?"),
or the three parts are separated by tabs, which need no quotes: then any name is
taken as it is written, quotes and all. "@FILE" asks a file's lines, one
question each.
"""

import difflib
import itertools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kd_jax import report
from kd_jax.datasets.graphs import HEAD, RELATION, TAIL, Graph
from kd_jax.errors import UsageError
from kd_jax.experiment import Answer
from kd_jax.methods.ote.model import Side
from kd_jax.methods.ote.train import answering, load_graph, scores_of

TOP = 10
_AT_ONCE = 64


class Query(NamedTuple):
  """A triple with a side missing, in numbers.

  Attributes:
    text: how it was asked.
    side: what is asked for.
    kept: the entity of the other side.
    relation: the relation.
  """

  text: str
  side: Side
  kept: int
  relation: int


def ask(run: Any, text: str) -> str:
  """Answers a question, or a file of them.

  Args:
    run: a finished run.
    text: "head relation ?", "? relation tail", or "@FILE".

  Returns:
    A table per question: the ten likeliest answers, and which of them the graph
    knows already.

  Raises:
    UsageError: for a question that cannot be read, and for unknown names, with
      those that are spelled alike.
  """
  graph = load_graph(run.config, run.data)
  queries = [parse(line, graph) for line in _lines(text)]
  products = run.products
  arm = answering(products)
  product = products[f"{arm}.train"]
  score, params = scores_of(run.config, arm, product), product["params"]
  found: dict[int, str] = {}
  for side in ("tail", "head"):
    places = [i for i, q in enumerate(queries) if q.side == side]
    for batch in _batches(places, _AT_ONCE):
      asked = [queries[i] for i in batch]
      # As many each time: another number would be another program.
      filled = asked + asked[:1] * (min(_AT_ONCE, len(places)) - len(asked))
      kept = np.array([q.kept for q in filled], np.int32)
      relation = np.array([q.relation for q in filled], np.int32)
      scores = np.asarray(score(params, (kept, relation), side=side))
      for i, row in zip(batch, scores, strict=False):
        found[i] = table(queries[i], row, graph, arm)
  return "\n".join(found[i] for i in range(len(queries)))


QUERY = Answer(
  run=ask,
  help="the likeliest answers to 'head relation ?' or '? relation tail', names "
  "as in the data (those with spaces in quotes, or tabs between the three); "
  "@FILE asks its lines",
)


def _lines(text: str) -> list[str]:
  if not text.startswith("@"):
    return [text]
  try:
    whole = Path(text[1:]).expanduser().read_text(encoding="utf-8-sig")
  except (OSError, RuntimeError, UnicodeDecodeError) as error:
    raise UsageError(f"cannot read {text[1:]}: {error}") from None
  lines = [line for line in whole.splitlines() if line.strip()]
  if not lines:
    raise UsageError(f"{text[1:]} has no question")
  return lines


def _batches(items: Sequence[int], size: int):
  items = iter(items)
  while batch := list(itertools.islice(items, size)):
    yield batch


def parse(text: str, graph: Graph) -> Query:
  """Reads a question.

  Args:
    text: "head relation ?" or "? relation tail".
    graph: whose names they are.

  Returns:
    The question in numbers.

  Raises:
    UsageError: for anything else, and for unknown names.
  """
  head, relation, tail = _three(text)
  if (head == "?") == (tail == "?") or relation == "?":
    raise UsageError(
      f"{text!r} asks for none or several; it is 'head relation ?' or "
      "'? relation tail'"
    )
  side: Side = "tail" if tail == "?" else "head"
  return Query(
    text=f"{head} {relation} {tail}",
    side=side,
    kept=_number(head if side == "tail" else tail, graph.entities, "entity"),
    relation=_number(relation, graph.relations, "relation"),
  )


def _three(text: str) -> list[str]:
  if "\t" in text:
    parts = [part.strip() for part in text.split("\t")]
  else:
    try:
      parts = shlex.split(text)
    except ValueError as error:
      raise UsageError(
        f"{text!r} has an open quote ({error}); names with quotes in them go "
        "between tabs"
      ) from None
  if len(parts) != 3 or not all(parts):
    raise UsageError(
      f"{text!r} has {len(parts)} parts, not 3; it is 'head relation ?' or "
      "'? relation tail', names with spaces in quotes of their own"
    )
  return parts


def _number(name: str, names: tuple[str, ...], what: str) -> int:
  if name in names:
    return names.index(name)
  folded = [n for n in names if n.casefold() == name.casefold()]
  close = folded or difflib.get_close_matches(name, names, n=3, cutoff=0.5)
  hint = (
    "did you mean " + " or ".join(map(repr, close)) + "?"
    if close
    else f"there are {len(names):,}, such as {', '.join(map(repr, names[:3]))}"
  )
  raise UsageError(f"no {what} is named {name!r}; {hint}")


def table(query: Query, scores: np.ndarray, graph: Graph, arm: str) -> str:
  """The likeliest answers to a question.

  Args:
    query: the question.
    scores: of all entities as its answer.
    graph: the graph, which knows some answers.
    arm: whose scores they are.

  Returns:
    The text; equal scores in the order of the entities' numbers.
  """
  known = known_answers(query, graph)
  order = np.argsort(-scores, kind="stable")[:TOP]
  rows = [
    [str(place), graph.entities[i], known.get(i, ""), f"{scores[i]:.3f}"]
    for place, i in enumerate(order.tolist(), start=1)
  ]
  header = ["", query.side, "known from", "score"]
  shown = report.render(query.text, header, rows, texts=3)
  return f"{shown}{arm} says so, of {len(scores):,} entities\n"


def known_answers(query: Query, graph: Graph) -> Mapping[int, str]:
  """Which answers the graph holds, and in which split.

  Args:
    query: the question.
    graph: the graph.

  Returns:
    The split by the entity's number.
  """
  answer, kept = (TAIL, HEAD) if query.side == "tail" else (HEAD, TAIL)
  found = {}
  for split, triples in graph.splits.items():
    here = (triples[:, kept] == query.kept) & (
      triples[:, RELATION] == query.relation
    )
    found |= dict.fromkeys(triples[here, answer].tolist(), split)
  return found
