"""Encoders that are trained here: fine-tuning, its arms, and their measures."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import accel, losses
from kd_jax.methods.qscore import METHOD, encoders, representations, tuning
from kd_jax.methods.qscore.config import DiscoveryConfig, HeatConfig
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import evaluation, steps
from kd_jax.methods.ssl.learners import LEARNERS

TINY = dataclasses.replace(
  METHOD.presets["tiny"],
  arms=("base", "qscore"),
  discovery=DiscoveryConfig(eps=1.0),
  heat=HeatConfig(shown=2),
)
NO_TUNING = ("own", "base")


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
  """A run of three arms."""
  return kd_jax.train(
    "qscore",
    "tiny",
    config=TINY,
    data={"images": images},
    workdir=tmp_path_factory.mktemp("runs") / "run",
    quiet=True,
  )


@pytest.fixture(scope="module")
def start(run, images):
  """Fine-tuning at step 0: the configuration, the images and the state."""
  config = encoders.resolve(TINY)
  found = tables.load(config.encoder, {"images": images}, lambda line: None)
  phase = encoders.tune_phase(config, "qscore", found)
  return config, found, jax.jit(phase.init)(run.products, np.uint32(0))


def test_every_arm_is_measured(run):
  for arm in TINY.arms:
    for name in ("auroc", "probe_accuracy", "kept_60_middle", "mean_q"):
      assert f"{arm}.{name}" in run.metrics
  drawn = {p.stem for p in (run.workdir / "plots").glob("*.png")}
  assert {"profile-base", "best-qscore", "grid-qscore"} <= drawn


def test_scores_after_fine_tuning_are_by_the_D_before_it(run):
  """What the claims of lambda_1 and lambda_2 compare."""
  h, train = (
    np.float64(run.products["qscore.features"][f"{split}_features"])
    for split in ("test", "train")
  )
  base = run.products["base.discover"]
  unit = h / np.linalg.norm(h, axis=1, keepdims=True)
  above = unit - unit.mean(1, keepdims=True)
  taken = above > float(base["eps"]) * unit.std(1, keepdims=True)
  taken &= np.asarray(base["chosen"])
  q = np.where(taken, above, 0).sum(1) / np.maximum(taken.sum(1), 1)
  assert run.metrics["qscore.mean_q"] == pytest.approx(q.mean(), rel=1e-3)
  train /= np.linalg.norm(train, axis=1, keepdims=True)
  column = np.abs(train).sum(0)
  assert run.metrics["qscore.concentration"] == pytest.approx(
    column.max() / column.mean(), rel=1e-4
  )


def test_fine_tuning_starts_from_the_whole_pretrained_state(run, start):
  *_, state = start
  base = run.products["base.pretrain"]
  for mine, theirs in (
    (state.learner.params, base["params"]),
    (state.learner.model_state, base["model_state"]),
  ):
    for a, b in zip(
      jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True
    ):
      np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    state.chosen, run.products["base.discover"]["chosen"]
  )
  assert int(state.step) == 0
  # Other batches than those of pre-training.
  assert int(state.seed) != 0


def test_the_penalties_are_in_the_step(run):
  base, own = (
    jax.tree.leaves(run.products[key]["params"])
    for key in ("base.pretrain", "qscore.tune")
  )
  assert any((a != b).any() for a, b in zip(base, own, strict=True))
  rows = [r for r in run.rows() if r["kind"] == "train"]
  tuned = next(r for r in rows if r["phase"] == "tune")
  assert tuned["gain"] < 0 < tuned["columns"]


class Views:
  """What a forward pass gives, as far as penalties look."""

  def __init__(self, h):
    self.views = [type("Seen", (), {"h": x})() for x in h]


@pytest.mark.parametrize("where", [None, np.array([True, False, True])])
def test_terms_are_the_losses_of_all_views(where):
  rng = np.random.default_rng(0)
  h = np.maximum(rng.normal(size=(3, 3, 10)), 0).astype(np.float32)
  chosen = rng.uniform(size=10) < 0.5
  own = tuning.Penalties(0.5, 2.0, 3.0, 0.1)
  terms, weights = tuning.make_terms(TINY.tune, own, chosen, jnp.float32(1.0))
  batch = {} if where is None else {"where": where}
  found = terms(Views(h), batch)
  assert weights == own._asdict()
  # The two global views, as one batch of all.
  rows = h[:2].reshape(6, 10)
  every = None if where is None else np.tile(where, 2)
  q = losses.q_score_loss(rows, chosen, eps=1.0, where=every)
  np.testing.assert_allclose(found["gain"], q.reshape(2, 3).mean(0), rtol=1e-6)
  kept = rows if every is None else rows[every]
  unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
  column = unit.sum(0)
  printed = column[column > column.mean()].sum()
  total, _ = losses.combine(found, weights, where=where)
  gain = float(q.sum()) / len(kept)
  balanced = printed / kept.size
  assert float(total) == pytest.approx(
    0.5 * gain + 2 * printed + 3 * balanced + 0.1 * kept.sum(), rel=1e-5
  )


def test_every_arm_has_its_weights():
  c = TINY.tune
  expect = {
    "continued": (0, 0, 0, 0),
    "qscore": (1e-4, 1e-4, 0, 0),
    "gain": (1e-4, 0, 0, 0),
    "columns": (0, 1e-4, 0, 0),
    "balanced": (0.5, 0, 1, 0),
    "strong": (10, 0, 0, 0),
    "strong_held": (10, 0, 10, 0),
    "lasso": (0, 0, 0, 1e-4),
  }
  arms = [arm for arm in METHOD.arms if arm not in NO_TUNING]
  assert {arm: tuning.penalties(c, arm) for arm in arms} == expect
  own = dataclasses.replace(
    c,
    gain=1.0,
    columns=2.0,
    balanced_gain=3.0,
    balanced_columns=4.0,
    strong=5.0,
    lasso=6.0,
  )
  assert {arm: tuning.penalties(own, arm) for arm in arms} == {
    "continued": (0, 0, 0, 0),
    "qscore": (1, 2, 0, 0),
    "gain": (1, 0, 0, 0),
    "columns": (0, 2, 0, 0),
    "balanced": (3, 0, 4, 0),
    "strong": (5, 0, 0, 0),
    "strong_held": (5, 0, 5, 0),
    "lasso": (0, 0, 0, 6),
  }


def test_terms_see_representations_as_the_fields_say():
  rng = np.random.default_rng(2)
  h = np.maximum(rng.normal(size=(2, 6, 10)), 0).astype(np.float32)
  rows, chosen = h.reshape(12, 10), np.arange(10) < 3
  ways = {}
  for normalize, top in itertools.product((True, False), repeat=2):
    how = dataclasses.replace(TINY.tune, normalize=normalize, top_if_empty=top)
    terms, _ = tuning.make_terms(how, tuning.Penalties(), chosen, 0.8)
    found = terms(Views(h), {})
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    seen = unit if normalize else rows
    above = seen - seen.mean(1, keepdims=True)
    own = (above > 0.8 * seen.std(1, keepdims=True)) & chosen
    q = np.where(own, above, 0).sum(1) / np.maximum(own.sum(1), 1)
    if top:
      q = np.where(own.any(1), q, above[:, chosen].max(1))
    gain = np.where(q < q.mean(), -q, 0)
    column = seen.sum(0)
    high = column[column > column.mean()].sum()
    np.testing.assert_allclose(
      found["gain"], gain.reshape(2, 6).mean(0), rtol=1e-4, atol=1e-6
    )
    # The lasso is of representations as they are.
    sums = {"columns": high, "columns_mean": high / 120, "lasso": rows.sum()}
    for name, value in sums.items():
      assert float(found[name].mean()) == pytest.approx(value, rel=1e-5), name
    ways[normalize, top] = found["gain"].tobytes()
  assert len(set(ways.values())) == 4


def test_four_devices_give_one_devices_penalties():
  rng = np.random.default_rng(1)
  h = np.maximum(rng.normal(size=(2, 8, 10)), 0).astype(np.float32)
  where = np.arange(8) != 3
  chosen = rng.uniform(size=10) < 0.5
  own = tuning.Penalties(0.5, 2.0, 3.0, 0.1)
  terms, weights = tuning.make_terms(TINY.tune, own, chosen, jnp.float32(0.5))

  def value(h, where, axis_name=None):
    found = terms(Views(h), {"where": where}, axis_name=axis_name)
    spread = {"where": where, "axis_name": axis_name}
    return losses.combine(found, weights, **spread)[0]

  alone = jax.jit(jax.value_and_grad(value))(h, where)
  # Two images on each device, and one of them counts twice as much for it.
  apart = h.reshape(2, 4, 2, 10).swapaxes(0, 1), where.reshape(4, 2)
  four = jax.pmap(
    lambda h, where: jax.value_and_grad(value)(h, where, "batch"),
    axis_name="batch",
  )(*apart)
  np.testing.assert_allclose(np.mean(four[0]), alone[0], rtol=1e-5)
  gradient = np.asarray(four[1]).swapaxes(0, 1).reshape(h.shape) / 4
  np.testing.assert_allclose(gradient, alone[1], rtol=1e-4, atol=1e-7)


def test_a_steps_penalties_are_of_all_devices(start, monkeypatch):
  config, found, state = start
  seen = []
  for name in ("q_score_loss", "column_loss"):
    plain = getattr(losses, name)

    def watched(*args, plain=plain, axis_name=None, **rest):
      seen.append(axis_name)
      return plain(*args, axis_name=axis_name, **rest)

    monkeypatch.setattr(losses, name, watched)
  step = tuning.make_train_step(config)
  batch = {k: v[:8] for k, v in found.train.items()}
  batch["row"] = np.arange(8)
  jax.make_jaxpr(
    lambda state, batch: step(state, batch, axis_name="batch"),
    axis_env=[("batch", 4)],
  )(state, batch)
  assert len(seen) >= 2
  assert set(seen) == {"batch"}


def test_a_trained_encoders_score_is_there_to_use(run, images):
  # `kd_jax.load` takes no images by role, so that the method is asked.
  apply, variables = METHOD.apply(run.config, run.products)
  q, _ = apply(variables, images["test_image"])
  expect = run.products["qscore.predict"]["scores"]["q"]
  np.testing.assert_allclose(q, expect, rtol=1e-3, atol=1e-5)


def test_the_step_lowers_for_accelerators(start):
  config, found, state = start
  step = encoders.tune_phase(config, "qscore", found).step
  lifted = accel.data_parallel(step, mode="shard_map", data="replicated")
  shapes = jax.eval_shape(lambda: state)
  exported = lifted.export(shapes, found.train, ("cuda", "tpu"))
  assert exported.nr_devices == 4
  assert "all_" in exported.mlir_module()


def test_one_program_serves_all_arms(start):
  config, found, state = start
  phases = [
    encoders.tune_phase(config, arm, found) for arm in ("continued", "strong")
  ]
  one, other = (
    str(jax.make_jaxpr(phase.step)(state, found.train)) for phase in phases
  )
  assert one == other


def test_without_weights_it_is_more_of_the_same_steps(start):
  config, found, state = start
  nothing = jax.tree.map(jnp.zeros_like, state.weights)
  batch = {k: v[:8] for k, v in found.train.items()}
  batch["row"] = np.arange(8)
  encoder, settings = tuning.schedule(config)
  plain = steps.make_train_step(encoder, settings, LEARNERS["simclr"])
  want, _ = jax.jit(plain)(state.learner, batch)
  step = jax.jit(tuning.make_train_step(config))
  got, _ = step(state.replace(weights=nothing), batch)
  own, _ = step(state.replace(weights=nothing._replace(gain=9.0)), batch)

  def furthest(a, b):
    gaps = jax.tree.map(lambda x, y: float(abs(x - y).max()), a, b)
    return max(jax.tree.leaves(gaps))

  assert furthest(got.learner.params, want.params) < 1e-6
  assert furthest(own.learner.params, want.params) > 1e-5


def test_an_encoders_maps_are_what_it_pools(run, images):
  # So that Grad-CAM of a coordinate is its map.
  maps, h = evaluation.observe(
    encoders.resolve(run.config).encoder,
    representations.trained(run.products, "base"),
    images["test_image"],
  )
  np.testing.assert_allclose(maps.mean((1, 2)), h, rtol=1e-5, atol=1e-6)
  assert (np.asarray(maps) >= 0).all()
