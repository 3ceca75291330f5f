"""The presets' numbers and views, beside the published tables as literals."""

import dataclasses

import pytest

from kd_jax.methods.ssl import arms, heads, recipes, views

# The published tables. Each row: optimizer, rate for a batch of 256 (lightly's
# of 128), decay, views, and what else its method has.
_V3 = {"ema": 0.99, "ema_end": 1.0}
_QUEUE = {"temperature": 0.1, "queue": 8192, "ema": 0.99, "ema_end": 0.99}
_WEAK, _ODD = "symmetric_weak_32", "asymmetric_32"
LIGHTLY = {
  "simclr": ("sgd", 0.06, 5e-4, _WEAK, {"temperature": 0.5}),
  "swav": ("adam", 1e-3, 1e-6, "swav_two_32", {"prototypes": 512}),
  "moco_v2": ("sgd", 0.06, 5e-4, _WEAK, _QUEUE),
  "moco_notebook": ("sgd", 0.06, 5e-4, _WEAK, _QUEUE),
  "byol": ("sgd", 0.06, 5e-4, _WEAK, {"ema": 0.99, "ema_end": 0.99}),
  "dino": (
    *("sgd", 0.06, 5e-4, "dino_two_32"),
    {"prototypes": 2048, "teacher_temperature": 0.04, "ema_end": 0.99},
  ),
  "simsiam": ("sgd", 0.06, 5e-4, _WEAK, {}),
  "barlow": ("sgd", 0.06, 5e-4, _WEAK, {"off_diagonal": 0.005, "scale": 1.0}),
}
SOLO = {
  "simclr": ("lars_clipped", 0.4, 1e-4, "symmetric", {"temperature": 0.2}),
  "swav": (
    *("lars_clipped", 0.6, 1e-6, "symmetric"),
    {"temperature": 0.1, "prototypes": 3000, "queue": 3840},
  ),
  "moco_v2plus": (
    *("sgd", 0.3, 1e-4, "symmetric_weak_small"),
    {"temperature": 0.2, "queue": 32768, "ema": 0.99, "ema_end": 0.999},
  ),
  "moco_v3": ("lars_clipped", 0.3, 1e-6, _ODD, {"temperature": 0.2, **_V3}),
  "byol": ("lars_clipped", 1.0, 1e-5, _ODD, _V3),
  "dino": (
    *("lars_clipped", 0.3, 1e-6, _ODD),
    {"teacher_temperature": 0.07, "prototypes": 4096, "ema": 0.9995}
    | {"ema_end": 1.0, "clip": 0.0, "temperature": 0.1},
  ),
  "simsiam": (
    *("sgd", 0.5, 1e-5, "symmetric_weak_small"),
    {"predictor_constant": True},
  ),
  # The authors' halves the variances' sum.
  "vicreg": (
    *("lars_clipped", 0.3, 1e-4, "vicreg_32"),
    {"invariance": 25.0, "variance": 50.0, "covariance": 1.0},
  ),
  "barlow": (
    *("lars_clipped", 0.3, 1e-4, _ODD),
    {"off_diagonal": 0.0051, "scale": 0.1},
  ),
}


def _larger(arm, *, rate=None, decay=None, views=None, **more):
  """A row of SOLO as ImageNet-100 has it."""
  optimizer, old_rate, old_decay, old_views, rest = SOLO[arm]
  large = views or old_views.removesuffix("_32")
  return (
    *(optimizer, rate or old_rate, decay or old_decay, large),
    {**rest, **more},
  )


