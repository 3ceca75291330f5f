"""Which networks each arm takes: the choices from a search, in NumPy.

The networks are drawn, not trained: a choice does not ask where they are from.
"""

import jax
import numpy as np
import pytest

from kd_jax import fields
from kd_jax.experiment import WholeRun
from kd_jax.methods.hyper_ensembles import arms, judging, measures, train

SEEDS, RUNS, K = 8, 6, 3
CHOSEN = ("single", "top", "fixed_init", "deep", "hyper_deep")
ARMS = (
  *(*CHOSEN, "hyper_deep_once", "unstratified", "batch", "batch_search"),
  *("stn", "hyper_batch"),
)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (90, 4, 4, 1)).astype(np.uint8)
LABELS = np.arange(90) % 3
OWN = {
  "train_image": IMAGES[:60],
  "train_label": LABELS[:60],
  "test_image": IMAGES[60:],
  "test_label": LABELS[60:],
}


def drawn(shapes):
  """Members whose weights and lambda differ."""

  def leaf(path, x):
    name = jax.tree_util.keystr(path)
    if x.dtype != np.float32:
      return np.zeros(x.shape, x.dtype)
    scale = 0.7 if "kernel" in name else 0.3
    centre = 1.0 if name.endswith(("['r']", "['s']")) else 0.0
    return (centre + scale * RNG.normal(size=x.shape)).astype(np.float32)

  found = jax.tree_util.tree_map_with_path(leaf, shapes)
  return found.replace(bounds=found.bounds._replace(high=found.bounds.low))


def nll_alone(plan, members, weights, table, data, samples=0):
  """In the place of `fare`: the one number that is compared."""
  rows = data["test"][table]
  logits = judging.all_logits(plan, members, data["image"][rows], samples)
  found = measures.basics(logits, weights, data["label"][rows])
  return {"nll": found["nll"]}, {}


@pytest.fixture(scope="module")
def run():
  """All phases, those that train drawn: they, their products, the numbers."""
  config = fields.override(
    arms.PRESETS["tiny"],
    {"arms": ARMS, "seeds": SEEDS, "runs": RUNS, "members": K, "widths": (5,)}
    | {"data.train": 30, "data.val": 30},
  )
  seed, products, numbers = np.uint32(0), {}, {}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(judging, "fare", nll_alone)
    phases = train.phases(config, {"images": OWN}, lambda line: None)
    for phase in phases:
      if isinstance(phase, WholeRun):
        made, found = jax.jit(phase.run)(products, phase.data, seed)
        numbers[phase.arm or phase.key] = found
      else:
        state = jax.eval_shape(phase.init, products, seed)
        made = drawn(jax.eval_shape(phase.product, state))
      products[phase.key] = jax.device_get(made)
  tables = next(p.data for p in phases if p.key == "chosen")
  return phases, products, numbers, tables["val"]


def probabilities(params, at, x):
  """Of the networks at a place, members meaned: (networks, images, classes)."""
  found = []
  for i in range(params["dense_0"]["kernel"].shape[1]):
    members = []
    for k in range(params["dense_0"]["bias"].shape[2]):
      h = x.reshape(len(x), -1) / 255
      for j in range(2):
        p = {n: np.float64(v[at, i]) for n, v in params[f"dense_{j}"].items()}
        w = p["kernel"]
        w = w * p["r"][k][:, None] * p["s"][k] if "r" in p else w
        h = h @ w + p["bias"][k]
        h = np.maximum(h, 0) if j == 0 else h
      members.append(np.exp(h) / np.exp(h).sum(-1, keepdims=True))
    found.append(np.mean(members, 0))
  return np.stack(found)


def nll(p, y):
  return -np.log(p[np.arange(len(y)), y]).mean()


def greedy(p, y, again=True):
  """How often each is taken: the best addition while there is one."""
  taken, best = [], np.inf
  while len(set(taken)) < K:
    open_ = [i for i in range(len(p)) if again or i not in taken]
    scores = [nll(p[[*taken, i]].mean(0), y) for i in open_]
    if not scores or min(scores) >= best:
      break
    best = min(scores)
    taken.append(open_[int(np.argmin(scores))])
  return np.bincount(taken, minlength=len(p))


