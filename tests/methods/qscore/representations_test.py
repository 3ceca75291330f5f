"""Heatmaps of an encoder of ours, and the masks that they are judged by."""

import dataclasses
import importlib
import os
import pathlib
import types

import jax
import numpy as np
import pytest

from kd_jax.datasets import catalog, decode
from kd_jax.datasets.cluttered_mnist import cluttered_mnist_dataset_builder
from kd_jax.datasets.mnist_5k import mnist_5k_dataset_builder
from kd_jax.errors import UsageError
from kd_jax.methods.qscore import METHOD, encoders, masks, representations
from kd_jax.methods.qscore.config import HeatConfig
from kd_jax.methods.ssl import data as tables
from kd_jax.methods.ssl import evaluation

# In the package this name is the function's.
plots = importlib.import_module("kd_jax.methods.qscore.plots")
RIGHT = np.arange(8) % 2 == 0
HEAT = HeatConfig(combine="max", region=0.3)


def hush(line):
  del line


def config_of(images, **heat):
  """The tiny configuration for some images."""
  tiny = METHOD.presets["tiny"]
  data = dataclasses.replace(tiny.encoder.data, images=images, val_images=1)
  encoder = dataclasses.replace(tiny.encoder, data=data, batch_size=4)
  own = dataclasses.replace(HEAT, **heat)
  return encoders.resolve(
    dataclasses.replace(tiny, arms=("base",), encoder=encoder, heat=own)
  )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
  """The fake digits of the builder, two of them tested under four clutters."""
  folder = pathlib.Path(cluttered_mnist_dataset_builder.__file__).parent
  content = (folder / "dummy_data" / "mnist_5k.csv.gz").read_bytes()
  with pytest.MonkeyPatch.context() as patch:
    data = os.fspath(tmp_path_factory.mktemp("data"))
    patch.setenv("KD_JAX_DATA", data)
    patch.setattr(mnist_5k_dataset_builder, "official_file", lambda: content)
    found = tables.load(config_of("cluttered_mnist").encoder, {}, hush)
    columns = decode.columns(catalog.builder("cluttered_mnist"), "test")
    yield found, columns


@pytest.fixture(scope="module")
def products(digits):
  """An encoder that has learned nothing, and a discovery of half of it."""
  config, (found, _) = config_of("cluttered_mnist"), digits
  phase = encoders.base_phase(config, found, {})
  begun = jax.jit(lambda seed: phase.product(phase.init({}, seed)))
  base = begun(np.uint32(0))
  chosen = np.arange(16) % 2 == 0
  number = np.float32(0)
  discovery = {
    "eps": np.float32(0.5),
    "percent": np.zeros(16, np.float32),
    "chosen": chosen,
    "empty": number,
    "active": number,
    "tried": np.zeros(1, np.float32),
  }
  return {
    "base.pretrain": base,
    "base.discover": discovery,
    "base.predict": {"correct": RIGHT},
  }


def plain_heat(config, products, images):
  """The largest map of L and D of each image, in NumPy but for the resizing."""
  maps, h = evaluation.observe(
    config.encoder, representations.trained(products, "base"), images
  )
  maps, h = np.maximum(maps, 0), np.asarray(h)
  found = products["base.discover"]
  taken = h > h.mean(1, keepdims=True) + found["eps"] * h.std(1, keepdims=True)
  taken &= found["chosen"]
  heat = (maps * taken[:, None, None]).max(-1)
  heat = np.asarray(jax.image.resize(heat, (len(h), 28, 28), "bilinear"))
  top = heat.max((1, 2), keepdims=True)
  return heat / np.where(top > 0, top, 1)


def interpreted(config, found, known, products):
  phase = representations.measured(config, "base", found, known)[-1]
  assert phase.key == "base.interpret"
  return jax.jit(phase.run)(products, phase.data, np.uint32(0))


