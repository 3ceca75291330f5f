"""A made-up graph: 30 entities, 4 relations, some of each never trained on."""

import numpy as np
import pytest

from kd_jax import fields
from kd_jax.datasets.graphs.graph import Graph
from kd_jax.methods.ote import arms

ENTITIES, RELATIONS = 30, 4
TINY = fields.override(
  arms.PRESETS["tiny"],
  {
    "model.width": 8,
    "model.block": 2,
    "first.steps": 8,
    "first.batch_size": 16,
    "first.negatives": 5,
    "first.valid_every": 4,
    "second.steps": 4,
    "second.batch_size": 16,
    "second.negatives": 5,
    "second.valid_every": 2,
    "eval_queries": 8,
    "log_every": 2,
    "save_every": 3,
  },
)


@pytest.fixture(scope="session")
def config():
  """A method's configuration for the small graph."""
  return TINY


@pytest.fixture(scope="session")
def graph():
  """Random triples, the first entity an answer to many of them."""
  draw = np.random.default_rng(7)
  heads, tails = draw.integers(0, ENTITIES - 2, (2, 220))
  tails[:40] = 0
  relations = draw.integers(0, RELATIONS, 220)
  triples = np.stack([heads, relations, tails], 1).astype(np.int32)
  triples = np.unique(triples, axis=0)
  triples = draw.permutation(triples)
  return Graph(
    "made up",
    tuple(f"entity {i}" for i in range(ENTITIES)),
    tuple(f"relation {i}" for i in range(RELATIONS)),
    triples[:160],
    triples[160:180],
    triples[180:],
  )
