"""What an ensemble is judged by, against NumPy; images given for it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.hyper_ensembles import judging, measures, runs

RNG = np.random.default_rng(0)


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def gaps(confidence, right, place):
  """Of bins: their shares times what confidence and accuracy differ by."""
  return sum(
    abs(right[place == b].sum() - confidence[place == b].sum())
    for b in range(15)
  ) / len(right)


def plainly(logits, weights, y, foreign):
  """All numbers in float64."""
  each, strange = (softmax(np.asarray(z, float)) for z in (logits, foreign))
  p, q = (np.einsum("k,knc->nc", weights, x) for x in (each, strange))
  (n, c), at = p.shape, np.arange(len(y))
  target = np.eye(c)[y]
  answer, confidence = p.argmax(-1), p.max(-1)
  right = answer == y
  order = np.argsort(confidence)
  doubt, other = 1 - confidence, 1 - q.max(-1)
  found = {
    "nll": -np.log(p[at, y]).mean(),
    "accuracy": right.mean(),
    "ece": gaps(confidence, right, np.minimum(15 * confidence // 1, 14)),
    "adaptive_ece": gaps(confidence[order], right[order], at * 15 // n),
    "brier": np.square(p - target).sum(-1).mean(),
    "brier_variance": weights @ np.square(each - p).sum(-1).mean(-1),
    "member_nll": weights @ -np.log(each[:, at, y]).mean(-1),
    "member_accuracy": weights @ (each.argmax(-1) == y).mean(-1),
    "members": np.count_nonzero(weights),
    "aurc": np.mean(np.cumsum(~right[order[::-1]]) / (at + 1)),
    "auroc": (other[:, None] > doubt).mean(),
    "fpr95": (doubt >= np.sort(other)[len(other) // 20]).mean(),
    "collapsed": 0.0,
    "uncertainty": (target.mean(0) * (1 - target.mean(0))).sum(),
    "resolution": 0.0,
    "reliability": 0.0,
  }
  for answered in range(c):
    rows = answer == answered
    seen, said = target[rows].mean(0), p[rows].mean(0)
    apart = np.square(seen - target.mean(0)).sum()
    found["resolution"] += rows.mean() * apart
    found["reliability"] += rows.mean() * np.square(said - seen).sum()
  there = [k for k in range(len(weights)) if weights[k] > 0]
  pairs = [(each[i], each[j]) for i, j in itertools.combinations(there, 2)]
  norm = functools.partial(np.linalg.norm, axis=-1)
  differ = {
    "disagreement": lambda a, b: a.argmax(-1) != b.argmax(-1),
    "kl": lambda a, b: (a * np.log(a / b)).sum(-1),
    "cosine": lambda a, b: (a * b).sum(-1) / norm(a) / norm(b),
  }
  for name, measure in differ.items():
    found[name] = np.mean([measure(*pair).mean() for pair in pairs])
  return found


def test_every_number_is_the_plain_one_where_weights_are_uneven():
  y = RNG.integers(0, 4, 50)
  logits = RNG.normal(size=(4, 50, 4)) + 1.5 * np.eye(4)[y]
  foreign = 1.5 * RNG.normal(size=(4, 40, 4))
  weights = np.array([0.5, 0.3, 0.0, 0.2])
  found, bins = jax.jit(measures.everything)(
    *(jnp.float32(logits), jnp.float32(weights), y, jnp.float32(foreign))
  )
  assert bins.count.sum() == 50
  expect = plainly(logits, weights, y, foreign)
  assert set(found) == set(expect)
  for name, value in expect.items():
    assert float(found[name]) == pytest.approx(value, rel=1e-4), name


def mlp(params, k, x):
  h = x.reshape(len(x), -1)
  for i in range(2):
    p = {name: np.asarray(v[k]) for name, v in params[f"dense_{i}"].items()}
    h = h @ p["kernel"] + p["bias"][0]
    h = np.maximum(h, 0) if i == 0 else h
  return h


def test_given_images_are_judged_each_kind_and_severity_by_itself(plan_of):
  """Two kinds, five severities; and "foreign" images that are the test's."""
  plan = plan_of("single")
  lams = np.ones((2, len(plan.space.names)), np.float32)
  members = runs.create(
    *(plan, (8, 8, 1), np.array([1, 2], np.uint32)),
    *(np.zeros(2, np.int32), lams),
  ).members
  images = RNG.integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)
  test = RNG.permutation(30)[None, :12].astype(np.int32)
  data = {
    "image": images,
    "label": RNG.integers(0, 10, 30).astype(np.int32),
    "test": test,
    "foreign": images[test[0]],
    "corrupted": RNG.integers(0, 256, (2, 5, 12, 8, 8, 1)).astype(np.uint8),
  }
  weights = np.array([0.7, 0.3], np.float32)
  numbers, figures = jax.jit(functools.partial(judging.fare, plan))(
    members, weights, 0, data
  )
  y = data["label"][test[0]]

  def probabilities(x):
    each = [mlp(members.params, k, x / 255) for k in range(2)]
    return np.einsum("k,knc->nc", weights, softmax(np.stack(each)))

  assert figures["c_nll"].shape == (2, 5)
  for kind, level in itertools.product(range(2), range(5)):
    p = probabilities(data["corrupted"][kind, level])
    nll = -np.log(p[np.arange(12), y]).mean()
    assert figures["c_nll"][kind, level] == pytest.approx(nll, rel=1e-4)
    right = (p.argmax(-1) == y).mean()
    assert figures["c_accuracy"][kind, level] == pytest.approx(right)
  for name in ("c_nll", "c_accuracy", "c_ece"):
    assert numbers[name] == pytest.approx(float(figures[name].mean()), rel=1e-5)
  assert numbers["auroc"] == pytest.approx(0.5, abs=1e-6)
