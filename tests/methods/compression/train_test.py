"""From images to a file, through the public functions."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import accel
from kd_jax.datasets import pipeline as feeding
from kd_jax.errors import UsageError
from kd_jax.experiment import WholeRun
from kd_jax.methods import compression
from kd_jax.methods.compression import (
  METHOD,
  arms,
  artifact,
  claim,
  kinds,
  magnitude,
  meter,
  packing,
  pipeline,
  presets,
  protocol,
  sharing,
  train,
  training,
  trees,
)
from kd_jax.methods.compression import (
  data as tables,
)
from kd_jax.methods.compression.plots import frontier, pareto

QUIET = {"quiet": True}
SIZES = {
  "bytes", "bits", "parameters", "macs", "alpha_parameters", "alpha_bits",
  "alpha_bytes", "alpha_macs", "beta_survey", "space_saving", "lost",
  "test_accuracy", "test_top5", "val_accuracy", "val_top5",
}  # fmt: skip
TIMES = {"delta_batch_1", "delta_batch_128", "delta_train", "ms_batch_1",
         "ms_batch_128"}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, config, images):
  """Cut, pruned, shared, coded; a student of a teacher."""
  text = "filters:0.4,steps=2 | gradual:0.7 | share:3,steps=2 | huffman"
  return kd_jax.train(
    "compression",
    config=dataclasses.replace(config, pipeline=text, arms=("pipeline", "kd")),
    data=images,
    workdir=tmp_path_factory.mktemp("run") / "run",
    **QUIET,
  )


def test_a_pipeline_ends_in_a_file_that_is_measured(run, images):
  found = {k.split(".")[1] for k in run.metrics if k.startswith("pipeline.")}
  assert found >= SIZES
  content = run.products["pipeline.file"]["artifact"].tobytes()
  assert run.metrics["pipeline.bytes"] == len(content)
  tree = artifact.decode(content)
  shapes = {p: np.shape(w) for p, w in trees.flatten(tree["params"]).items()}
  assert shapes["fc_0/kernel/shared/codes"] == (64, 6)
  assert shapes["fc_1/kernel/shared/codes"] == (6, 5)
  codes = tree["params"]["fc_0"]["kernel"]["shared"]["codes"]
  assert np.count_nonzero(codes) == magnitude.kept(64 * 6, 0.7)
  # Accuracy is the file's, computed here by hand.
  test = images["images"]["test"]
  x = (test["image"].reshape(30, -1) / 255).astype(np.float32)
  for name in ("fc_0", "fc_1", "head"):
    parts = tree["params"][name]["kernel"]["shared"]
    table = np.concatenate([[0], parts["centroids"]])
    x = x @ table[parts["codes"]] + tree["params"][name]["bias"]
    x = np.maximum(x, 0) if name != "head" else x
  accuracy = (x.argmax(1) == test["label"]).mean()
  np.testing.assert_allclose(run.metrics["pipeline.test_accuracy"], accuracy)
  apply, variables = METHOD.apply(run.config, run.products)
  np.testing.assert_allclose(
    apply(variables, test["image"]), x, rtol=1e-4, atol=1e-5
  )
  assert run.metrics["pipeline.proof_gap"] <= 1e-5


def test_rates_are_the_surveys(run):
  m = {k.split(".")[1]: v for k, v in run.metrics.items() if "pipeline" in k}
  a = m["alpha_bytes"]
  np.testing.assert_allclose(m["beta_survey"], a - 1)
  np.testing.assert_allclose(m["space_saving"], 1 - 1 / a)
  macs = 64 * 10 + 10 * 8 + 8 * 3, 64 * 6 + 6 * 5 + 5 * 3
  assert m["macs"] == macs[1]
  assert m["alpha_macs"] == macs[0] / macs[1]


def test_evaluate_gives_the_same_numbers_and_figures_are_there(run, images):
  again = kd_jax.evaluate("compression", run.workdir, data=images)
  assert (
    again["pipeline.test_accuracy"] == run.metrics["pipeline.test_accuracy"]
  )
  assert {"pareto_bytes", "pareto_macs", "loss"} <= set(run.plot())
  points = {"a": (1, 0.5), "b": (2, 0.4), "c": (3, 0.9), "d": (3, 0.8)}
  assert frontier(points) == ["a", "c"]
  # A network without an error has a place, too.
  (axes,) = pareto({"none": (10.0, 1.0), "some": (5.0, 0.9)}, "bytes").axes
  assert axes.get_yscale() == "log"
  heights = sorted(y for line in axes.lines[:2] for y in line.get_ydata())
  assert heights == pytest.approx([0.01, 10.0])


def test_advice_names_what_fits_and_what_it_saves(run, monkeypatch):
  monkeypatch.setattr(meter, "SAMPLES", 3)
  said = run.ask("advise")
  for word in ("whole filters", "low rank", "x smaller", "delta = 1.0"):
    assert word in said
  assert "low rank, convolutions" not in said  # There is none.
  assert "gradual" in run.ask("steps")


def test_norms_folded_integers_all_through(tmp_path, config, images):
  text = "slimming:0.3,steps=2 | fold | int8full,steps=3,delay=1 | huffman"
  own = dataclasses.replace(
    config,
    model="small_cnn",
    widths=(4, 6),
    pipeline=text,
    arms=("pipeline",),
  )
  run = kd_jax.train(
    "compression", config=own, data=images, workdir=tmp_path / "r", **QUIET
  )
  tree = artifact.decode(run.products["pipeline.file"]["artifact"].tobytes())
  assert set(tree) == {"params"}
  assert set(tree["params"]) == {"conv_0", "conv_1", "head"}
  for layer in tree["params"].values():
    assert layer["kernel"]["quantized"]["q"].dtype == np.int8
  channels = [tree["params"][f"conv_{i}"]["bias"].shape[0] for i in (0, 1)]
  assert sum(channels) == 7  # Three of ten are gone.
  assert run.metrics["pipeline.alpha_bytes"] > 1


def test_every_claim_is_of_arms_and_of_what_is_measured():
  for one in claim.CLAIMS:
    for side in (one.treatment, one.baseline):
      if isinstance(side, tuple):
        arm, metric = side
        assert arm in METHOD.arms
        assert metric in SIZES | TIMES | {"gain"}
        assert metric != "gain" or arms.ARMS[arm].against
        if metric in TIMES:
          assert arms.ARMS[arm].pipeline
  for preset, names in METHOD.reproduce_arms.items():
    assert set(METHOD.settings_tried[preset]) == set(names)
    for name in names:  # What a gain is against comes before.
      against = arms.ARMS[name].against
      assert not against or names.index(against) < names.index(name)


def _load(config, images):
  return tables.load(config, images, lambda line: None)


def test_the_seed_draws_validation_and_nothing_is_in_two_parts(config, images):
  parts = [
    _load(dataclasses.replace(config, seed=s), images) for s in (0, 0, 1)
  ]
  for part in parts:
    a, b = ({r.tobytes() for r in p["image"]} for p in (part.train, part.val))
    assert len(a) == 60
    assert len(b) == 12
    assert not a & b
  same = [parts[0].val["image"].tobytes() == p.val["image"].tobytes()
          for p in parts]  # fmt: skip
  assert same == [True, True, False]


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"train_images": 200}, "more than the 90"),
    ({"mean": (0.1, 0.2), "std": (1.0, 1.0)}, "mean has 2"),
    ({"model": "lenet5", "widths": ()}, "LeNet5 does not run on images of 8x8"),
    ({"model": "vgg16_224", "widths": ()}, "VGG16 does not run on images of"),
  ],
)
def test_what_does_not_fit_the_data_is_refused(config, images, values, words):
  own = dataclasses.replace(config, **values)
  with pytest.raises(UsageError, match=words):
    train.phases(own, images, lambda line: None)
  with pytest.raises(UsageError, match="for images, not web"):
    train.phases(config, {"web": 1}, lambda line: None)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("share:5,on=nothing*", "share: no kernel's path matches"),
    ("prune:0.5 | int8,on=nothing", "int8: no kernel's path matches"),
    ("int8full,on=nothing", "int8full: no kernel's path matches"),
    ("slimming:0.5", "needs batch normalisation"),
    ("fold", "no norm follows"),
    ("vh:0.5", "no kernel that it could factor"),
  ],
)
def test_what_a_network_has_nothing_for_is_refused_before_training(
  config, images, text, words
):
  own = dataclasses.replace(config, pipeline=text, arms=("pipeline",))
  with pytest.raises(UsageError, match=words):
    train.phases(own, images, lambda line: None)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    ({"pipeline": "bwn | share:3"}, "cannot come after"),
    ({"model": "lenet6"}, "did you mean 'lenet5'"),
    ({"widths": (3,), "model": "vgg16_224"}, "has its own"),
    ({"tune_rate": 0.0}, "above 0"),
    ({"distil.weight": 1.5}, "0.0 to 1.0"),
    ({"learning_rate": float("nan")}, "finite"),
  ],
)
def test_wrong_fields_are_refused_before_data_is_read(values, words):
  from kd_jax import fields

  with pytest.raises(UsageError, match=words):
    fields.override(presets.PRESETS["tiny"], values)


def _gradual(config, images):
  found = _load(config, images)
  model = train.make_model(config, found)
  scheme = protocol.chain(
    magnitude.prune(0.6, schedule=(0, 2, 1)), sharing.share(3)
  )
  step = feeding.from_columns(
    training.make_train_step(config, model, scheme, 1e-2, 4), config.batch_size
  )
  variables = model.init(jax.random.key(0))
  params, states = scheme.init(jax.random.key(1), variables["params"])
  state = training.create_state(
    config, scheme, states, {"params": params}, jnp.uint32(0), 1e-2, 4
  )
  return step, state, found.train


def test_one_device_is_four(config, images):
  step, state, columns = _gradual(config, images)
  found = []
  for n in (1, 4):
    devices = jax.devices()[:n]
    lifted = accel.data_parallel(step, data="replicated", devices=devices)
    own, data = accel.place((state, dict(columns)), devices)
    for _ in range(3):
      own, metrics = lifted(own, data)
    accel.check_replicated(own)
    found.append(jax.device_get((own, metrics)))
  one, four = (trees.flatten(f[0].params) for f in found)
  for path, leaf in one.items():
    np.testing.assert_allclose(leaf, four[path], rtol=2e-4, atol=2e-5)
  np.testing.assert_allclose(
    found[0][1]["loss"].total, found[1][1]["loss"].total, rtol=1e-5
  )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_step_under_schemes_lowers_for_accelerators(config, images, platform):
  step, state, columns = _gradual(config, images)
  lifted = accel.data_parallel(step, mode="shard_map", data="replicated")
  exported = lifted.export(state, dict(columns), [platform])
  assert exported.platforms == (platform,)


def test_a_file_that_reads_back_otherwise_is_refused():
  tree = {"params": {"a": np.ones(3, np.float32)}}
  packing.check_same(tree, tree)
  with pytest.raises(RuntimeError, match="bit for bit"):
    packing.check_same(tree, {"params": {"a": np.float32([1, 1, 1.0000001])}})


def test_arms_have_phases_whose_shapes_fit(config, images):
  """Without training: each phase's product is what the next one takes."""
  chosen = (
    "deep", "han", "global_98", "qat_2", "bwn", "svd_25", "hashed_8",
    "circulant", "acdc", "scratch", "narrow_8", "kd_hint", "kd_fitnet",
    "kd_attention", "kd_similarity", "kd_relations", "kd_untrained",
    "kd_smooth",
  )  # fmt: skip
  own = dataclasses.replace(config, arms=chosen)
  products, seed = {}, np.uint32(0)
  for phase in train.phases(own, images, lambda line: None):
    if isinstance(phase, WholeRun) and phase.host:
      if phase.name != "file":  # A cut; stands for itself at the old shapes.
        products[phase.key] = products[phase.run.args[1]]
      continue
    if isinstance(phase, WholeRun):
      run = functools.partial(phase.run, products, None, seed)
      products[phase.key] = jax.eval_shape(run)[0]
      continue
    state = jax.eval_shape(phase.init, products, seed)
    products[phase.key] = jax.eval_shape(phase.product, state)
    new, _ = jax.eval_shape(phase.step, state, phase.data)
    same = jax.tree.map(lambda a, b: a.shape == b.shape, state, new)
    assert all(jax.tree.leaves(same)), phase.key


