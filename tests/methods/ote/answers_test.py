"""Questions by name: what is read, what is answered, what is refused."""

import dataclasses
import types

import jax
import numpy as np
import pytest

import kd_jax
from kd_jax import cli
from kd_jax.datasets import graphs
from kd_jax.errors import UsageError
from kd_jax.methods.ote import answers
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.arms import PRESETS, of_arm

_NAMES = (
  *("ann", "bob", "the old man", "O'Brien", 'say "hi"', "Ann-Marie"),
  *("who?", r"C:\x", "@home"),
  *(f"p{i}" for i in range(7)),
)


@pytest.fixture(scope="module")
def graph():
  rng = np.random.default_rng(0)
  pairs = rng.permutation(len(_NAMES) ** 2 * 2)[:60]
  pairs, relation = np.divmod(pairs, 2)
  triples = np.stack([pairs // 16, relation, pairs % 16], 1).astype(np.int32)
  return graphs.Graph(
    "toy",
    _NAMES,
    ("likes", "is a"),
    triples[:40],
    triples[40:50],
    triples[50:],
  )


@pytest.fixture(scope="module")
def run(graph):
  """A finished run of RotatE, its parameters those of the start."""
  config = dataclasses.replace(PRESETS["tiny"], arms=("rotate",))
  own = of_arm(config, "rotate")
  params = models.init_params(
    own.model, jax.random.key(0), len(_NAMES), 2, own.first.margin
  )
  return types.SimpleNamespace(
    config=config,
    data={"graph": graph},
    products={
      "rotate.train": {"params": params, "entities": len(graph.entities)}
    },
  )


def _scores(run, side, kept, relation):
  """RotatE's scores of all entities, by its equation."""
  own = of_arm(run.config, "rotate")
  params = run.products["rotate.train"]["params"]
  real, imaginary = np.split(np.asarray(params["entity"], np.float64), 2, 1)
  x = real + 1j * imaginary
  size = own.model.init_range or (own.first.margin + 2) / own.model.width
  angle = np.asarray(params["relation"]["angle"], np.float64) * np.pi / size
  turn = np.exp(1j * angle[relation])
  where = x[kept] * (turn if side == "tail" else turn.conj())
  return own.first.margin - np.abs(where - x).sum(1)


def _rows(text):
  lines = [line for line in text.splitlines() if line.startswith("│")]
  return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


@pytest.mark.parametrize("side", ["tail", "head"])
def test_the_ten_likeliest_by_the_equation(run, graph, side):
  kept, relation = graph.entities.index("ann"), 1
  question = "ann\tis a\t?" if side == "tail" else "?\tis a\tann"
  rows = _rows(answers.ask(run, question))
  scores = _scores(run, side, kept, relation)
  best = np.argsort(-scores)[:10]
  assert [row[0] for row in rows] == [str(i) for i in range(1, 11)]
  assert [row[1] for row in rows] == [graph.entities[i] for i in best]
  shown = [float(row[3]) for row in rows]
  np.testing.assert_allclose(shown, scores[best], atol=2e-3)


def test_what_is_known_is_marked(run, graph):
  """Each split's answers, and no others, over all questions."""
  marked = set()
  for h, head in enumerate(graph.entities):
    for r, relation in enumerate(graph.relations):
      known = answers.known_answers(
        answers.parse(f"{head}\t{relation}\t?", graph), graph
      )
      marked |= {(split, h, r, t) for t, split in known.items()}
  assert marked == {
    (split, *triple)
    for split, triples in graph.splits.items()
    for triple in triples.tolist()
  }
  h, r, t = graph.test[0].tolist()
  query = answers.Query("", "head", t, r)
  text = answers.table(query, -np.arange(16.0), graph, "ote")
  places = {int(row[0]) - 1: row[2] for row in _rows(text)}
  expected = answers.known_answers(query, graph)
  assert expected[h] == "test"
  assert places == {i: expected.get(i, "") for i in range(10)}


@pytest.mark.parametrize(
  ("text", "side", "kept", "relation"),
  [
    ("ann likes ?", "tail", "ann", "likes"),
    ("? likes ann", "head", "ann", "likes"),
    ("'the old man' likes ?", "tail", "the old man", "likes"),
    ("? 'is a' \"the old man\"", "head", "the old man", "is a"),
    ("the old man\tis a\t?", "tail", "the old man", "is a"),
    ("?\tis a\tO'Brien", "head", "O'Brien", "is a"),
    ('"O\'Brien" likes ?', "tail", "O'Brien", "likes"),
    ('?\tlikes\tsay "hi"', "head", 'say "hi"', "likes"),
    ("  ann   likes  ? ", "tail", "ann", "likes"),
    ("who? likes ?", "tail", "who?", "likes"),
    (r"? likes C:\x", "head", r"C:\x", "likes"),
    ("@home\tlikes\t?", "tail", "@home", "likes"),
  ],
)
def test_how_names_are_written(graph, text, side, kept, relation):
  query = answers.parse(text, graph)
  assert query.side == side
  assert graph.entities[query.kept] == kept
  assert graph.relations[query.relation] == relation


@pytest.mark.parametrize(
  ("text", "match"),
  [
    ("", "'' has 0 parts, not 3"),
    ("ann likes", "has 2 parts, not 3"),
    ("the old man likes ?", "has 5 parts, not 3; .* in quotes of their own"),
    ("?", "'?' has 1 part, not 3"),
    ("ann likes ? ?", "has 4 parts, not 3"),
    ("ann\tlikes ?", "has 2 parts, not 3"),
    ("ann\tlikes\t", "has an empty part"),
    ("\tlikes\t?", "has an empty part"),
    ("ann '' ?", "has an empty part"),
    ("? ? ?", "asks for none or several"),
    ("ann likes ??", "asks for none or several"),
    ("likes ann ?", "'likes' is a relation, where the entity should stand"),
    ("ann bob ?", "'bob' is an entity, where the relation should stand"),
    ("ann, likes, ?", "no entity is named 'ann,'; did you mean 'ann'?"),
    ("p\\1 likes ?", "did you mean 'p1'"),
    ("@", "'@' names no file; @FILE asks"),
    ("@ann\tlikes\t?", "no entity is named '@ann'; did you mean 'ann'?"),
    ("ann likes bob", "asks for none or several"),
    ("? likes ?", "asks for none or several"),
    ("ann ? bob", "asks for none or several"),
    ("O'Brien likes ?", "has an open quote .* go between tabs"),
    ("ANN likes ?", "no entity is named 'ANN'; did you mean 'ann'?"),
    ("Ann-Mary likes ?", r"did you mean 'Ann-Marie'"),
    ("ann lickes ?", "no relation is named 'lickes'; did you mean 'likes'?"),
    ("zzzzzz likes ?", "there are 16, such as 'ann', 'bob', 'the old man'"),
    ("@none/of/it.txt", "cannot read none/of/it.txt: "),
  ],
)
def test_bad_questions(run, text, match):
  match = match.replace("?", r"\?")
  with pytest.raises(UsageError, match=match) as error:
    answers.ask(run, text)
  assert "\n" not in str(error.value)


def test_a_file_of_questions(run, tmp_path):
  """In the file's order, and as if each were asked alone."""
  path = tmp_path / "questions.txt"
  lines = [f"p{i % 7} likes ?" for i in range(70)]
  lines[::3] = [f"?\tis a\tp{i % 7}" for i in range(len(lines[::3]))]
  path.write_text("\n".join(["", *lines, ""]))
  found = answers.ask(run, f"@{path}").split("\n\n")
  assert len(found) == 70
  for i in (0, 1, 69):
    assert _rows(found[i]) == _rows(answers.ask(run, lines[i]))
  path.write_text("ann likes ?\n\nann like ?\n")
  with pytest.raises(UsageError, match=r"questions.txt, line 3: no relation"):
    answers.ask(run, f"@{path}")
  path.write_text("\n \n")
  with pytest.raises(UsageError, match="has no question"):
    answers.ask(run, f"@{path}")


def test_by_the_command(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "100")
  folder = str(tmp_path / "run")
  tiny = PRESETS["tiny"]
  config = dataclasses.replace(
    tiny,
    arms=("ote",),
    graph="families:40",
    first=dataclasses.replace(tiny.first, steps=4),
  )
  kd_jax.train("ote", config=config, workdir=folder, quiet=True)
  name = graphs.load("families:40").entities[0]
  question = f"{name} spouse ?"
  with pytest.raises(SystemExit) as stop:
    cli.main(["evaluate", "ote", "--workdir", folder, "--query", question])
  assert stop.value.code == 0
  rows = _rows(capsys.readouterr().out)
  assert len(rows) == 10
  assert {row[2] for row in rows} <= {"", "train", "valid", "test"}
  with pytest.raises(SystemExit) as stop:
    cli.main(["evaluate", "ote", "--workdir", folder, "--query", "x y ?"])
  assert stop.value.code == 2
