"""The optimizer of an arm: its rule, and what each part of a network gets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from kd_jax import fields
from kd_jax.methods.ssl import LEARNERS, recipes, state

STEPS = 4
PEAK, DECAY, MOMENTUM, PROBE = 0.3, 0.1, 0.8, 0.02
RNG = np.random.default_rng(4)
SHAPES = {
  ("backbone", "conv_0", "kernel"): (3, 4),
  ("backbone", "conv_0", "bias"): (4,),
  ("backbone", "head", "kernel"): (4, 2),
  ("backbone", "head", "bias"): (2,),
  ("projector", "dense_0", "kernel"): (4, 3),
  ("predictor", "dense_0", "kernel"): (3, 3),
  ("predictor", "dense_0", "bias"): (3,),
  ("prototypes",): (5, 3),
}
PARAMS = {k: RNG.normal(size=s).astype(np.float32) for k, s in SHAPES.items()}
GRADS = {
  k: RNG.normal(size=(STEPS, *s)).astype(np.float32) for k, s in SHAPES.items()
}
# The encoder's kernel has gradients of norm 10, the others are shorter than 3.
for name, grads in GRADS.items():
  norm = 10 if name[1:] == ("conv_0", "kernel") else 0.5
  for g in grads:
    g *= norm / np.linalg.norm(g)
EVERYTHING = {
  "warmup": 0.25,
  "final_rate": 0.1,
  "bias_rate": 0.05,
  "predictor_constant": True,
  "clip": 3.0,
}


def _moves(config, settings, arm):
  """What the optimizer says of four gradients, parameters where they were."""
  tx = state.optimizer(config, settings, LEARNERS[arm])
  params = traverse_util.unflatten_dict(jax.tree.map(jnp.asarray, PARAMS))

  def one(opt_state, grads):
    updates, opt_state = tx.update(grads, opt_state, params)
    return opt_state, updates

  grads = traverse_util.unflatten_dict(GRADS)
  _, moves = jax.jit(lambda g: jax.lax.scan(one, tx.init(params), g))(grads)
  return traverse_util.flatten_dict(jax.device_get(moves))


def _gathered(grads, rates, momentum=MOMENTUM):
  """Momentum of what it is given; the rate comes last."""
  buffer, moves = 0.0, []
  for g, rate in zip(grads, rates, strict=True):
    buffer = momentum * buffer + g
    moves.append(-rate * buffer)
  return moves


def _sgd(p, grads, rates):
  return _gathered([g + DECAY * p for g in grads], rates)


def _adam(p, grads, rates, decay=DECAY):
  first, second, moves = 0.0, 0.0, []
  for t, (g, rate) in enumerate(zip(grads, rates, strict=True), 1):
    g = g + decay * p
    first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
    root = np.sqrt(second / (1 - 0.999**t))
    moves.append(-rate * first / (1 - 0.9**t) / (root + 1e-8))
  return moves


def _adamw(p, grads, rates):
  decay = DECAY if p.ndim > 1 else 0.0
  moves = _adam(p, grads, rates, 0.0)
  return [m - rate * decay * p for m, rate in zip(moves, rates, strict=True)]


def _lars(p, grads, rates):
  if p.ndim > 1:
    grads = [g + DECAY * p for g in grads]
    size = 0.001 * np.linalg.norm(p)
    grads = [g * size / np.linalg.norm(g) for g in grads]
  return _gathered(grads, rates)


def _lars_clipped(p, grads, rates):
  if p.ndim == 1:
    return _gathered(grads, rates)
  size = np.linalg.norm(p)
  adapted = []
  for g, rate in zip(grads, rates, strict=True):
    longest = 0.02 * size / (np.linalg.norm(g) + DECAY * size)
    adapted.append((g + DECAY * p) * min(longest / max(rate, 1e-30), 1))
  return _gathered(adapted, rates)


def _cosine(peak, steps, end=0.0):
  part = np.arange(steps) / steps
  return end + (peak - end) * (1 + np.cos(np.pi * part)) / 2


@pytest.mark.parametrize(
  ("arm", "name", "rule", "changes"),
  [
    ("byol", "sgd", _sgd, EVERYTHING),
    ("byol", "adam", _adam, EVERYTHING),
    ("byol", "adamw", _adamw, EVERYTHING),
    ("byol", "lars", _lars, EVERYTHING),
    ("byol", "lars_clipped", _lars_clipped, EVERYTHING),
    ("supervised", "sgd", _sgd, {}),
    ("random", "sgd", _sgd, {}),
  ],
)
def test_every_part_moves_as_its_rule_says(arm, name, rule, changes, config_of):
  config = fields.override(
    config_of("byol"), {"steps": STEPS, "probe.online_rate": PROBE}
  )
  settings = dataclasses.replace(
    recipes.BASE,
    optimizer=name,
    learning_rate=PEAK,
    weight_decay=DECAY,
    momentum=MOMENTUM,
    **changes,
  )
  rates = _cosine(PEAK, STEPS)
  if changes:  # A quarter of four steps is the warm-up; a tenth is left.
    rates = np.append(0, _cosine(PEAK, STEPS - 1, 0.1 * PEAK))
  for path, got in _moves(config, settings, arm).items():
    p, grads = PARAMS[path].astype(float), list(GRADS[path].astype(float))
    if path[1:2] == ("head",) and arm != "supervised":
      expected = _adam(p, grads, _cosine(PROBE, STEPS), 0.0)
    elif arm == "random":
      expected = np.zeros_like(got)
    else:
      own = rates
      if changes and path[0] == "predictor":
        own = np.full(STEPS, PEAK)
      if changes:
        grads = [g * min(1, 3 / np.linalg.norm(g)) for g in grads]
      factor = 0.05 if changes and p.ndim == 1 else 1
      expected = factor * np.array(rule(p, grads, own))
    np.testing.assert_allclose(
      got, expected, rtol=1e-4, atol=1e-7, err_msg="/".join(path)
    )