@pytest.mark.parametrize("at", range(SEEDS))
def test_each_chosen_ensemble_is_the_one_that_its_words_say(run, at):
  _, products, numbers, val = run
  x, y = IMAGES[val[at]], LABELS[val[at]]
  held, truth = IMAGES[60:], LABELS[60:]
  search, strata = (products[k].params for k in ("search", "strata"))
  p, test = (probabilities(search, at, images) for images in (x, held))
  scores = np.array([nll(one, y) for one in p])
  best, counts = scores.argmin(), greedy(p, y)
  expect = {
    "single": test[best],
    "top": test[scores.argsort()[:K]].mean(0),
    "fixed_init": np.average(test, 0, counts),
  }
  # The best one is the first stratum, then the others by their weights.
  picks = sorted(range(RUNS), key=lambda i: (i != best, -counts[i], i))[:K]
  chosen = products["chosen"]
  assert chosen["picks"][at].tolist() == picks
  lams = np.exp(products["search"].bounds.low[at, picks, 0])
  np.testing.assert_allclose(chosen["lams"][at], lams, rtol=1e-5)
  more, more_test = (probabilities(strata, at, images) for images in (x, held))
  each, each_test = (
    [
      np.concatenate([a[[i]], b[(K - 1) * u : (K - 1) * (u + 1)]])
      for u, i in enumerate(picks)
    ]
    for a, b in ((p, more), (test, more_test))
  )
  expect["deep"] = each_test[0].mean(0)
  there = [u for u, i in enumerate(picks) if counts[i]]
  pool, pool_test = (
    np.concatenate([part[u] for u in there]) for part in (each, each_test)
  )
  weights = [greedy(pool, y, again) for again in (True, False)]
  for arm, w in zip(("hyper_deep", "hyper_deep_once"), weights, strict=True):
    expect[arm] = np.average(pool_test, 0, w)
  for arm, mean in expect.items():
    assert numbers[arm]["nll"][at] == pytest.approx(nll(mean, truth), rel=1e-4)


def test_the_drawn_searches_are_of_every_sort(run):
  """One network alone, several, one that counts twice; the best not first."""
  _, products, _, val = run
  counts, first = [], []
  for at in range(SEEDS):
    p = probabilities(products["search"].params, at, IMAGES[val[at]])
    y = LABELS[val[at]]
    counts.append(greedy(p, y))
    first.append(np.argmin([nll(one, y) for one in p]) == counts[-1].argmax())
  assert {1, K} <= {np.count_nonzero(c) for c in counts}
  assert max(c.max() for c in counts) > 1
  assert not all(first)


@pytest.mark.parametrize("at", range(SEEDS))
def test_other_searches_take_the_best_of_as_many_as_they_say(run, at):
  _, products, numbers, val = run
  x, y = IMAGES[val[at]], LABELS[val[at]]
  held, truth = IMAGES[60:], LABELS[60:]
  params = products["unstratified.search"].params
  p, test = (probabilities(params, at, images) for images in (x, held))
  # As many as stratification may take.
  assert len(p) == RUNS + K * (K - 1)
  mean = np.average(test, 0, greedy(p, y))
  found = numbers["unstratified"]["nll"][at]
  assert found == pytest.approx(nll(mean, truth), rel=1e-4)
  params = products["batch_search.train"].params
  p, test = (probabilities(params, at, images) for images in (x, held))
  assert len(p) == RUNS
  best = np.argmin([nll(one, y) for one in p])
  found = numbers["batch_search"]["nll"][at]
  assert found == pytest.approx(nll(test[best], truth), rel=1e-4)


def test_a_batch_ensemble_has_the_best_single_networks_lambda(run):
  phases, products, _, _ = run
  (phase,) = (p for p in phases if p.key == "batch.train")
  low = jax.jit(phase.init)(products, np.uint32(0)).members.bounds.low
  best = np.log(products["chosen"]["lams"][:, :1])
  np.testing.assert_allclose(low, np.repeat(best, K, 1), rtol=1e-5)


def test_unstratified_networks_have_their_own_lambda_and_start(run):
  (phase,) = (p for p in run[0] if p.key == "unstratified.search")
  made = jax.jit(phase.init)({}, np.uint32(0)).members
  for x in (made.params["dense_0"]["kernel"], made.bounds.low):
    flat = np.asarray(x).reshape(SEEDS * (RUNS + K * (K - 1)), -1)
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_an_stn_is_one_member_without_fast_weights(run):
  phases, products, _, _ = run
  names = {
    arm: set(products[f"{arm}.train"].params["dense_0"])
    for arm in ("stn", "hyper_batch")
  }
  assert not names["stn"] & {"r", "s", "u", "v"}
  assert names["hyper_batch"] - names["stn"] == {"r", "s"}
  assert products["stn.train"].bounds.low.shape[:3] == (SEEDS, 1, 1)
  assert products["hyper_batch.train"].bounds.low.shape[:3] == (SEEDS, 1, K)
  # Both are trained twice as long as the others.
  steps = {p.key: p.steps for p in phases if not isinstance(p, WholeRun)}
  tuned = {"stn.train": 120, "hyper_batch.train": 120}
  assert steps == dict.fromkeys(steps, 60) | tuned
