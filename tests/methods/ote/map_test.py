"""The map of entities."""

import numpy as np

from kd_jax.datasets import graphs
from kd_jax.methods.ote import map as maps


def test_the_two_widest_directions():
  rng = np.random.default_rng(0)
  table = rng.normal(size=(50, 7)) * [1, 5, 1, 1, 3, 1, 1] + 2
  places, shares = maps.project(table.astype(np.float32))
  centred = table - table.mean(0)
  u, s, vt = np.linalg.svd(centred, full_matrices=False)
  np.testing.assert_allclose(np.abs(places), np.abs(u * s)[:, :2], rtol=1e-4)
  np.testing.assert_allclose(shares, s[:2] ** 2 / (s**2).sum(), rtol=1e-5)
  # The largest entry of each direction is positive: coordinate 1, then 4.
  assert np.corrcoef(places[:, 0], table[:, 1])[0, 1] > 0.9
  assert np.corrcoef(places[:, 1], table[:, 4])[0, 1] > 0.9
  assert np.abs(vt[0]).argmax() == 1


def test_the_map_does_not_turn_over():
  table = np.random.default_rng(1).normal(size=(30, 4))
  places, _ = maps.project(table)
  moved, _ = maps.project(table + 10)
  np.testing.assert_allclose(moved, places, atol=1e-9)


def test_one_point_is_all_there_is():
  places, shares = maps.project(np.ones((5, 3), np.float32))
  assert np.isfinite(places).all()
  assert (shares == 0).all()


def test_every_entity_is_drawn_in_the_colour_of_its_degree():
  graph = graphs.load("families:30")
  table = np.random.default_rng(2).normal(size=(64, 6)).astype(np.float32)
  figure = maps.entity_map(graph, table)
  (points,) = figure.axes[0].collections
  assert len(points.get_offsets()) == 30  # The padding is not.
  places, _ = maps.project(table[:30])
  order = np.argsort(graphs.degrees(graph), kind="stable")
  np.testing.assert_allclose(points.get_offsets(), places[order], rtol=1e-6)
  colours = np.asarray(points.get_array())
  np.testing.assert_array_equal(
    colours, np.maximum(graphs.degrees(graph)[order], 1)
  )
  named = {text.get_text() for text in figure.axes[0].texts}
  assert named == {graph.entities[i] for i in order[-12:]}


def test_names_with_dollars_and_of_any_length(tmp_path):
  graph = graphs.load("families:30")
  odd = tuple(f"$name{i}$_{'x' * 90}" for i in range(30))
  graph = graphs.Graph("$odd", odd, graph.relations, *graph.splits.values())
  figure = maps.entity_map(graph, np.random.default_rng(3).normal(size=(30, 4)))
  figure.savefig(tmp_path / "map.png")
  assert all(len(t.get_text()) == 24 for t in figure.axes[0].texts)
