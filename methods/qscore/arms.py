"""The arms and the presets."""

import dataclasses

from kd_jax.methods import ssl
from kd_jax.methods.qscore.config import (
  Config,
  DiscoveryConfig,
  ProbeConfig,
  StudyConfig,
  TuneConfig,
)
from kd_jax.methods.ssl import config as encoders

ARMS = {
  "own": "representations of your own, or planted ones",
  "base": "the encoder as self-supervision left it",
  "continued": "more of the same steps: the control",
  "qscore": "both penalties, as printed",
  "gain": "lambda_1 alone, as printed",
  "columns": "lambda_2 alone, as printed",
  "balanced": "both, columns meaned and lambda_1 larger",
  "strong": "lambda_1 alone, large",
  "strong_held": "and columns meaned, as large",
  "lasso": "an L1 penalty in their place",
}
TUNED = tuple(arm for arm in ARMS if arm not in ("own", "base"))

# Three layers of stride 2 and one that keeps 4x4 places to look at.
_SMALL = ssl.Config(
  recipe="small",
  data=encoders.DataConfig(images="cluttered_mnist", val_images=1),
  net=encoders.NetConfig(widths=(32, 64, 128, 512), strides=(2, 2, 2, 1)),
  probe=encoders.ProbeConfig(penalties=1, iterations=1),
  steps=400,
  batch_size=96,
)
_COLOUR = ssl.METHOD.presets["cifar10"]
_LARGE = ssl.METHOD.presets["imagenet100"]
# The paper's: 50 epochs at a rate of 1e-5, by LARS; probes are softmaxes.
_PAPER = TuneConfig(optimizer="lars_clipped", learning_rate=1e-5)
_SOFTMAX = ProbeConfig(kind="softmax")


def _epochs(encoder, number, images):
  return number * images // encoder.batch_size


PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    examples=800,
    discovery=DiscoveryConfig(eps=2.0),
    study=StudyConfig(kept=(0.1, 0.6), draws=2),
    encoder=dataclasses.replace(
      ssl.METHOD.presets["tiny"], score_batch_size=100
    ),
    tune=TuneConfig(steps=5),
    log_every=5,
    save_every=0,
  ),
  # Codes whose discriminative features are known; and, with --features, your
  # own, with a threshold that suits them.
  "own": Config(),
  # The claims, on digits under clutter, whose masks are known.
  "small": Config(arms=("base", *TUNED), encoder=_SMALL),
  # The same without clutter and masks.
  "mnist": Config(
    arms=("base", *TUNED),
    encoder=dataclasses.replace(
      _SMALL, data=dataclasses.replace(_SMALL.data, images="mnist_5k")
    ),
  ),
  "cifar10": Config(
    arms=("base", "continued", "qscore", "balanced", "lasso"),
    encoder=_COLOUR,
    tune=dataclasses.replace(_PAPER, steps=_epochs(_COLOUR, 50, 45_000)),
    probe=_SOFTMAX,
  ),
  # As published: a folder of the hundred classes, --encoder.data.images FOLDER.
  "imagenet100": Config(
    arms=("base", "continued", "qscore", "gain", "columns", "lasso"),
    encoder=_LARGE,
    tune=dataclasses.replace(_PAPER, steps=_epochs(_LARGE, 50, 121_689)),
    probe=_SOFTMAX,
    discovery=DiscoveryConfig(eps=4.0),
  ),
}
