"""Hyper-deep ensembles of one's own model: ridge classifiers in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import greedy
from kd_jax.methods.hyper_ensembles.search import hyper_deep_ensemble, run_all
from kd_jax.methods.hyper_ensembles.space import Space

SPACE = Space(("ridge", "noise"), (1e-3, 1e-2), (10.0, 0.5))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 5)).astype(np.float32)
Y = (X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(90, 3))).argmax(1)
DATA = {"x": jnp.asarray(X[:40]), "y": jnp.asarray(Y[:40])}
HELD = (jnp.asarray(X[40:]), jnp.asarray(Y[40:]))


def train(key, lam, data):
  """Random features of a key, ridge on noisy inputs."""
  draw, noise = jax.random.split(key)
  w = jax.random.normal(draw, (5, 8))
  x = data["x"] + lam[1] * jax.random.normal(noise, data["x"].shape)
  h = jnp.tanh(x @ w)
  gram = h.T @ h + lam[0] * jnp.eye(8)
  return {
    "w": w,
    "v": jnp.linalg.solve(gram, h.T @ jax.nn.one_hot(data["y"], 3)),
  }


def predict(member, x):
  return 4 * jnp.tanh(x @ member["w"]) @ member["v"]


def build(**how):
  said = []
  found = hyper_deep_ensemble(
    train,
    predict,
    SPACE,
    DATA,
    HELD,
    **{"members": 3, "runs": 10, "key": 1, "say": said.append, **how},
  )
  return found, said


def test_the_search_is_divided_over_the_devices():
  keys = jax.random.split(jax.random.key(0), 6)
  lams = SPACE.draw(jax.random.key(1), 6)
  one = run_all(train, keys, lams, DATA, jax.devices()[:1])
  four = run_all(train, keys, lams, DATA, jax.devices()[:4])
  for i in range(6):
    alone = train(keys[i], lams[i], DATA)
    for a, b, c in zip(*map(jax.tree.leaves, (alone, one, four)), strict=True):
      np.testing.assert_allclose(b[i], a, rtol=2e-3, atol=2e-4)
      np.testing.assert_allclose(c[i], a, rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="module")
def stratified():
  return build(common_start=True)


def test_it_says_what_it_will_cost_before_it_begins(stratified):
  _, said = stratified
  assert said[0].startswith("10 trainings, then at most 6: at most")
  # 64 numbers a member.
  assert f"{16 * 64 * 4 / 2**20:.1f} MiB" in said[0]
  assert "other starts" in said[1]


def test_algorithm_1_step_by_step(stratified):
  """The same by a plain loop over trainings."""
  found, _ = stratified
  draw, start = jax.random.split(jax.random.key(1))
  lams = SPACE.draw(draw, 10)
  starts = jax.random.split(start, 13)

  def p(members):
    return jnp.stack([jax.nn.softmax(predict(m, HELD[0])) for m in members])

  first = [train(starts[0], lam, DATA) for lam in lams]
  chosen = greedy.select(p(first), HELD[1], 3)
  assert found.first == pytest.approx(float(chosen.score), rel=1e-3)
  assert found.single == pytest.approx(
    float(greedy.score(p(first), HELD[1]).min()), rel=1e-3
  )
  order, weights = greedy.members(chosen.counts, 3)
  used = [int(i) for i, w in zip(order, weights, strict=True) if w > 0]
  pool = [first[i] for i in used]
  pool += [train(starts[j], lams[i], DATA) for i in used for j in (1, 2)]
  again = greedy.select(p(pool), HELD[1], 3)
  assert found.nll == pytest.approx(float(again.score), rel=1e-3)
  assert found.trainings == 10 + 2 * len(used)
  # K bounds how many differ.
  assert 1 <= len(found.weights) <= 3
  assert found.weights.sum() == pytest.approx(1)
  assert found.lams.shape == (len(found.weights), 2)


def test_probabilities_are_meaned(stratified):
  found, _ = stratified
  got = found(HELD[0])
  members = [
    jax.tree.map(lambda x, k=k: x[k], found.members)
    for k in range(len(found.weights))
  ]
  each = jnp.stack([jax.nn.softmax(predict(m, HELD[0])) for m in members])
  expect = (found.weights[:, None, None] * each).sum(0)
  np.testing.assert_allclose(got, expect, rtol=1e-4, atol=1e-5)
  nll = -np.log(np.asarray(got)[np.arange(50), HELD[1]]).mean()
  assert nll == pytest.approx(found.nll, rel=1e-3)


def test_without_stratification_each_run_has_its_own_start():
  found, said = build(stratify=False, devices=jax.devices()[:1])
  assert found.trainings == 10
  assert found.nll == found.first
  assert "then at most 0" in said[0]
  w = np.asarray(found.members["w"])
  assert len(w) == 1 or np.abs(w[0] - w[1]).max() > 0.1


@pytest.mark.parametrize(
  ("how", "words"),
  [
    ({"members": 0}, "members is 0"),
    ({"runs": 2}, "runs is 2"),
    ({"objective": "accuracy"}, "objective is 'accuracy'"),
    ({"members": 2.5}, "members is 2.5; a whole number"),
    ({"runs": 6.0}, "runs is 6.0; a whole number"),
    ({"key": 1.5}, "key is 1.5; a whole number or a key"),
    ({"devices": []}, "devices is empty"),
  ],
)
def test_wrong_numbers_are_refused(how, words):
  with pytest.raises(UsageError, match=words):
    build(**how)


@pytest.mark.parametrize(
  ("space", "labels", "words"),
  [
    (Space((), (), ()), HELD[1], "0 names"),
    (Space(("a", "b"), (1.0,), (2.0, 3.0)), HELD[1], "1 lower"),
    (Space(("a",), (1.0,), (np.inf,)), HELD[1], "range of a"),
    (Space(("a",), (1e-50,), (1.0,)), HELD[1], "range of a"),
    (Space(("a",), (1.0,), (1.000000001,)), HELD[1], "range of a"),
    (Space("a", 1e-3, 1.0), HELD[1], "tuples of one length"),
    ((("a",), (1.0,), (2.0,)), HELD[1], "a Space is needed"),
    (SPACE, HELD[1].astype(float), "labels are float32"),
    (SPACE, HELD[1] + 1, "labels go from 1 to 3; predict gives 3 logits"),
  ],
)
def test_wrong_boxes_and_labels_are_refused_before_the_search(
  space, labels, words
):
  said = []
  with pytest.raises(UsageError, match=words):
    hyper_deep_ensemble(
      train,
      predict,
      space,
      DATA,
      (HELD[0], labels),
      runs=4,
      say=said.append,
    )
  assert not said


def diverging(when):
  """`train` with some runs that are not finite."""

  def trained(key, lam, data):
    bad = jnp.where(when(lam), jnp.nan, 1.0)
    return jax.tree.map(lambda x: x * bad, train(key, lam, data))

  return trained


def test_runs_that_diverge_are_passed_over():
  how = {
    "members": 2,
    "runs": 6,
    "key": 1,
    "stratify": False,
    "devices": jax.devices()[:1],
    "say": lambda line: None,
  }
  middle = np.sqrt(SPACE.low[0] * SPACE.high[0])
  found = hyper_deep_ensemble(
    diverging(lambda lam: lam[0] < middle), predict, SPACE, DATA, HELD, **how
  )
  assert (found.lams[:, 0] >= middle).all()
  assert np.isfinite([found.nll, found.single, found.first]).all()
  with pytest.raises(UsageError, match="all 6 runs of the search"):
    hyper_deep_ensemble(
      diverging(lambda lam: lam[0] > 0), predict, SPACE, DATA, HELD, **how
    )


@pytest.mark.parametrize(
  ("given", "words"),
  [
    (lambda logits: logits[:7], r"\(7, 3\) for 50 labels"),
    (lambda logits: (logits, logits), "tuple for 50 labels"),
  ],
)
def test_predictions_that_do_not_fit_are_refused_untrained(given, words):
  def never(key, lam, data):
    jax.debug.callback(lambda: pytest.fail("a network was trained"))
    return train(key, lam, data)

  with pytest.raises(UsageError, match=words):
    hyper_deep_ensemble(
      never,
      lambda m, x: given(predict(m, x)),
      SPACE,
      DATA,
      HELD,
      runs=4,
      say=lambda line: None,
    )


def test_validation_that_is_no_pair_is_refused():
  with pytest.raises(UsageError, match="not a pair"):
    hyper_deep_ensemble(train, predict, SPACE, DATA, HELD[0], runs=4)


def test_a_key_is_a_key_however_it_is_written(stratified):
  """Of JAX's older keys `tile` would tile the words."""
  for key in (np.int64(1), jax.random.PRNGKey(1)):
    again, _ = build(key=key, common_start=True)
    np.testing.assert_array_equal(again.lams, stratified[0].lams)
    assert again.nll == stratified[0].nll


def test_members_that_are_one_network_are_told():
  """Two temperatures of one network: chosen together, and of one answer."""

  def alike(key, lam, data):
    member = train(jax.random.key(0), jnp.array([1.0, 0.1]), data)
    return member | {"scale": jnp.where(lam[0] > 0.1, 0.2, 4.0)}

  said = []
  found = hyper_deep_ensemble(
    alike,
    lambda m, x: m["scale"] * predict(m, x),
    SPACE,
    DATA,
    HELD,
    members=2,
    runs=4,
    devices=jax.devices()[:1],
    say=said.append,
  )
  assert len(found.weights) == 2
  assert "they are one network" in said[-1]
  assert "one network" not in "".join(build(devices=jax.devices()[:1])[1])