IMAGENET100 = {
  "simclr": _larger("simclr", rate=0.3),
  "swav": _larger("swav"),
  "moco_v2plus": _larger("moco_v2plus", queue=65536),
  "moco_v3": _larger("moco_v3"),
  "byol": _larger("byol", rate=0.5, decay=1e-6),
  "dino": _larger("dino", teacher_temperature_start=0.04),
  "simsiam": _larger("simsiam"),
  "vicreg": _larger("vicreg"),
  "barlow": _larger("barlow"),
}
_LONG = {"queue": 65536, "ema": 0.999, "ema_end": 0.999}
IMAGENET = {
  "simclr": ("lars", 0.3, 1e-6, "symmetric", {"temperature": 0.1}),
  "swav": (
    *("lars", 0.3, 1e-6, "swav"),
    {"temperature": 0.1, "prototypes": 3000, "final_rate": 0.001}
    | {"epsilon": 0.05, "iterations": 3},
  ),
  "moco_v1": (
    *("sgd", 0.03, 1e-4, "symmetric_weak"),
    {"temperature": 0.07, **_LONG},
  ),
  "moco_v2": (
    *("sgd", 0.03, 1e-4, "symmetric_weak"),
    {"temperature": 0.2, **_LONG},
  ),
  "moco_v3": (
    "lars",
    0.6,
    1e-6,
    "asymmetric_large",
    {"temperature": 1.0} | _V3,
  ),
  "byol": ("lars", 0.45, 1e-6, "asymmetric", _V3),
  "dino": (
    *("sgd", 0.03, 1e-4, "dino"),
    {"prototypes": 65536, "clip": 3.0, "teacher_temperature": 0.04}
    | {"ema": 0.996, "ema_end": 1.0, "temperature": 0.1, "centre": 0.9},
  ),
  "simsiam": (
    *("sgd", 0.05, 1e-4, "symmetric_weak"),
    {"predictor_constant": True, "warmup": 0.0},
  ),
  "vicreg": (
    *("lars", 0.3, 1e-6, "asymmetric"),
    {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
    | {"final_rate": 0.001},
  ),
  "barlow": (
    *("lars", 0.2, 1e-6, "asymmetric"),
    {"off_diagonal": 0.0051, "scale": 1.0, "final_rate": 0.001}
    # .0048 for biases.
    | {"bias_rate": 0.024},
  ),
}
TABLES = {
  "cifar10": (LIGHTLY, 128),
  "cifar10_1000": (SOLO, 256),
  "imagenet100": (IMAGENET100, 256),
  "imagenet": (IMAGENET, 256),
}


@pytest.mark.parametrize(
  ("preset", "arm"), [(p, arm) for p in TABLES for arm in TABLES[p][0]]
)
def test_a_presets_numbers_are_the_published_ones(preset, arm):
  table, batch = TABLES[preset]
  optimizer, rate, decay, name, others = table[arm]
  config = arms.PRESETS[preset]
  found = recipes.settings(config, arm)
  # lightly does not scale SimSiam's.
  fixed = (preset, arm) == ("cifar10", "simsiam")
  scale = 1.0 if fixed else config.batch_size / batch
  assert found.learning_rate == pytest.approx(rate * scale)
  assert (found.optimizer, found.weight_decay) == (optimizer, decay)
  assert (found.views, found.momentum) == (name, 0.9)
  got = dataclasses.asdict(found)
  assert {key: got[key] for key in others} == others
  # What no row names is off.
  off = {"clip": 0.0, "bias_rate": 1.0, "final_rate": 0.0, "scale": 1.0}
  if preset != "cifar10":
    silent = [key for key in off if key not in others]
    assert [got[key] for key in silent] == [off[key] for key in silent]


def test_the_published_sizes_and_measures():
  cifar, solo = arms.PRESETS["cifar10"], arms.PRESETS["cifar10_1000"]
  assert (cifar.probe.neighbours, cifar.probe.temperature) == (200, 0.1)
  assert (solo.probe.neighbours, solo.probe.temperature) == (20, 0.07)
  assert (cifar.batch_size, solo.batch_size) == (512, 256)
  assert cifar.data.mean == solo.data.mean == (0.4914, 0.4822, 0.4465)
  assert cifar.data.std == solo.data.std == (0.247, 0.2435, 0.2616)
  for preset in ("imagenet100", "imagenet"):
    data = arms.PRESETS[preset].data
    assert (data.image_size, data.view_size) == (256, 224)
    assert data.mean == (0.485, 0.456, 0.406)
    assert data.std == (0.229, 0.224, 0.225)


# Of the views, the two global ones first: area, jitter, blur, solarise, count,
# side. Jitter comes with .8, grey with .2 everywhere.
_FULL, _LARGE = (0.08, 1.0), (0.2, 1.0)
_STRONG, _SOFT = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1)
_BYOL = (0.4, 0.4, 0.2, 0.1)
VIEWS = {
  "symmetric": [(_FULL, _STRONG, 0.5, 0, 2, 1)],
  "symmetric_weak": [(_LARGE, _SOFT, 0.5, 0, 2, 1)],
  "symmetric_weak_small": [(_FULL, _SOFT, 0.5, 0, 2, 1)],
  "asymmetric": [(_FULL, _BYOL, 1.0, 0, 1, 1), (_FULL, _BYOL, 0.1, 0.2, 1, 1)],
  "asymmetric_large": [
    (_LARGE, _BYOL, 1.0, 0, 1, 1),
    (_LARGE, _BYOL, 0.1, 0.2, 1, 1),
  ],
  "vicreg": [(_LARGE, _BYOL, 0.5, 0.1, 2, 1)],
  "symmetric_32": [(_FULL, _STRONG, 0, 0, 2, 1)],
  "symmetric_weak_32": [(_FULL, _SOFT, 0, 0, 2, 1)],
  "asymmetric_32": [(_FULL, _BYOL, 0, 0, 1, 1), (_FULL, _BYOL, 0, 0.2, 1, 1)],
  "vicreg_32": [(_LARGE, _BYOL, 0, 0.1, 2, 1)],
  "swav_two_32": [((0.14, 1.0), (0.64, 0.64, 0.64, 0.16), 0, 0, 2, 1)],
  "dino_two_32": [
    ((0.4, 1.0), _BYOL, 0, 0, 1, 1),
    ((0.4, 1.0), _BYOL, 0, 0.2, 1, 1),
  ],
  "swav": [
    ((0.14, 1.0), _STRONG, 0.5, 0, 2, 1),
    ((0.05, 0.14), _STRONG, 0.5, 0, 6, 96 / 224),
  ],
  "dino": [
    ((0.14, 1.0), _BYOL, 1.0, 0, 1, 1),
    ((0.14, 1.0), _BYOL, 0.1, 0.2, 1, 1),
    ((0.05, 0.14), _BYOL, 0.5, 0, 8, 96 / 224),
  ],
  "multicrop_32": [
    (_LARGE, (0.6, 0.6, 0.6, 0.2), 0, 0, 1, 1),
    (_LARGE, (0.6, 0.6, 0.6, 0.2), 0, 0.2, 1, 1),
    ((0.08, 0.5), _STRONG, 0.1, 0.1, 6, 18 / 32),
  ],
}


