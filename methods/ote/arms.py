"""The arms, each a change of fields, and the presets."""

import dataclasses
from typing import Any

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.methods.ote.config import Config, ModelConfig, StageConfig
from kd_jax.methods.ote.validate import DOTS
from kd_jax.registry import nearest

_PLAIN = {"model.context": "none"}
_MEAN = {"model.context": "mean_self"}
# What each arm changes; the descriptions are in the method's record.
CHANGES: dict[str, dict[str, Any]] = {
  "transe": {**_PLAIN, "model.name": "transe"},
  "distmult": {**_PLAIN, "model.name": "distmult"},
  "complex": {**_PLAIN, "model.name": "complex"},
  "rotate": {**_PLAIN, "model.name": "rotate"},
  "ote": _PLAIN,
  **{f"ote_k{k}": {**_PLAIN, "model.block": k} for k in (2, 4, 8, 10, 16, 20)},
  "ote_no_scale": {**_PLAIN, "model.scale": "none"},
  "ote_abs_scale": {**_PLAIN, "model.scale": "abs"},
  "ote_output_scale": {**_PLAIN, "model.scale_side": "output"},
  "ote_rotation": {**_PLAIN, "model.handedness": "rotation"},
  "ote_uniform": {**_PLAIN, "first.temperature": 0.0},
  "linear": {**_PLAIN, "model.name": "linear"},
  "ote_more": _PLAIN,
  "rotate_more": {**_PLAIN, "model.name": "rotate"},
  "gc_ote": {},
  "gc_ote_mean": _MEAN,
  "gc_ote_gat": {"model.context": "gat_dummy"},
  "gc_ote_random": {"model.neighbours": "random"},
  # Of the best on validation facts what leaked is hidden: it may be the start.
  "gc_ote_last": {"keep": "last"},
  "gc_ote_leak": {"keep": "last", "model.remove_targets": False},
  "gc_rotate": {"model.name": "rotate"},
}
# Arms that go on from another's end, for the second stage's steps.
BASES = {
  "gc_ote": "ote",
  "gc_ote_mean": "ote",
  "gc_ote_gat": "ote",
  "gc_ote_random": "ote",
  "gc_ote_last": "ote",
  "gc_ote_leak": "ote",
  "ote_more": "ote",
  "gc_rotate": "rotate",
  "rotate_more": "rotate",
}


def of_arm(config: Config, arm: str) -> Config:
  """The configuration of an arm.

  Args:
    config: the method's own.
    arm: a key of `CHANGES`.

  Returns:
    The same with the arm's changes, those of `own` last. An arm that goes on
    from another takes over what is `own` to that one.

  Raises:
    UsageError: for an entry of `own` whose arm is not there, and for an arm
      with context where that is "none".
  """
  for name, _, _ in config.own:
    if name not in CHANGES:
      raise UsageError(
        f"own has the arm {name!r}; {nearest(name, list(CHANGES))}"
      )
  values = dict(CHANGES[arm])
  known = dict(fields.walk(config))
  for name, field, number in config.own:
    inherited = name == BASES.get(arm) and not field.startswith("second.")
    if name == arm or inherited:
      values[field] = type(known[field])(number)
  found = fields.override(config, values)
  if arm.startswith("gc_") and found.model.context == "none":
    raise UsageError(
      f"model.context is none; {arm} needs one: mean_self or gat_dummy"
    )
  return found


def stage_of(config: Config, arm: str) -> StageConfig:
  """The stage that an arm's own phase is.

  Args:
    config: the arm's configuration.
    arm: its name.

  Returns:
    The second one for arms that go on from another.
  """
  return config.second if arm in BASES else config.first


def with_bases(arms: tuple[str, ...]) -> tuple[str, ...]:
  """Adds the arms that others go on from, before them.

  Args:
    arms: the wanted ones.

  Returns:
    Each once, in order.
  """
  found: dict[str, None] = {}
  for arm in arms:
    if arm in BASES:
      found[BASES[arm]] = None
    found[arm] = None
  return tuple(found)


