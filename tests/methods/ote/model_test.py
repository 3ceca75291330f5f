"""Every model against its formula, written with complex numbers and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ote import model as models
from kd_jax.methods.ote import scoring
from kd_jax.methods.ote.config import ModelConfig

N, R, D, GAMMA = 5, 3, 12, 4.0


def make(**values):
  model = ModelConfig(**{"width": D, "block": 3, "context": "none", **values})
  params = models.init_params(model, jax.random.key(1), N, R, GAMMA)
  # Scales that differ, as after training.
  if "scale" in params["relation"]:
    drawn = jax.random.normal(
      jax.random.key(2), (R, model.block, D // model.block)
    )
    params["relation"]["scale"] = 0.3 * drawn
  return model, jax.tree.map(lambda x: x * 1.0, params)


def all_scores(model, params, side):
  """Scores of every (kept, relation, candidate)."""
  relations = models.relations_of(model, params["relation"], GAMMA)
  kept, relation = (x.ravel() for x in np.meshgrid(range(N), range(R)))
  asked = scoring.question(
    model, relations.rows(relation), params["entity"][kept], side
  )
  found = scoring.scores(model, GAMMA, asked, side, params["entity"])
  return np.asarray(found), kept, relation


def complex_rows(x):
  real, imaginary = np.split(np.asarray(x, np.float64), 2, -1)
  return real + 1j * imaginary


def transe(params, h, r, t):
  e, v = params["entity"], params["relation"]["vector"]
  return GAMMA - np.abs(e[h] + v[r] - e[t]).sum()


def distmult(params, h, r, t):
  e, v = params["entity"], params["relation"]["vector"]
  return (e[h] * v[r] * e[t]).sum()


def complex_(params, h, r, t):
  e, v = (
    complex_rows(params["entity"]),
    complex_rows(params["relation"]["vector"]),
  )
  return (e[h] * v[r] * np.conj(e[t])).sum().real


def rotate(params, h, r, t):
  e = complex_rows(params["entity"])
  phase = np.asarray(params["relation"]["angle"])[r] * np.pi / ((GAMMA + 2) / D)
  return GAMMA - np.abs(e[h] * np.exp(1j * phase) - e[t]).sum()


@pytest.mark.parametrize("side", models.SIDES)
@pytest.mark.parametrize(
  ("name", "formula"),
  [
    ("transe", transe),
    ("distmult", distmult),
    ("complex", complex_),
    ("rotate", rotate),
  ],
)
def test_plain_models_are_their_formulas_from_either_side(name, formula, side):
  model, params = make(name=name)
  found, kept, relation = all_scores(model, params, side)
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  for row, k, r in zip(found, kept, relation, strict=True):
    for other in range(N):
      h, t = (k, other) if side == "tail" else (other, k)
      np.testing.assert_allclose(
        row[other], formula(params, h, r, t), rtol=1e-4, atol=1e-5
      )


def blocks_of(params, r, orthogonal):
  """The k x k matrices of a relation, one after the other, and its scales."""
  m = np.moveaxis(
    np.asarray(params["relation"]["blocks"][r], np.float64), -1, 0
  )
  if orthogonal:
    qr = [np.linalg.qr(x.T) for x in m]
    m = np.stack([(q * np.sign(np.diag(r))).T for q, r in qr])
  return m


def ote(params, model, x, y, r, side):
  """D(P_r(x), y), or with the transposed blocks and inverse scales."""
  k = model.block
  total = 0.0
  for g, q in enumerate(blocks_of(params, r, model.name == "ote")):
    a, b = (np.asarray(v, np.float64).reshape(k, -1)[:, g] for v in (x, y))
    scale = np.ones(k)
    if model.scale != "none":
      s = np.asarray(params["relation"]["scale"], np.float64)[r, :, g]
      scale = np.exp(s) if model.scale == "exp" else np.abs(s)
    if side == "head":
      q, scale = q.T, 1 / scale
    moved = (a * scale) @ q if model.scale_side == "input" else (a @ q) * scale
    total += np.sqrt(((moved - b) ** 2).sum())
  return GAMMA - total


@pytest.mark.parametrize("side", models.SIDES)
@pytest.mark.parametrize(
  "values",
  [
    {},
    {"scale": "none"},
    {"scale": "abs"},
    {"scale_side": "output"},
    {"name": "linear"},
    {"block": 12},
  ],
)
def test_ote_is_its_formula_with_a_function_for_each_side(values, side):
  model, params = make(**values)
  found, kept, relation = all_scores(model, params, side)
  e = params["entity"]
  for row, k, r in zip(found, kept, relation, strict=True):
    for other in range(N):
      wanted = ote(params, model, e[k], e[other], r, side)
      np.testing.assert_allclose(row[other], wanted, rtol=1e-4)


@pytest.mark.parametrize("constant", [True, False])
def test_reverse_undoes_forward_only_if_a_blocks_scales_are_equal(constant):
  model, params = make()
  if constant:
    scale = params["relation"]["scale"]
    params["relation"]["scale"] = jnp.broadcast_to(scale[:, :1], scale.shape)
  relations = models.relations_of(model, params["relation"], GAMMA)
  x = jax.random.normal(jax.random.key(3), (R, 2, D))
  there = models.forward(model, relations, x)
  back = models.reverse(model, relations, there)
  assert np.allclose(back, x, atol=1e-5) == constant


def test_two_by_two_rotations_without_scale_are_rotate():
  rotate_model, params = make(name="rotate")
  model = ModelConfig(width=D, block=2, scale="none", context="none")
  turned = models.relations_of(rotate_model, params["relation"], GAMMA)
  as_ote = {"entity": params["entity"], "relation": {"blocks": turned.blocks}}
  for side in models.SIDES:
    wanted = all_scores(rotate_model, params, side)[0]
    found = all_scores(model, as_ote, side)[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_forced_rotations_have_no_reflection():
  model, params = make(handedness="rotation")
  q = models.relations_of(model, params["relation"], GAMMA).blocks
  dets = np.linalg.det(np.moveaxis(np.asarray(q), -1, 1))
  np.testing.assert_allclose(dets, 1, atol=1e-5)


def test_a_reflection_can_learn_a_symmetric_relation():
  """With Q Q = 1 both (a, r, b) and (b, r, a) have distance 0."""
  model = ModelConfig(width=4, block=2, scale="none", context="none")
  params = models.init_params(model, jax.random.key(0), 6, 1, GAMMA)
  flip = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  raw = flip + 0.3 * jax.random.normal(jax.random.key(4), (2, 2))
  params["relation"]["blocks"] = jnp.stack([raw, raw], -1)[None]
  pairs = jnp.array([[0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4]])

  def loss(params):
    e = params["entity"] + 0.5 * jnp.arange(24.0).reshape(6, 4) / 24
    relations = models.relations_of(model, params["relation"], GAMMA)
    row = relations.rows(jnp.zeros(6, int))
    moved = models.forward(model, row, e[pairs[:, 0], None])[:, 0]
    return ((moved - e[pairs[:, 1]]) ** 2).sum()

  @jax.jit
  def step(params, _):
    grads = jax.grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), None

  trained, _ = jax.lax.scan(step, params, None, length=200)
  assert float(loss(trained)) < 1e-3 * float(loss(params))
  q = models.relations_of(model, trained["relation"], GAMMA).blocks[0]
  for g in range(2):
    np.testing.assert_allclose(q[:, :, g] @ q[:, :, g], np.eye(2), atol=1e-2)


def test_the_start_is_the_papers():
  model, _ = make(init_range=0.01)
  params = models.init_params(model, jax.random.key(0), 200, R, GAMMA)
  e = np.abs(params["entity"])
  assert 0.0099 < e.max() <= 0.01
  assert (np.asarray(params["relation"]["scale"]) == 0).all()
  blocks = params["relation"]["blocks"]
  q = models.algebra.orthogonal_blocks(blocks)
  np.testing.assert_allclose(blocks, q, atol=1e-5)
  assert set(params) == {"entity", "relation"}
  model, _ = make(context="gat_dummy")
  params = models.init_params(model, jax.random.key(0), N, R, GAMMA)
  assert params["dummy"]["row"].shape == (1, D)