@pytest.fixture(scope="module")
def own(digits, products):
  """What the phase gives for the encoder's own images and their masks."""
  config, (found, _) = config_of("cluttered_mnist"), digits
  known = representations.known_of(config, found, {})
  return interpreted(config, found, known, products)


def test_masks_are_known_of_images_that_have_them(digits):
  found, columns = digits
  known = representations.known_of(config_of("cluttered_mnist"), found, {})
  for kind in ("core", "spurious"):
    expect = columns[kind][..., 0] / np.float32(255)
    np.testing.assert_array_equal(known[f"test_{kind}"], expect)
  assert (known["test_core"] != known["test_spurious"]).any()
  np.testing.assert_array_equal(known["train_labels"], found.train["label"])
  np.testing.assert_array_equal(known["test_labels"], found.test["label"])
  # A user's own have none.
  mine = representations.known_of(
    config_of("cluttered_mnist"), found, {"images": {"image": 0}}
  )
  assert set(mine) == {"train_labels", "test_labels"}


def test_heat_is_of_the_D_that_stands_out_of_each_image(digits, products, own):
  found, columns = digits
  config = config_of("cluttered_mnist")
  heat = plain_heat(config, products, found.test["image"])
  assert (heat.max((1, 2)) > 0).all()
  np.testing.assert_allclose(own[0]["heat"], heat, atol=2e-3)
  expect = masks.interpretability(
    np.asarray(heat, np.float32),
    columns["core"][..., 0] / np.float32(255),
    columns["spurious"][..., 0] / np.float32(255),
    RIGHT,
    region=0.3,
  )
  for name, value in expect.items():
    assert float(own[1][name]) == pytest.approx(float(value), abs=1e-3), name
  assert float(expect["miou_core"]) != float(expect["miou_spurious"])


def test_masks_may_be_of_other_images(digits, products, own, images):
  found = tables.load(config_of("x").encoder, {"images": images}, hush)
  config = config_of("squares", masks="cluttered_mnist")
  known = representations.known_of(config, found, {"images": images})
  np.testing.assert_array_equal(known["test_labels"], images["test_label"])
  heat, values = interpreted(config, found, known, products)
  np.testing.assert_array_equal(heat["heat"], own[0]["heat"])
  # Of these no probe says which are right.
  whole = {k: v for k, v in own[1].items() if "right" not in k}
  whole = {k: v for k, v in whole.items() if "wrong" not in k}
  assert len(whole) == 6
  assert {k: float(v) for k, v in values.items()} == {
    k: pytest.approx(float(v)) for k, v in whole.items()
  }


@pytest.mark.parametrize(
  ("name", "channels", "message"),
  [
    ("digits", 1, "is 'digits', which has no masks core and spurious"),
    ("cluttered_mnist", 3, "images have 1 channels; the encoder's have 3"),
    ("nowhere", 1, "no data set is named 'nowhere'"),
    ("./mine.npz", 1, r"no data set is named './mine.npz'"),
  ],
)
def test_masks_that_do_not_serve_are_refused(digits, name, channels, message):
  del digits
  with pytest.raises(UsageError, match=message):
    representations.masked(name, channels)


def test_pictures_show_no_heat_of_other_images(monkeypatch, images):
  for name in ("profile", "risk", "compression", "grid"):
    monkeypatch.setattr(plots, name, lambda *args: None)
  shown = []
  monkeypatch.setattr(plots, "pictures", lambda *args: shown.append(args[-1]))
  heat = np.ones((24, 8, 8), np.float16)
  products = {
    "base.predict": {"scores": {"q": np.arange(24)}, "correct": np.ones(24)},
    "base.interpret": {"heat": heat},
  }
  for name in ("", "cluttered_mnist"):
    config = config_of("squares", masks=name)
    data = {"images": images}
    run = types.SimpleNamespace(
      config=config, products=products, metrics={}, data=data
    )
    plots.plots(run)
  assert [None if x is None else len(x) for x in shown] == [8, 8, None, None]
