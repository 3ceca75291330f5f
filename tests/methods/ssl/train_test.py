import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import api, fields, metrics
from kd_jax.datasets.hosted import Hosted
from kd_jax.errors import UsageError
from kd_jax.methods.ssl import METHOD, arms, evaluation, probe, recipes, train
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl.learners import LEARNERS

RNG = np.random.default_rng(2)
LABEL = (np.arange(120) % 3).astype(np.int32)
# Three kinds of images that are easily told apart.
KINDS = RNG.integers(0, 256, (3, 8, 8, 1))
IMAGE = np.clip(KINDS[LABEL] + RNG.normal(0, 20, (120, 8, 8, 1)), 0, 255)
OWN = {"image": IMAGE.astype(np.uint8), "label": LABEL}
CONFIG = fields.override(
  arms.PRESETS["tiny"],
  {
    "net.widths": (4, 6),
    "net.strides": (2, 2),
    "steps": 4,
    "probe.steps": 3,
    "probe.batch_size": 16,
    "batch_size": 16,
    "score_batch_size": 32,
    "log_every": 2,
  },
)


def _phases(data=OWN, **values):
  config = fields.override(CONFIG, values)
  return train.phases(config, {"images": data}, lambda line: None)


def test_every_arm_is_described():
  assert set(METHOD.arms) == set(LEARNERS) | set(recipes.COLLAPSES)
  assert set(METHOD.settings_tried) == set(METHOD.reproduce_arms)
  assert len(set(METHOD.settings_tried.values())) == 1


def test_every_claim_names_what_is_measured():
  config = fields.override(CONFIG, {"arms": METHOD.reproduce_arms})
  found = tables.load(config, {"images": OWN}, lambda line: None)

  @functools.cache
  def measures(learner):
    phase = train.pretrain_phase(config, learner, found)
    state = jax.eval_shape(phase.init, {}, np.uint32(0))
    product = jax.eval_shape(phase.product, state)
    judge = phase.evaluations["test"]
    return tuple(jax.eval_shape(judge.run, product, judge.data))

  measured = {
    (arm, f"test_{name}")
    for arm in METHOD.reproduce_arms
    for name in measures(recipes.learner_of(arm))
  }
  for claim in METHOD.claims:
    assert claim.treatment in measured
    if not isinstance(claim.baseline, float):
      assert claim.baseline in measured


def test_encoders_see_no_validation_and_no_test_image():
  pretrain = _phases(arms=("simclr",))[0]
  train_, val, test = (
    {row.tobytes() for row in columns["image"]}
    for columns in (
      pretrain.data,
      pretrain.evaluations["val"].data["query"],
      pretrain.evaluations["test"].data["query"],
    )
  )
  assert not train_ & val
  assert not (train_ | val) & test
  assert len(train_) + len(val) + len(test) == 120
  assert pretrain.evaluations["test"].data["bank"] is pretrain.data


def test_a_run_through_the_public_functions(tmp_path):
  run = kd_jax.train(
    "ssl",
    config=fields.override(CONFIG, {"arms": ("random", "simclr")}),
    data={"images": OWN},
    workdir=tmp_path / "run",
  )
  for arm in ("random", "simclr"):
    for name in ("knn", "probe", "linear", "z_spread", "rank"):
      assert np.isfinite(run.metrics[f"{arm}.test_{name}"])
  assert "simclr" in run.table()
  # What is loaded gives the representation that was judged.
  encode, variables = kd_jax.load(run.workdir, data={"images": OWN})
  found = tables.load(run.config, {"images": OWN}, lambda line: None)
  bank, query = (
    encode(variables, columns["image"]) for columns in (found.train, found.test)
  )
  assert query.shape == (len(found.test["label"]), 6)
  scores = metrics.knn_scores(
    bank,
    found.train["label"],
    query,
    classes=3,
    neighbours=CONFIG.probe.neighbours,
    temperature=CONFIG.probe.temperature,
  )
  right = (scores.argmax(1) == found.test["label"]).mean()
  np.testing.assert_allclose(right, run.metrics["simclr.test_knn"], rtol=1e-6)
  assert set(variables["params"]) == {"backbone"}
  # A random encoder is what was drawn, but for its statistics.
  drawn = run.products["random.pretrain"]["params"]["projector"]
  phase = _phases(arms=("random",))[0]
  start = jax.jit(phase.init)({}, np.uint32(0)).params["projector"]
  jax.tree.map(np.testing.assert_array_equal, drawn, start)
  names = {path.stem for path in (run.workdir / "plots").glob("*.png")}
  assert {"arms", "monitors", "views", "loss"} <= names
  rows = run.rows()
  watched = [r for r in rows if r["kind"] == "train" and r["arm"] == "simclr"]
  watched = [r for r in watched if r["phase"] == "pretrain"]
  assert watched
  assert all("z_spread" in r for r in watched)