def test_views_are_the_published_ones():
  for name, expected in VIEWS.items():
    found = [
      (v.area, v.jitter, v.blur, v.solarise, v.count, v.size)
      for v in views.VIEWS[name]
    ]
    assert found == expected, name
    assert {(v.jittered, v.grey) for v in views.VIEWS[name]} == {(0.8, 0.2)}


# Projector and predictor, layer by layer, as the papers' table has them.
_SMALL = "2048 bias small gelu, 2048 bias small gelu, 256 bias small"
HEADS = {
  "cifar10": {
    "simclr": ("512 bias relu, 128 bias", ""),
    "swav": ("512 bn relu, 128 bias", ""),
    "moco_notebook": ("512 bias relu, 128 bias", ""),
    "byol": ("1024 bn relu, 256 bias", "1024 bn relu, 256 bias"),
    "dino": ("2048 bn gelu, 256 bias", ""),
    "simsiam": ("2048 bn relu, 2048 bn", "512 bn relu, 2048 bias"),
    "barlow": ("2048 bn relu, 2048", ""),
  },
  "cifar10_1000": {
    "simclr": ("2048 bias relu, 256 bias", ""),
    "swav": ("2048 bias bn relu, 128 bias", ""),
    "moco_v2plus": ("2048 bias relu, 256 bias", ""),
    "moco_v3": ("4096 bn relu, 256 bn-", "4096 bn relu, 256"),
    "byol": ("4096 bias bn relu, 256 bias", "4096 bias bn relu, 256 bias"),
    "dino": (_SMALL, ""),
    "simsiam": (
      "2048 bn relu, 2048 bn relu, 2048 bn-",
      "512 bn relu, 2048 bias",
    ),
    "vicreg": ("2048 bias bn relu, 2048 bias bn relu, 2048", ""),
    "barlow": ("2048 bn relu, 2048 bn relu, 2048", ""),
  },
  "imagenet100": {
    "simclr": ("4096 bias relu, 512 bias", ""),
    "byol": ("4096 bias bn relu, 256 bias", "8192 bias bn relu, 256 bias"),
  },
  "imagenet": {
    "simclr": ("r bn relu, r bn relu, 128 bn~", ""),
    "swav": ("2048 bias bn relu, 128 bias", ""),
    "moco_v1": ("128 bias", ""),
    "moco_v2": ("r bias relu, 128 bias", ""),
    "moco_v3": ("4096 bn relu, 256 bn-", "4096 bn relu, 256"),
    "byol": ("4096 bias bn relu, 256", "4096 bias bn relu, 256"),
    "dino": (_SMALL, ""),
    "simsiam": ("r bn relu, r bn relu, 2048 bn-", "512 bn relu, 2048 bias"),
    "vicreg": ("8192 bias bn relu, 8192 bias bn relu, 8192", ""),
    "barlow": ("8192 bn relu, 8192 bn relu, 8192", ""),
  },
}


@pytest.mark.parametrize(
  ("preset", "arm"), [(p, arm) for p in HEADS for arm in HEADS[p]]
)
def test_heads_are_the_published_ones(preset, arm):
  found = recipes.settings(arms.PRESETS[preset], arm)
  expected = tuple(heads.parse(text) for text in HEADS[preset][arm])
  assert (
    heads.parse(found.projector),
    heads.parse(found.predictor),
  ) == expected
