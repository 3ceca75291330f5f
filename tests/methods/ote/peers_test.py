"""The peers do the work that they are timed for."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.datasets import graphs
from kd_jax.methods.ote import algebra, inputs, known, peers, scoring
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.arms import PRESETS, of_arm

torch = pytest.importorskip("torch")
plain_torch = pytest.importorskip("kd_jax.methods.ote.plain_torch")
pytestmark = pytest.mark.filterwarnings("ignore")
_SIDES = {"tail": 0, "head": 1}


def _config(arm):
  config = of_arm(PRESETS["tiny"], arm)
  return config, config.first


@pytest.fixture(scope="module")
def graph():
  return graphs.load("families:50")


def test_sums_over_blocks():
  x = np.arange(24, dtype=np.float32).reshape(2, 12)
  found = plain_torch._block_sums(torch.as_tensor(x), 3)
  np.testing.assert_array_equal(found, x.reshape(2, 3, 4).sum(1))


def test_gram_schmidt():
  m = np.random.default_rng(0).normal(size=(3, 4, 4, 5)).astype(np.float32)
  q = plain_torch._orthogonal(torch.as_tensor(m)).numpy()
  np.testing.assert_allclose(
    q, algebra.orthogonal_blocks(jnp.asarray(m)), atol=1e-4
  )


@pytest.mark.parametrize("side", ["tail", "head"])
@pytest.mark.parametrize("arm", ["rotate", "ote"])
def test_the_kept_side_goes_where_ours_goes(graph, arm, side):
  config, stage = _config(arm)
  torch.manual_seed(0)  # Of some draws Gram-Schmidt loses three digits.
  params = plain_torch._params(config, stage, graph)
  if arm == "ote":  # Scales start at 0, which would hide them.
    params[2].data.normal_()
  size = (stage.margin + 2) / config.model.width
  names = (
    {"angle": params[1].detach().numpy() * size / np.pi}
    if arm == "rotate"
    else {
      n: params[i].detach().numpy() for n, i in (("blocks", 1), ("scale", 2))
    }
  )
  relations = models.relations_of(config.model, names, stage.margin)
  r = np.array([0, 3, 3, 1])
  x = np.random.default_rng(1).normal(size=(4, config.model.width))
  x = x.astype(np.float32)
  theirs = plain_torch._asked(
    config, torch.as_tensor(x), params[1:], torch.as_tensor(r), side == "tail"
  )
  ours = scoring.question(config.model, relations.rows(r), jnp.asarray(x), side)
  np.testing.assert_allclose(theirs.detach().numpy(), ours.asked, atol=2e-4)


@pytest.mark.parametrize("side", ["tail", "head"])
def test_negatives_are_all_that_is_not_known(graph, side):
  _, stage = _config("ote")
  stage = dataclasses.replace(stage, negatives=4000)
  kept, answer = plain_torch._COLUMNS[_SIDES[side]]
  one = plain_torch._Side(graph, stage, kept, answer)
  batch = next(one.batches)
  _, r, _, pair, first, count, _ = batch
  n = len(graph.entities)
  drawn = plain_torch._draw(stage, n, pair, first, count, one.known).numpy()
  for row, (entity, relation) in enumerate(
    zip(batch[0].tolist(), r.tolist(), strict=True)
  ):
    same = (graph.train[:, kept] == entity) & (graph.train[:, 1] == relation)
    free = set(range(n)) - set(graph.train[same, answer].tolist())
    assert set(drawn[row].tolist()) == free
    # Uniform: 4,000 draws over some 45 entities.
    each = np.bincount(drawn[row], minlength=n)[sorted(free)]
    assert abs(each - 4000 / len(free)).max() < 6 * np.sqrt(4000 / len(free))


def test_weights(graph):
  asked = [known.index(graph.train, side)[1] for side in models.SIDES]
  np.testing.assert_allclose(
    plain_torch._weights(graph.train), inputs.weights(*asked), rtol=1e-6
  )


def test_batches_go_over_every_triple_once(graph):
  _, stage = _config("ote")
  one = plain_torch._Side(graph, stage, 0, 2)
  seen = [next(one.batches) for _ in range(len(graph.train) // 64)]
  rows = {
    (h, r, t)
    for batch in seen
    for h, r, t in zip(*(c.tolist() for c in batch[:3]), strict=True)
  }
  assert len(rows) == 64 * len(seen)
  assert rows <= set(map(tuple, graph.train.tolist()))


def test_pykeen_takes_two_batches_a_step(graph, monkeypatch):
  pytest.importorskip("pykeen")
  config, stage = _config("rotate")
  taken = []
  step = torch.optim.Adam.step

  def counted(self, *args):
    taken.append([p.numel() for g in self.param_groups for p in g["params"]])
    return step(self, *args)

  monkeypatch.setattr(torch.optim.Adam, "step", counted)
  # More than an epoch of its batches.
  n = len(graph.train) // stage.batch_size + 1
  peers.pykeen_training(config, stage, graph)(n)
  assert len(taken) == 2 * n
  entities = len(graph.entities) * config.model.width
  assert entities in taken[0]


def test_pykeen_ranks_what_we_rank(graph):
  pytest.importorskip("pykeen")
  from pykeen.evaluation import RankBasedEvaluator

  config, _ = _config("rotate")
  found = []
  evaluate = RankBasedEvaluator.evaluate
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      RankBasedEvaluator,
      "evaluate",
      lambda *args, **kwargs: found.append(evaluate(*args, **kwargs)),
    )
    peers.pykeen_evaluation(config, graph, 32)(2)
  assert len(found) == 2
  count = found[0].get_metric("both.realistic.count")
  assert count == 2 * len(graph.test)
