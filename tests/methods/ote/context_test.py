import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ote import context, neighbours, scoring
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.config import ModelConfig

GAMMA = 4.0
KINDS = ("mean_self", "gat_dummy")


def setup(graph, **values):
  model = ModelConfig(**{"width": 8, "block": 2, **values})
  params = models.init_params(
    model, jax.random.key(0), len(graph.entities), len(graph.relations), GAMMA
  )
  if "scale" in params["relation"]:
    shape = params["relation"]["scale"].shape
    drawn = 0.2 * jax.random.normal(jax.random.key(1), shape)
    params["relation"]["scale"] = drawn
  relations = models.relations_of(model, params["relation"], GAMMA)
  return model, params, relations


def run(model, params, relations, edges, without=None):
  return context.contexts(model, params, relations, GAMMA, edges, without)


def message(model, params, relations, side, sender, r):
  row = relations.rows(np.array([r]))
  x = params["entity"][np.array([[sender]])]
  return np.asarray(models.TOWARDS[side](model, row, x))[0, 0]


def by_hand(model, params, relations, train, side, entity):
  """An entity's context, one neighbour at a time."""
  own = np.asarray(params["entity"][entity])
  said = [
    message(model, params, relations, side, h if side == "tail" else t, r)
    for h, r, t in train.tolist()
    if (t if side == "tail" else h) == entity
  ]
  if model.context == "mean_self":
    return (sum(said) + own) / (len(said) + 1)
  dummy = models.relations_of(model, params["dummy"]["relation"], GAMMA)
  row = params["dummy"]["row"][None]
  said.append(np.asarray(models.TOWARDS[side](model, dummy, row))[0, 0])
  logits = np.array([own @ m for m in said]) / np.sqrt(len(own))
  weights = np.exp(logits) / np.exp(logits).sum()
  return sum(w * m for w, m in zip(weights, said, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ote", "transe"])
def test_contexts_are_what_neighbours_say(graph, kind, name):
  model, params, relations = setup(graph, context=kind, name=name)
  found = run(model, params, relations, neighbours.edges(graph.train))
  for side in models.SIDES:
    for entity in (0, 3, 11, len(graph.entities) - 1):
      wanted = by_hand(model, params, relations, graph.train, side, entity)
      np.testing.assert_allclose(
        getattr(found, side)[entity], wanted, rtol=1e-4, atol=1e-6
      )


@pytest.mark.parametrize("kind", KINDS)
def test_who_hears_nothing_is_alone_with_itself_or_the_dummy(graph, kind):
  model, params, relations = setup(graph, context=kind)
  found = run(model, params, relations, neighbours.edges(graph.train))
  alone = len(graph.entities) - 1
  for side in models.SIDES:
    wanted = params["entity"][alone]
    if kind == "gat_dummy":
      dummy = models.relations_of(model, params["dummy"]["relation"], GAMMA)
      row = params["dummy"]["row"][None]
      wanted = models.TOWARDS[side](model, dummy, row)[0, 0]
    np.testing.assert_allclose(getattr(found, side)[alone], wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_edges_left_out_are_as_if_never_there_to_the_bit(graph, kind):
  model, params, relations = setup(graph, context=kind)
  gone = np.array([0, 5, 17, 18, 60, 159])
  masked = run(
    model, params, relations, neighbours.edges(graph.train), jnp.asarray(gone)
  )
  left = dataclasses.replace(graph, train=np.delete(graph.train, gone, axis=0))
  removed = run(model, params, relations, neighbours.edges(left.train))
  whole = run(model, params, relations, neighbours.edges(graph.train))
  for side in models.SIDES:
    found = np.asarray(getattr(masked, side))
    np.testing.assert_array_equal(found, getattr(removed, side))
    assert (found != np.asarray(getattr(whole, side))).any()


def test_nothing_flows_from_edges_left_out(graph):
  model, params, relations = setup(graph, context="gat_dummy")
  edges = neighbours.edges(graph.train)
  # Entity 0 hears from nobody if all its edges are left out.
  gone = np.flatnonzero(graph.train[:, 2] == 0)

  def heard(entity):
    found = run(
      model, {**params, "entity": entity}, relations, edges, jnp.asarray(gone)
    )
    return found.tail[0].sum()

  grads = jax.grad(heard)(params["entity"])
  assert (np.asarray(grads[1:]) == 0).all()


def test_random_neighbours_keep_everybodys_number_of_messages(graph):
  plain = neighbours.edges(graph.train)
  mixed = neighbours.edges(graph.train, shuffled=True)
  for side in models.SIDES:
    np.testing.assert_array_equal(plain[side]["to"], mixed[side]["to"])
    a, b = plain[side]["message"], mixed[side]["message"]
    np.testing.assert_array_equal(np.sort(a), np.sort(b))
    assert (a != b).mean() > 0.5


def test_every_training_triple_finds_its_edge(graph):
  edges = neighbours.edges(graph.train)
  for side, (hearer, sender) in {"tail": (2, 0), "head": (0, 2)}.items():
    lists = edges[side]
    at = lists["place"]
    assert sorted(at) == list(range(len(graph.train)))
    np.testing.assert_array_equal(lists["to"][at], graph.train[:, hearer])
    message = lists["message"][at]
    senders = lists["entity"].ravel()[message]
    np.testing.assert_array_equal(senders, graph.train[:, sender])
    relations = lists["relation"][message // neighbours.TILE]
    np.testing.assert_array_equal(relations, graph.train[:, 1])


def score_by_hand(model, params, relations, around, h, r, t):
  """A quarter of the four distances, one triple at a time."""

  def far(x, y):
    z = (np.asarray(x) - np.asarray(y)).reshape(models.block_size(model), -1)
    return np.sqrt((z**2).sum(0)).sum()

  hr = message(model, params, relations, "tail", h, r)
  tr = message(model, params, relations, "head", t, r)
  e = params["entity"]
  total = far(tr, e[h]) + far(tr, around.head[h])
  return GAMMA - (total + far(hr, e[t]) + far(hr, around.tail[t])) / 4


@pytest.mark.parametrize("side", models.SIDES)
@pytest.mark.parametrize(
  "values",
  [
    {},
    {"scale": "none"},
    {"scale_side": "output"},
    {"name": "linear"},
    {"name": "rotate"},
    {"name": "transe"},
  ],
)
def test_the_score_with_context_is_a_quarter_of_four_distances(
  graph, values, side
):
  model, params, relations = setup(graph, **values)
  around = run(model, params, relations, neighbours.edges(graph.train))
  kept, relation = np.array([0, 4, 9]), np.array([1, 0, 3])
  candidates = np.array([[2, 0], [5, 4], [0, 29]])
  other = "head" if side == "tail" else "tail"
  asked = scoring.question(
    model,
    relations.rows(relation),
    params["entity"][kept],
    side,
    getattr(around, other)[kept],
  )
  own = getattr(around, side)
  found = scoring.scores(
    model,
    GAMMA,
    asked,
    side,
    params["entity"][candidates],
    own[candidates],
  )
  everyone = scoring.scores(model, GAMMA, asked, side, params["entity"], own)
  for i, j in np.ndindex(3, 2):
    h, t = kept[i], candidates[i, j]
    h, t = (h, t) if side == "tail" else (t, h)
    wanted = score_by_hand(model, params, relations, around, h, relation[i], t)
    np.testing.assert_allclose(found[i, j], wanted, rtol=1e-4)
    np.testing.assert_allclose(everyone[i, candidates[i, j]], wanted, rtol=1e-4)