def test_test_images_of_another_size_are_refused(config, images):
  other = {"image": np.zeros((6, 9, 8, 1), np.uint8), "label": np.arange(6) % 3}
  data = {"images": {**images["images"], "test": other}}
  with pytest.raises(UsageError, match=r"from are 8x8x1, .* test on 9x8x1"):
    train.phases(config, data, lambda line: None)


@pytest.mark.parametrize("part", [8, 32, 64])
def test_narrow_networks_have_as_many_weights_as_hashed_ones(part):
  def count(arm):
    own, text = arms.of_arm(presets.PRESETS["small"], arm)
    model = train.build(own, (28, 28, 1), 10)
    params = model.shapes()["params"]
    for step in pipeline.parse(text)[:-1]:
      made = pipeline.build(step, kinds.Context(model, model.order(
        {"params": params}), 1))  # fmt: skip
      params = jax.eval_shape(
        lambda p, made=made: made.init(jax.random.key(0), p)[0], params
      )
    return sum(w.size for w in jax.tree.leaves(params))

  hashed = count(f"hashed_{part}")
  names = [f"narrow_{part}", *(["shallow_64"] if part == 64 else [])]
  for name in names:
    assert abs(count(name) / hashed - 1) < 0.02


class Mine(nn.Module):
  """A user's module: it returns logits and knows nothing of modes."""

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Conv(6, (3, 3), (2, 2), name="a")(x))
    x = nn.relu(nn.Conv(8, (3, 3), (2, 2), name="b")(x))
    return nn.Dense(3, name="head")(x.reshape(x.shape[0], -1))


def test_a_users_trained_network(tmp_path, config, images):
  module = Mine()
  variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  run = compression.compress(
    module,
    variables,
    images["images"],
    "filters:0.5,steps=2 | int4,steps=2 | huffman",
    config=dataclasses.replace(config, widths=(), latency=True),
    workdir=tmp_path / "r",
    quiet=True,
  )
  kept = run.products["train"]["variables"]["params"]["a"]["kernel"]
  np.testing.assert_array_equal(kept, variables["params"]["a"]["kernel"])
  assert run.metrics["pipeline.alpha_macs"] > 2
  assert run.metrics["pipeline.delta_batch_128"] > 0
  # Advice about it is about this module.
  assert run.method.answers["advise"].run.keywords["module"] is module
  apply, small = compression.read(
    module, run.products["pipeline.file"]["artifact"]
  )
  assert small["params"]["b"]["kernel"].shape == (3, 3, 3, 4)
  test = images["images"]["test"]
  right = apply(small, test["image"]).argmax(-1) == test["label"]
  np.testing.assert_allclose(
    run.metrics["pipeline.test_accuracy"], np.mean(right)
  )