def test_images_without_labels(tmp_path):
  run = kd_jax.train(
    "ssl",
    config=fields.override(
      CONFIG,
      {"arms": ("moco_v2",), "data.labelled": False, "settings.queue": 64},
    ),
    data={"images": {"image": OWN["image"]}},
    workdir=tmp_path / "run",
  )
  assert "moco_v2.test_rank" in run.metrics
  assert "moco_v2.test_knn" not in run.metrics
  # Training can go on from what is kept: the slow network and the queue, too.
  product = api.open_run(run.workdir, "ssl").products["moco_v2.pretrain"]
  assert set(product["slow"]) == {"backbone", "projector"}
  ring = product["model_state"]["memory"]["keys"]
  assert (ring.filled, ring.place) == (64, 0)
  online, slow = (product["model_state"][k] for k in ("online", "slow"))
  jax.tree.map(np.testing.assert_array_equal, online, product["batch_stats"])
  a, b = (x["backbone"]["norm_0"]["mean"] for x in (online, slow))
  assert np.abs(a - b).max() > 0
  with pytest.raises(UsageError, match="supervised needs labels"):
    _phases(
      {"image": OWN["image"]}, arms=("supervised",), **{"data.labelled": False}
    )


def test_the_probe_by_sgd_trains_a_line_on_frozen_features():
  pretrain, phase = _phases(arms=("byol",))
  state = jax.jit(pretrain.init)({}, np.uint32(0))
  product = jax.device_get(pretrain.product(state))
  made = jax.jit(phase.init)({"byol.pretrain": product}, np.uint32(0))
  new, found = jax.jit(phase.step)(made, phase.data)
  jax.tree.map(np.testing.assert_array_equal, new.encoder, made.encoder)
  # At 0 every class is as likely.
  value = metrics.compute(found)["cross_entropy"]
  np.testing.assert_allclose(value, np.log(3), rtol=1e-5)
  assert np.abs(new.params["kernel"]).max() > 1e-4
  settings = recipes.settings(CONFIG, "byol")
  tx = probe.optimizer(
    fields.override(CONFIG, {"probe.steps": 10, "probe.batch_size": 512}),
    settings,
  )
  grads, opt_state, moved = {"w": jnp.ones(1)}, tx.init({"w": jnp.ones(1)}), []
  for _ in range(10):
    updates, opt_state = tx.update(grads, opt_state)
    trace = opt_state[0].trace["w"][0]
    moved.append(float(-updates["w"][0] / trace))
  rates = [0.6] * 6 + [0.06] * 2 + [0.006] * 2
  np.testing.assert_allclose(moved, rates, rtol=1e-5)


def test_the_probe_by_sgd_has_momentum():
  config = fields.override(CONFIG, {"probe.steps": 10, "probe.batch_size": 128})
  settings = dataclasses.replace(recipes.BASE, probe_rate=0.2)
  tx = probe.optimizer(config, settings)
  grads, moves = {"w": jnp.ones(1)}, []
  opt_state = tx.init(grads)
  for _ in range(3):
    updates, opt_state = tx.update(grads, opt_state)
    moves.append(float(updates["w"][0]))
  # Half a batch of 256, half the rate; .9 of what was moved goes on.
  np.testing.assert_allclose(moves, [-0.1, -0.19, -0.271], rtol=1e-5)


