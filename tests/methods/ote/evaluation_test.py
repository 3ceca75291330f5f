import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, metrics
from kd_jax.errors import UsageError
from kd_jax.methods.ote import arms, evaluation, inputs, state
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote import scorer as scorers

SIDES = {"tail": (0, 2), "head": (2, 0)}


def prepared(graph, config, arm, coarse=False, **values):
  own = dataclasses.replace(arms.of_arm(config, arm), **values)
  made = state.create_state(
    own, own.first, 0, len(graph.entities), len(graph.relations)
  )
  params = made.params
  if coarse:  # Every entity has a twin: many ties.
    twins = jnp.arange(len(params["entity"])) // 2 * 2
    params = {**params, "entity": jnp.round(params["entity"], 0)[twins]}
  data = {
    "questions": inputs.questions(graph, graph.test),
    "edges": inputs.edges(graph, own),
  }
  return own, params, data


def scorer(graph, own, params, data):
  return scorers.scorer(
    own, own.first.margin, params, data["edges"], len(graph.entities)
  )


def ranks_by_hand(graph, scores, side):
  """One question at a time, one candidate at a time."""
  k, a = SIDES[side]
  everything = set(map(tuple, graph.known.tolist()))
  found = []
  for triple in graph.test.tolist():
    row = scores[triple[k], triple[1]]
    higher = ties = 0
    for other in range(len(graph.entities)):
      changed = list(triple)
      changed[a] = other
      if other == triple[a] or tuple(changed) in everything:
        continue
      higher += row[other] > row[triple[a]]
      ties += row[other] == row[triple[a]]
    found.append((1 + higher, 1 + higher + ties / 2, 1 + higher + ties))
  return np.array(found)


@pytest.mark.parametrize(
  ("arm", "coarse"),
  [("ote", False), ("ote", True), ("distmult", True), ("gc_ote", False)],
)
def test_ranks_are_those_of_a_loop(graph, config, arm, coarse):
  own, params, data = prepared(graph, config, arm, coarse)
  s = scorer(graph, own, params, data)
  n, r = len(graph.entities), len(graph.relations)
  kept, relation = (x.ravel() for x in np.meshgrid(range(n), range(r)))
  both = []
  for side in models.SIDES:
    scores = np.zeros((n, r, n), np.float32)
    scores[kept, relation] = scorers.score_all(s, side, kept, relation)
    both.append(ranks_by_hand(graph, scores, side))
  low, middle, high = np.concatenate(both).T
  assert (low < high).any() == coarse
  measure = evaluation.make_evaluation(own, own.first.margin, n)
  found = metrics.compute(jax.jit(measure)({"params": params}, data))
  wanted = {
    "mrr": (1 / middle).mean(),
    "mr": middle.mean(),
    "hits1": (middle <= 1).mean(),
    "hits3": (middle <= 3).mean(),
    "hits10": (middle <= 10).mean(),
    "mrr_optimistic": (1 / low).mean(),
    "mrr_pessimistic": (1 / high).mean(),
  }
  assert set(found) == set(wanted)
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_groups_add_up(graph, config):
  own, params, data = prepared(graph, config, "ote")
  present = dict.fromkeys(models.SIDES, (0, 1, 2, 3))
  measure = evaluation.make_evaluation(
    own, own.first.margin, len(graph.entities), present
  )
  found = jax.jit(measure)({"params": params}, data)
  for kind in ("mrr", "hits10"):
    for side in models.SIDES:
      for names in (inputs.GROUPS, [f"degree_{d}" for d in inputs.DEGREES]):
        parts = [found[f"{side}s_{name}_{kind}"] for name in names]
        whole = found[f"{side}s_{kind}"]
        total = sum(float(p.total) for p in parts)
        np.testing.assert_allclose(total, float(whole.total), rtol=1e-5)
        assert sum(float(p.count) for p in parts) == float(whole.count)
    both = sum(float(found[f"{side}s_{kind}"].total) for side in models.SIDES)
    np.testing.assert_allclose(both, float(found[kind].total), rtol=1e-5)


@pytest.mark.parametrize("arm", ["rotate", "gc_ote"])
def test_chunks_change_nothing(graph, config, arm):
  own, params, data = prepared(graph, config, arm)
  kept, relation = jnp.arange(6), jnp.arange(6) % 3
  whole = scorers.score_all(
    scorer(graph, own, params, data), "tail", kept, relation
  )
  # Seven candidates at a time, which does not divide thirty.
  small = dataclasses.replace(own, eval_bytes=4 * 6 * own.model.width * 7)
  assert scorers.chunk_size(small, 6, 30) == 7
  parts = scorers.score_all(
    scorer(graph, small, params, data), "tail", kept, relation
  )
  np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)


def test_known_answers_are_crossed_out_however_many():
  answers = jnp.arange(200) % 100
  found = evaluation.cross_out(
    answers, jnp.array([0, 100, 5]), jnp.array([90, 0, 2]), 100
  )
  assert found.sum(1).tolist() == [90, 0, 2]
  assert np.flatnonzero(found[2]).tolist() == [5, 6]
  part = evaluation.cross_out(
    answers, jnp.array([0]), jnp.array([90]), 50, first=60
  )
  assert np.flatnonzero(part[0]).tolist() == list(range(30))


@pytest.mark.parametrize("arm", ["ote", "gc_ote"])
def test_devices_change_nothing_and_may_share_the_table(graph, config, arm):
  found = []
  for shard, devices in ((False, 1), (False, 4), (True, 4)):
    own, params, data = prepared(graph, config, arm, shard_entities=shard)
    product = {"params": params}
    measure = evaluation.make_evaluation(
      own, own.first.margin, len(graph.entities)
    )
    split = state.divided(product) if shard else None
    if shard:
      assert params["entity"].shape[0] % 4 == 0

    def run(product, data, *, axis_name=None, measure=measure):
      return product, measure(product, data, axis_name=axis_name)

    lifted = accel.data_parallel(
      run,
      mode="shard_map" if devices > 1 else "jit",
      devices=jax.devices()[:devices],
      data="replicated",
      donate=False,
      split=split,
    )
    placed = accel.place(product, jax.devices()[:devices], split)
    values = lifted(placed, accel.place(data, jax.devices()[:devices]))[1]
    found.append(metrics.compute(values))
  for other in found[1:]:
    for name, value in found[0].items():
      np.testing.assert_allclose(other[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("how", ["ties", "nan"])
def test_collapsed_scores_are_refused(graph, config, how):
  own, params, data = prepared(graph, config, "ote")
  worth = {"ties": 0.0, "nan": np.nan}[how]
  params = {**params, "entity": jnp.full_like(params["entity"], worth)}
  measure = evaluation.make_evaluation(
    own, own.first.margin, len(graph.entities)
  )
  found = metrics.compute(jax.jit(measure)({"params": params}, data))
  assert found["mrr_optimistic"] > 0.99
  named = {f"ote.test_{k}": v for k, v in found.items()}
  with pytest.raises(UsageError, match="collapsed"):
    evaluation.refuse_collapsed(named)
  evaluation.refuse_collapsed(
    {"a.test_mrr_optimistic": 0.5, "a.test_mrr_pessimistic": 0.4999}
  )
