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
  queries = _read(text, graph)
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


def _read(text: str, graph: Graph) -> list[Query]:
  # Between tabs any name is a name, one that begins with @ too.
  if not text.startswith("@") or "\t" in text:
    return [parse(text, graph)]
  path, queries = text[1:], []
  for number, line in enumerate(_lines(path), start=1):
    try:
      queries += [parse(line, graph)] if line.strip() else []
    except UsageError as error:
      raise UsageError(f"{path}, line {number}: {error}") from None
  if not queries:
    raise UsageError(f"{path} has no question")
  return queries


def _lines(path: str) -> list[str]:
  if not path:
    raise UsageError("'@' names no file; @FILE asks a file's lines")
  try:
    whole = Path(path).expanduser().read_text(encoding="utf-8-sig")
  except (OSError, RuntimeError, UnicodeDecodeError) as error:
    raise UsageError(f"cannot read {path}: {error}") from None
  return whole.splitlines()


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
  kept = head if side == "tail" else tail
  return Query(
    text=f"{head} {relation} {tail}",
    side=side,
    kept=_number(kept, graph.entities, "entity", graph.relations),
    relation=_number(relation, graph.relations, "relation", graph.entities),
  )


def _three(text: str) -> list[str]:
  if "\t" in text:
    parts = [part.strip() for part in text.split("\t")]
  else:
    words = shlex.shlex(text, posix=True, punctuation_chars=False)
    # Quotes hold names together; a backslash is part of one.
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    try:
      parts = list(words)
    except ValueError as error:
      raise UsageError(
        f"{text!r} has an open quote ({error}); names with quotes in them go "
        "between tabs"
      ) from None
  if len(parts) != 3 or not all(parts):
    count = len(parts)
    wrong = f"{count} part{'s' * (count != 1)}, not 3"
    raise UsageError(
      f"{text!r} has {wrong if count != 3 else 'an empty part'}; it is "
      "'head relation ?' or '? relation tail', names with spaces in quotes of "
      "their own"
    )
  return parts


def _number(
  name: str, names: tuple[str, ...], what: str, others: tuple[str, ...]
) -> int:
  if name in names:
    return names.index(name)
  if name in others:
    other = "a relation" if what == "entity" else "an entity"
    raise UsageError(
      f"{name!r} is {other}, where the {what} should stand; it is "
      "'head relation ?' or '? relation tail'"
    )
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
