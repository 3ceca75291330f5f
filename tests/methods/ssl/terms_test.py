"""Which view meets which target, with which settings: outputs that are made up.

Letters as in the losses: p a prediction, z a projection, s scores.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ssl import LEARNERS, arms, model, recipes, steps
from kd_jax.methods.ssl.learners import Outputs, Seen, dino

RNG = np.random.default_rng(5)
# Of two views and seven images; five numbers.
P, Z, S, OLD = RNG.normal(size=(4, 2, 7, 5)).astype(np.float32)


def _outputs(p, z, s, targets, *, memory=None, progress=0.0):
  """Two views of the online network, and two targets (z, s)."""
  (p, z, s), (aim, of) = jax.tree.map(jnp.asarray, ((p, z, s), targets))
  seen = [Seen(a, a, b, a, c) for a, b, c in zip(p, z, s, strict=True)]
  aims = [Seen(a, a, a, a, c) for a, c in zip(aim, of, strict=True)]
  progress = jnp.float32(progress)
  return Outputs(seen, aims, None, memory or {}, progress, {}, None, None)


def _made(arm, config_of, **changes):
  """A method, and an arm's settings."""
  name = recipes.learner_of(arm)
  settings = recipes.settings(config_of(name), arm)
  return LEARNERS[name], dataclasses.replace(settings, **changes)


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def test_simsiam_meets_the_other_views_projection(config_of):
  learner, s = _made("simsiam", config_of)
  got = learner.terms(_outputs(P, OLD, S, (Z, S)), s)["similarity"]
  cosines = (_unit(P) * _unit(Z[::-1])).sum(-1)
  np.testing.assert_allclose(got, -cosines.mean(0), rtol=1e-5)


def test_moco_v3_meets_the_other_views_keys(config_of):
  learner, s = _made("moco_v3", config_of, temperature=0.3)
  got = learner.terms(_outputs(P, OLD, S, (Z, S)), s)["contrast"]
  expected = 0
  for q, k in zip(_unit(P), _unit(Z[::-1]), strict=True):
    chances = _softmax(q @ k.T / 0.3)
    expected = expected - 2 * 0.3 * np.log(np.diag(chances))
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["simsiam", "byol"])
def test_targets_have_a_gradient_without_the_stop_alone(method, config_of):
  for arm, stopped in ((method, True), (f"{method}_no_stop", False)):
    learner, s = _made(arm, config_of)

    def value(z, learner=learner, s=s):
      out = _outputs(P, OLD, S, (z, S))
      return sum(x.sum() for x in learner.terms(out, s).values())

    grads = np.abs(jax.grad(value)(Z)).max((1, 2))
    assert (grads == 0).tolist() == [stopped, stopped]


@pytest.mark.parametrize("arm", ["simsiam_no_predictor", "byol_no_predictor"])
def test_arms_without_a_predictor_have_none(arm, config_of):
  learner, s = _made(arm, config_of)
  config = config_of(learner.name)
  own = recipes.settings(config, learner.name)
  assert model.network(config, own, learner, 3).predictor is not None
  assert model.network(config, s, learner, 3).predictor is None


def test_codes_without_sinkhorn_are_a_softmax(config_of):
  learner, s = _made("swav_no_sinkhorn", config_of)
  got = learner.terms(_outputs(P, Z, S, (Z, S)), s)["prediction"]
  codes, said = _softmax(S / s.epsilon), np.log(_softmax(S / s.temperature))
  expected = -(codes * said[::-1]).sum(-1).mean(0)
  np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_swavs_queue_fills_from_its_start_on(config_of):
  learner, s = _made("swav", config_of, queue=14, queue_start=0.25)
  ring = learner.memory(s, jax.random.key(0), 5)
  for progress, filled in ((0.2, 0), (0.25, 7), (0.3, 14)):
    out = _outputs(P, Z, S, (Z, S), progress=progress)
    ring = learner.remember(ring, out, s)
    assert ring["embeddings"].filled == filled
  for half in (slice(7), slice(7, None)):
    rows = ring["embeddings"].rows[:, half]
    np.testing.assert_allclose(rows, _unit(Z), rtol=1e-5)


def test_dinos_centre_moves_but_without_centring(config_of):
  for arm, moved in (("dino", 0.1 + 0.9 * 0.1), ("dino_no_centring", 0.0)):
    learner, s = _made(arm, config_of)
    memory = {"centre": jnp.zeros(5)}
    for _ in range(2):
      memory = learner.remember(memory, _outputs(P, Z, S, (Z, OLD)), s)
    expected = moved * OLD.mean((0, 1))
    np.testing.assert_allclose(memory["centre"], expected, rtol=1e-4)


@pytest.mark.parametrize(
  ("arm", "changes", "at"),
  [
    ("dino", {}, {0.0: 0.04, 1.0: 0.04}),
    (
      "dino",
      {"teacher_temperature": 0.07, "teacher_warmup": 0.5},
      {0.0: 0.04, 0.25: 0.055, 0.5: 0.07, 1.0: 0.07},
    ),
    ("dino_no_sharpening", {"teacher_warmup": 0.5}, {0.0: 1.0, 0.5: 1.0}),
  ],
)
def test_the_teachers_temperature_rises_and_is_used(
  arm, changes, at, config_of
):
  learner, s = _made(arm, config_of, **changes)
  centre = OLD[0, 0]
  for progress, temperature in at.items():
    found = dino.teacher_temperature(s, jnp.float32(progress))
    np.testing.assert_allclose(found, temperature, rtol=1e-6)
    out = _outputs(
      P, Z, S, (Z, OLD), memory={"centre": centre}, progress=progress
    )
    got = learner.terms(out, s)["self_distillation"]
    answer = _softmax((OLD - centre) / temperature)
    said = np.log(_softmax(S / s.temperature))
    expected = -(answer * said[::-1]).sum(-1).mean(0)
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_barlows_weight_off_the_diagonal(config_of):
  first, second = (Z - Z.mean(1, keepdims=True)) / np.sqrt(
    Z.var(1, keepdims=True) + 1e-5
  )
  c = first.T @ second / 7
  own = ((1 - np.diag(c)) ** 2).sum()
  others = (c**2).sum() - (np.diag(c) ** 2).sum()
  for weight in (0.0, 0.3):
    learner, s = _made("barlow", config_of, off_diagonal=weight)
    got = learner.terms(_outputs(P, Z, S, (Z, S)), s)["redundancy"]
    np.testing.assert_allclose(got, own + weight * others, rtol=1e-5)


def test_vicreg_without_variance_has_no_weight_for_it(config_of):
  out = _outputs(P, Z, S, (Z, S))
  expected = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
  for arm in ("vicreg", "vicreg_no_variance"):
    learner, s = _made(arm, config_of)
    assert learner.weights(s) == expected
    assert set(learner.terms(out, s)) == set(expected)
    expected = {**expected, "variance": 0.0}


@pytest.mark.parametrize("arm", [*arms.METHODS, "moco_v2plus", "supervised"])
def test_the_scale_is_a_factor_of_every_term_but_the_probes(arm, config_of):
  learner, s = _made(arm, config_of)
  whole = steps.weights(s, learner, labelled=True)
  scaled = dataclasses.replace(s, scale=0.25)
  less = steps.weights(scaled, learner, labelled=True)
  assert len(whole) == 1 + (arm != "supervised") + 2 * (arm == "vicreg")
  for name, value in whole.items():
    assert less[name] == (1 if name == "online" else value / 4)