def _recipes(*, l3: float, **rows: tuple[float, ...]):
  """RotatE's authors' settings for the plain models, as entries of `own`."""
  names = ("margin", "temperature", "batch_size", "negatives", "learning_rate")
  found = []
  for arm, (width, *numbers, steps) in rows.items():
    # Theirs is (margin + 2) over the number of coordinates, complex ones where
    # they are. Dot products do without the margin everywhere but here.
    count = width // 2 if arm in ("rotate", "complex") else width
    size = (numbers[0] + 2) / count
    found += [(arm, "model.width", width), (arm, "model.init_range", size)]
    found += [
      (arm, f"first.{name}", number)
      for name, number in zip(names, numbers, strict=True)
    ]
    # A tenth of the rate for the second half.
    found += [(arm, "first.steps", steps), (arm, "first.decay", 0.1)]
    found += [(arm, "first.decay_every", steps // 2)]
    if arm in DOTS:
      found += [(arm, "loss.l3", l3)]
  return tuple(found)


_TINY_STAGE = StageConfig(
  steps=60,
  batch_size=64,
  negatives=16,
  learning_rate=2e-2,
  decay_every=20,
  valid_every=20,
)
PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    graph="families",
    model=ModelConfig(width=16, block=4),
    first=_TINY_STAGE,
    second=dataclasses.replace(_TINY_STAGE, steps=20, learning_rate=4e-3),
    log_every=10,
    save_every=0,
  ),
  # The claims, on real facts, in minutes. Of five rates and margins of each arm
  # (for dot products weights of the penalty) those that did best on validation
  # facts, with seed 0; see the README.
  "small": Config(
    model=ModelConfig(init_range=0.15),
    own=(
      ("transe", "first.margin", 16.0),
      ("distmult", "first.learning_rate", 1e-3),
      ("distmult", "loss.l3", 1e-4),
      ("complex", "first.learning_rate", 1e-3),
      ("complex", "loss.l3", 1e-4),
      ("rotate", "first.learning_rate", 2e-2),
      ("rotate", "first.margin", 4.0),
      ("ote", "first.learning_rate", 2e-2),
      ("ote_k2", "first.learning_rate", 2e-2),
      ("ote_k2", "first.margin", 4.0),
      ("ote_no_scale", "first.learning_rate", 2e-2),
      ("ote_more", "second.learning_rate", 1e-3),
      ("rotate_more", "second.learning_rate", 1e-3),
      ("gc_rotate", "second.learning_rate", 1e-3),
    ),
  ),
  # The claim in miniature: real, and most of its test triples are N-N.
  "fb15k237_mini": Config(
    graph="fb15k237:1000",
    model=ModelConfig(width=100, block=4, init_range=0.11),
    first=StageConfig(
      steps=3000,
      margin=9.0,
      learning_rate=5e-3,
      decay_every=750,
      valid_every=500,
    ),
    second=StageConfig(
      steps=750,
      margin=9.0,
      learning_rate=1e-3,
      decay_every=188,
      valid_every=250,
    ),
  ),
  # As published: the paper's for OTE and GC-OTE, RotatE's authors' for RotatE.
  "fb15k237": Config(
    graph="fb15k237",
    arms=("ote", "gc_ote"),
    model=ModelConfig(
      width=400, block=20, init_range=0.01, context="gat_dummy"
    ),
    first=StageConfig(
      steps=250_000,
      batch_size=500,
      negatives=256,
      margin=15.0,
      temperature=0.5,
      learning_rate=2e-3,
      decay_every=25_000,
      valid_every=10_000,
    ),
    second=StageConfig(
      steps=60_000,
      batch_size=100,
      negatives=256,
      margin=12.0,
      temperature=1.4,
      learning_rate=2e-4,
      decay_every=8000,
      valid_every=5000,
    ),
    own=_recipes(
      rotate=(2000, 9.0, 1.0, 1024, 256, 5e-5, 100_000),
      transe=(1000, 9.0, 1.0, 1024, 256, 5e-5, 100_000),
      distmult=(2000, 200.0, 1.0, 1024, 256, 1e-3, 100_000),
      complex=(2000, 200.0, 1.0, 1024, 256, 1e-3, 100_000),
      l3=1e-5,
    ),
  ),
}
PRESETS["wn18rr"] = dataclasses.replace(
  PRESETS["fb15k237"],
  graph="wn18rr",
  model=dataclasses.replace(PRESETS["fb15k237"].model, block=4),
  first=dataclasses.replace(
    PRESETS["fb15k237"].first, margin=5.0, temperature=1.8, learning_rate=1e-3
  ),
  second=dataclasses.replace(
    PRESETS["fb15k237"].second, margin=10.0, temperature=0.5, learning_rate=3e-5
  ),
  own=_recipes(
    rotate=(1000, 6.0, 0.5, 512, 1024, 5e-5, 80_000),
    transe=(1000, 6.0, 0.5, 512, 1024, 5e-5, 80_000),
    distmult=(1000, 200.0, 1.0, 512, 1024, 2e-3, 80_000),
    complex=(1000, 200.0, 1.0, 512, 1024, 2e-3, 80_000),
    l3=5e-6,
  ),
)
