"""The benchmark's rows: phases that run, and operations counted by hand."""

import dataclasses
import functools

import jax
import numpy as np

from kd_jax import accel, flops
from kd_jax.datasets import graphs
from kd_jax.methods.ote import cases
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.arms import PRESETS


def _small():
  return graphs.load("families:60")


def test_a_step_is_timed_from_fresh_parameters():
  phase = cases.train_case("rotate", "tiny", _small)
  state = accel.place(jax.jit(phase.init)({}, np.uint32(0)))
  after, metrics = jax.jit(phase.step)(state, accel.place(phase.data))
  assert int(after.step) == 1
  assert float(metrics["loss"].count) == 2  # Tails, then heads.
  moved = np.abs(np.asarray(after.params["entity"] - state.params["entity"]))
  assert (moved.sum(1) > 0).sum() > 50
  assert phase.batch_size == 2 * PRESETS["tiny"].first.batch_size


def test_context_is_timed_without_a_base():
  """Its second stage's batch, on parameters that no first stage left."""
  phase = cases.train_case("gc_ote", "tiny", _small)
  state = accel.place(jax.jit(phase.init)({}, np.uint32(0)))
  after, metrics = jax.eval_shape(phase.step, state, phase.data)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  assert "loss" in metrics
  assert phase.batch_size == 2 * PRESETS["tiny"].second.batch_size


def test_an_evaluation_ranks_every_test_triple_twice():
  phase = cases.evaluation_case("rotate", "tiny", _small)
  state = jax.jit(phase.init)({}, np.uint32(0))
  _, metrics = jax.jit(phase.step)(state, phase.data)
  assert float(metrics["mrr"].count) == 2 * phase.batch_size
  assert phase.batch_size == len(_small().test)


def test_operations_of_a_step_by_hand():
  config = PRESETS["tiny"]
  assert (config.model.width, config.model.block) == (16, 4)
  first, second = config.first, config.second
  rows = first.batch_size * (1 + first.negatives)
  # RotatE: 2 x 2 blocks of 8 for each kept row, then 3 for each number.
  rotate = first.batch_size * 8 * (2 * 2 * 2) + 3 * 16 * rows
  assert cases.train_flops("rotate", "tiny", _small) == 6 * rotate
  # OTE: 4 blocks of 4 x 4 a relation, for Gram-Schmidt and for each row.
  graph = _small()
  gram = len(graph.relations) * 4 * 2 * 4**3
  ote = gram + first.batch_size * 4 * (2 * 4 * 4) + 3 * 16 * rows
  assert cases.train_flops("ote", "tiny", _small) == 6 * ote
  # Context: a product of a block and a row is 2 x 16; a message per pair.
  pairs = len({(h, r) for h, r, _ in graph.train.tolist()})
  pairs += len({(t, r) for _, r, t in graph.train.tolist()})
  rows = second.batch_size * (1 + second.negatives)
  context = gram + 4 * 3 * 16 * rows + 2 * len(graph.train) * 2 * 16
  context += 4 * (2 * 4 * 4) * (pairs + 3 * second.batch_size)
  mean = cases.train_flops("gc_ote_mean", "tiny", _small)
  assert mean == 6 * context


def test_operations_of_an_evaluation():
  """Of dot products the compiler's program says the same number."""
  config, _ = cases._of("distmult", "tiny")
  graph = _small()
  shape = jax.ShapeDtypeStruct((len(graph.entities), 16), np.float32)
  asked = jax.ShapeDtypeStruct((5, 16), np.float32)
  products = flops.count(
    lambda a, e: models.compare(config.model, a, e), asked, shape
  )
  assert products == 2 * 5 * 16 * len(graph.entities)
  found = cases.evaluation_flops("rotate", "tiny", _small)
  each = 8 * (2 * 2 * 2) + 3 * 16 * len(graph.entities)
  assert found == 2 * len(graph.test) * each


def test_the_large_graph_is_as_large_and_as_uneven():
  graph = cases.large()
  assert len(graph.entities) == 14_541
  assert graph.train.shape == (272_115, 3)
  degrees = graphs.degrees(graph)
  # FB15k-237's busiest entity has 7,614 triples, its mean 37.4.
  assert 3_000 < degrees.max() < 12_000
  assert graph.train.max(0).tolist() <= [14_540, 236, 14_540]
  assert cases.large() is graph


def test_large_rows_share_the_papers_width():
  for arm in ("rotate", "ote", "gc_ote"):
    config, _ = cases._of(arm, "fb15k237")
    assert config.model.width == 400
  config, stage = cases._of("ote", "fb15k237")
  assert (config.model.block, stage.batch_size, stage.negatives) == (
    20,
    500,
    256,
  )


def test_every_row_names_its_peers():
  names = [case.name for case in cases.CASES]
  assert len(set(names)) == len(names)
  by_name = {case.name: [p.name for p in case.peers] for case in cases.CASES}
  assert by_name["RotatE step, Kinships, d 64"] == [
    cases.PYKEEN,
    cases.COMPILED,
  ]
  assert [c.name for c in cases.CASES if c.accelerator] == [
    "GC-OTE step, as FB15k-237, d 400, K 20"
  ]
  assert all(dataclasses.is_dataclass(case) for case in cases.CASES)


def test_operations_of_a_step_and_the_compilers_count():
  """The compiler counts drawing, roots and the optimizer, too."""
  make = functools.partial(graphs.load, "families:400")
  phase = cases.train_case("rotate", "small", make)
  state = jax.eval_shape(phase.init, {}, np.uint32(0))
  lowered = jax.jit(phase.step).trace(state, phase.data).lower()
  counted = lowered.cost_analysis()["flops"]
  assert 0.6 < cases.train_flops("rotate", "small", make) / counted < 1.05
