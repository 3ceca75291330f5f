"""A small task that needs no data set, and one step of every method, once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, fields
from kd_jax.methods.ssl import arms, recipes, state, steps, views
from kd_jax.methods.ssl.learners import LEARNERS
from kd_jax.training.state import step_key

SHAPE, CLASSES, BATCH = (8, 8, 1), 3, 8
# Half the compilation of a step is that of its views, which have tests of their
# own: here the second one is solarised now and then, and that is all.
CHEAP = views.View(area=None, jittered=0.0, grey=0.0)
views.VIEWS["cheap"] = (
  CHEAP,
  dataclasses.replace(CHEAP, solarise=0.5),
)
views.VIEWS["cheap_local"] = (
  *views.VIEWS["cheap"],
  dataclasses.replace(CHEAP, solarise=0.3, size=0.5, count=2),
)
TINY = fields.override(
  arms.PRESETS["tiny"],
  {"net.widths": (5,), "net.strides": (2,), "batch_size": BATCH},
)
# Heads so small that compilation is all there is.
SMALL = {
  "settings.projector": "8 bn relu, 6 bias",
  "settings.prototypes": 5,
  "settings.queue": 2 * BATCH,
  "settings.freeze": 0.0,
  # Adam would hide a gradient that is four times too large.
  "settings.optimizer": "sgd",
  "settings.learning_rate": 0.1,
  "settings.warmup": 0.0,
  "settings.views": "cheap",
}
OWN = {
  "byol": {"settings.predictor": "5 bn relu, 6 bias"},
  "moco_v3": {"settings.predictor": "5 bn relu, 6 bias"},
  "simsiam": {"settings.predictor": "5 bn relu, 6 bias"},
  # Its loss begins at some ten times the others'.
  "barlow": {"settings.learning_rate": 0.01},
  # Local views, too.
  "dino": {"settings.views": "cheap_local"},
}
OWN["byol_no_stop"] = OWN["byol"]


def config_of(arm):
  """An arm's configuration for the small task."""
  return fields.override(TINY, {**SMALL, **OWN.get(arm, {})})


def batch():
  """A batch; of different images."""
  rng = np.random.default_rng(0)
  return {
    "image": rng.integers(0, 256, (BATCH, *SHAPE)).astype(np.uint8),
    "label": (np.arange(BATCH) % CLASSES).astype(np.int32),
    "row": np.arange(BATCH, dtype=np.int32),
    "index": np.arange(BATCH, dtype=np.int32),
    "where": np.ones(BATCH, bool),
  }


@functools.cache
def parts(arm, config=None):
  """Configuration, settings, method, state and step of an arm, made once."""
  config = config or config_of(arm)
  settings = recipes.settings(config, arm)
  learner = LEARNERS[recipes.learner_of(arm)]
  made = jax.jit(
    lambda: state.create_state(config, settings, learner, 3, SHAPE, CLASSES)
  )()
  return (
    config,
    settings,
    learner,
    made,
    steps.make_train_step(config, settings, learner),
  )


@functools.cache
def forward(arm):
  """An arm's forward pass, compiled once: `(state) -> (outputs, kept)`."""
  config, settings, learner, _, _ = parts(arm)
  images = jax.tree.map(jnp.asarray, batch())
  return jax.jit(
    lambda made: steps.forward(
      config, settings, learner, made.params, made, images, step_key(made)
    )
  )


@functools.cache
def stepped(arm, devices=1, taken=2):
  """The states of an arm after 0, 1 and 2 steps, and the last metrics."""
  *_, made, step = parts(arm)
  used = jax.devices()[:devices]
  lifted = accel.data_parallel(step, devices=used, donate=False)
  # Placed first, it is compiled once.
  states, found = [accel.place(made, used)], None
  for _ in range(taken):
    new, found = lifted(states[-1], batch())
    states.append(new)
  accel.check_replicated(states[-1])
  return jax.device_get(states), jax.device_get(found)


@pytest.fixture(name="stepped", scope="session")
def stepped_fixture():
  """Gives `stepped`."""
  return stepped


@pytest.fixture(name="forward", scope="session")
def forward_fixture():
  """Gives `forward`."""
  return forward


@pytest.fixture(name="parts", scope="session")
def parts_fixture():
  """Gives `parts`."""
  return parts


@pytest.fixture(name="batch", scope="session")
def batch_fixture():
  """Gives a batch."""
  return jax.tree.map(jnp.asarray, batch())


@pytest.fixture(name="config_of", scope="session")
def config_fixture():
  """Gives `config_of`."""
  return config_of


@pytest.fixture(name="passed", scope="session")
def passed_fixture(parts, forward):
  """Gives settings, method, outputs and what is kept of an arm's pass."""

  def passed(arm, made=None):
    _, settings, learner, state, _ = parts(arm)
    return settings, learner, *forward(arm)(state if made is None else made)

  return passed
