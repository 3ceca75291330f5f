"""The scores: OTE and, in the same form, TransE, DistMult, ComplEx, RotatE.

A relation acts on the side that a question keeps, once, and what comes out is
compared with all candidates for the other side (`Relations`: `forward` from
heads to tails, `reverse` back). Every model but TransE acts by blocks:
orthogonal, unconstrained, rotations (RotatE), complex numbers (ComplEx) or
numbers (DistMult); see `algebra` for how coordinates are ordered.

Letters: b questions, m candidates, n entities, r relations, d width, k block
size, g = d / k blocks, t tiles of p vectors that share a relation.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd_jax.methods.ote import algebra, distances
from kd_jax.methods.ote.config import ModelConfig
from kd_jax.methods.ote.validate import BLOCKS, DOTS

PyTree = Any
Side = Literal["tail", "head"]
SIDES: tuple[Side, Side] = ("tail", "head")
# Guards the exponential of a log scale.
_MOST_LOG_SCALE = 5.0
_ENTITY, _RELATION, _DUMMY = range(3)


def block_size(model: ModelConfig) -> int:
  """K, the size of the blocks that distances are summed over."""
  return BLOCKS.get(model.name, model.block)


class Relations(NamedTuple):
  """What relations do, one row each; the fields that a model lacks are None.

  Attributes:
    shift: TransE's translation.
    blocks: matrices for row vectors; `reverse` takes their transposes.
    up: what `forward` multiplies coordinates by.
    down: what `reverse` does.
  """

  shift: Float[Array, "r d"] | None = None
  blocks: Float[Array, "r k k g"] | None = None
  up: Float[Array, "r k g"] | None = None
  down: Float[Array, "r k g"] | None = None

  def rows(self, index: Int[Array, "..."]) -> "Relations":
    """The relations by number."""
    return Relations(*(None if x is None else x[index] for x in self))


def init_params(
  model: ModelConfig,
  key: Array,
  entities: int,
  relations: int,
  margin: float,
  rows: int | None = None,
) -> dict[str, PyTree]:
  """Parameters at the start.

  Args:
    model: the model.
    key: a random key.
    entities: how many there are.
    relations: how many there are.
    margin: gamma, for the default range.
    rows: rows of the table if it has more than entities; the rest are 0.

  Returns:
    "entity" (n, d) and "relation", for "gat_dummy" also "dummy" with one row of
    each.
  """
  size = model.init_range or (margin + 2) / model.width
  keys = [jax.random.fold_in(key, i) for i in (_ENTITY, _RELATION, _DUMMY)]
  table = _uniform(keys[_ENTITY], (entities, model.width), size)
  empty = jnp.zeros(((rows or entities) - entities, model.width))
  params = {
    "entity": jnp.concatenate([table, empty]),
    "relation": _init_relations(model, keys[_RELATION], relations, size),
  }
  if model.context == "gat_dummy":
    key = keys[_DUMMY]
    params["dummy"] = {
      "row": _uniform(jax.random.fold_in(key, 0), (1, model.width), size),
      "relation": _init_relations(model, jax.random.fold_in(key, 1), 1, size),
    }
  return params


def _uniform(key, shape, size):
  return jax.random.uniform(key, shape, minval=-size, maxval=size)


def _init_relations(model, key, relations, size):
  k = block_size(model)
  g = model.width // k
  if model.name == "rotate":
    # Angles are pi times this over the range.
    return {"angle": _uniform(key, (relations, g), size)}
  if model.name in ("transe", "distmult", "complex"):
    return {"vector": _uniform(key, (relations, model.width), size)}
  raw = jax.random.uniform(key, (relations, k, k, g))
  params = {"blocks": algebra.orthogonal_blocks(raw)}
  if model.scale != "none":
    start = 0.0 if model.scale == "exp" else 1.0
    params["scale"] = jnp.full((relations, k, g), start)
  return params


def relations_of(
  model: ModelConfig, params: Mapping[str, Array], margin: float
) -> Relations:
  """What the relations do, once per step for all of them.

  Args:
    model: the model.
    params: the relations' parameters.
    margin: gamma, for the default range.

  Returns:
    Their actions.
  """
  if model.name == "transe":
    return Relations(shift=params["vector"])
  if model.name == "distmult":
    return Relations(blocks=params["vector"][:, None, None])
  if model.name == "complex":
    real, imaginary = jnp.split(params["vector"], 2, 1)
    return Relations(blocks=algebra.scaled_rotations(real, imaginary))
  if model.name == "rotate":
    size = model.init_range or (margin + 2) / model.width
    return Relations(blocks=algebra.rotations(params["angle"] * np.pi / size))
  blocks = params["blocks"]
  if model.name == "ote":
    blocks = algebra.orthogonal_blocks(blocks)
    if model.handedness == "rotation":
      blocks = algebra.proper(blocks)
  return Relations(None, blocks, *_scales(model, params))


def _scales(model, params):
  if model.scale == "none":
    return None, None
  if model.scale == "abs":
    up = jnp.abs(params["scale"])
    return up, 1 / (up + 1e-9)
  s = jnp.clip(params["scale"], -_MOST_LOG_SCALE, _MOST_LOG_SCALE)
  return jnp.exp(s), jnp.exp(-s)


def forward(
  model: ModelConfig,
  relation: Relations,
  x: Float[Array, "t p d"],
  scaled: bool = True,
) -> Float[Array, "t p d"]:
  """From heads to where their tails should be.

  Source: the paper's P_r

  Args:
    model: the model.
    relation: one per tile of x.
    x: heads.
    scaled: whether the coordinates' scales take part.

  Returns:
    P_r(x).
  """
  if relation.shift is not None:
    return x + relation.shift[:, None]
  scale = relation.up if scaled else None
  return _act(model, relation.blocks, scale, x, transposed=False)


def reverse(
  model: ModelConfig,
  relation: Relations,
  x: Float[Array, "t p d"],
  scaled: bool = True,
) -> Float[Array, "t p d"]:
  """From tails to where their heads should be.

  Not the inverse of `forward` where a block's scales differ: the authors' code
  scales before the transposed rotation, too.

  Source: the paper's P-bar_r

  Args:
    model: the model.
    relation: one per tile of x.
    x: tails.
    scaled: whether the coordinates' scales take part.

  Returns:
    P-bar_r(x).
  """
  if relation.shift is not None:
    return x - relation.shift[:, None]
  scale = relation.down if scaled else None
  return _act(model, relation.blocks, scale, x, transposed=True)


def _act(model, blocks, scale, x, *, transposed):
  y = x.reshape(*x.shape[:2], block_size(model), -1)
  scale = None if scale is None else scale[:, None]
  if scale is not None and model.scale_side == "input":
    y = y * scale
  y = algebra.multiply(y, blocks, transposed)
  if scale is not None and model.scale_side == "output":
    y = y * scale
  return y.reshape(x.shape)


# By the side that is asked for: what acts on the side that is kept.
TOWARDS = {"tail": forward, "head": reverse}
BACK = {"tail": reverse, "head": forward}


def compare(
  model: ModelConfig,
  asked: Float[Array, "b d"],
  candidates: Float[Array, "b m d"] | Float[Array, "m d"],
  scale: Float[Array, "b d"] | None = None,
) -> Float[Array, "b m"]:
  """How far candidates are from where they should be, or minus a dot product.

  Args:
    model: the model.
    asked: where the answers should be.
    candidates: each question's own, or the same for all.
    scale: what each question multiplies its candidates by, where that is wanted
      of a distance.

  Returns:
    Distances.
  """
  if model.name in DOTS:
    if candidates.ndim == 2:
      return -jnp.matmul(asked, candidates.T, precision="highest")
    return -(asked[:, None] * candidates).sum(-1)
  size = block_size(model)
  if candidates.ndim == 2:
    return distances.distance_to_all(asked, candidates, size, scale)
  if scale is not None:
    candidates = candidates * scale[:, None]
  return distances.distance(asked, candidates, size)


def compare_rows(
  model: ModelConfig,
  asked: Float[Array, "b d"],
  table: Float[Array, "n d"],
  index: Int[Array, "b m"],
) -> Float[Array, "b m"]:
  """The same to rows of a table, by number.

  Args:
    model: the model.
    asked: where the answers should be.
    table: the rows.
    index: which of them are each question's candidates.

  Returns:
    Distances.
  """
  if model.name in DOTS:
    return compare(model, asked, table[index])
  return distances.distance_to_rows(asked, table, index, block_size(model))


def offset(model: ModelConfig, margin: float) -> float:
  """Gamma, which dot products do without."""
  return 0.0 if model.name in DOTS else margin


def penalised(params: PyTree) -> list[Float[Array, "n d"]]:
  """The tables that the cubic penalty of DistMult and ComplEx sums over.

  Args:
    params: the parameters.

  Returns:
    The relations' parameters as rows; the entities' table comes apart, because
    devices may share it.
  """
  leaves = jax.tree.leaves(params["relation"])
  return [x.reshape(len(x), -1) for x in leaves]