def test_the_probe_by_sgd_crops_photos_to_a_twelfth_and_digits_to_a_half(
  monkeypatch,
):
  asked = []

  def cropped(key, image, *how):
    asked.append(how)
    return image

  monkeypatch.setattr(probe.augment, "random_resized_crop", cropped)
  image = jnp.asarray(OWN["image"][0], jnp.float32)
  for values in ({"data.flip": True}, {"data.flip": False}):
    config = fields.override(CONFIG, {"data.view_size": 6, **values})
    seen = [
      probe._seen(config, jax.random.key(i), image)[:, 0] for i in range(8)
    ]
    mirrored = [not np.array_equal(x, image[:, 0]) for x in seen]
    assert any(mirrored) == values["data.flip"]
    assert not all(mirrored)
  assert asked == [((6, 6), (0.08, 1.0))] * 8 + [((6, 6), (0.5, 1.0))] * 8


def test_hosted_images_are_the_same():
  plain = _phases(arms=("simclr",))[0]
  far = _phases(arms=("simclr",), **{"data.streamed": "always"})[0]
  assert isinstance(far.data["image"], Hosted)
  state = jax.jit(plain.init)({}, np.uint32(0))
  a, b = (jax.jit(p.step.batch)(state, p.data) for p in (plain, far))
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_bank_of_few_labels():
  few = _phases(arms=("simclr",), **{"probe.labels": 20})
  known = few[0].evaluations["test"].data["bank"]
  assert len(known["label"]) == 20
  every = {row.tobytes() for row in few[0].data["image"]}
  assert {row.tobytes() for row in known["image"]} <= every
  assert few[1].data is not few[0].data
  assert len(few[1].data["label"]) == 20


def test_penalties():
  assert len(evaluation.penalties(8)) == 8
  np.testing.assert_allclose(evaluation.penalties(45), metrics.PENALTIES)
  assert evaluation.penalties(1) == (1.0,)


@pytest.mark.parametrize(
  ("values", "said"),
  [
    ({"settings.optimizer": "lamb"}, "settings.optimizer is 'lamb'"),
    ({"settings.views": "swaw"}, "settings.views is 'swaw'"),
    ({"settings.ema": 1.5, "arms": ("byol",)}, "settings.ema is 1.5"),
    ({"settings.temperature": 0.0}, "settings.temperature is 0.0"),
    ({"settings.predictor": "7", "arms": ("byol",)}, "gives 7 numbers"),
    ({"arms": ("moco_v2",), "settings.queue": 40}, "must divide it"),
    ({"arms": ("moco_v2",), "settings.queue": 0}, "is 0; it needs one"),
    ({"settings.projector": "wide"}, "a head has the layer 'wide'"),
    ({"batch_size": 4000}, "there are 77 training images"),
    ({"data.view_size": 9}, "is 9, the images are 8x8: views are not larger"),
    ({"data.view_size": 3}, "data.view_size is 3; it is 0"),
    ({"settings.prototypes": 2**30}, "prototypes is 1073741824; it must be 0"),
    ({"settings.iterations": 10**6}, "iterations is 1000000; it must be 0 to"),
    ({"net.widths": (-4, 8)}, "net.widths and net.strides are 1 to"),
    ({"data.mean": (0.1, 0.2, 0.3), "data.std": (1.0, 1.0, 1.0)}, "3 numbers"),
  ],
)
def test_what_is_refused(values, said):
  with pytest.raises(UsageError, match=said):
    _phases(**values)


def test_fields_are_refused_at_once():
  with pytest.raises(UsageError, match="recipe is 'big'"):
    fields.override(CONFIG, {"recipe": "big"})
  with pytest.raises(UsageError, match="learning_rate"):
    fields.override(CONFIG, {"settings.learning_rate": float("nan")})
