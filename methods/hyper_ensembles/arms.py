"""The arms: what each is, which regime it runs in; the presets."""

import dataclasses
from typing import Any, NamedTuple

from kd_jax import fields
from kd_jax.methods.hyper_ensembles.config import (
  Config,
  DataConfig,
  HyperConfig,
)


class Arm(NamedTuple):
  """A way of doing it.

  Attributes:
    kind: "chosen" (of the search and its strata), "random" (a search of its
      own), "batch", "hyper" or "stn".
    how: of a chosen one, which members; of a batch ensemble, whose lambda.
    changes: fields, nested ones with a dot.
  """

  kind: str
  how: str = ""
  changes: dict[str, Any] = {}  # noqa: RUF012


def _hyper(**changes):
  return Arm("hyper", "", {f"hyper.{k}": v for k, v in changes.items()})


ARMS: dict[str, Arm] = {
  "single": Arm("chosen", "single"),
  "top": Arm("chosen", "top"),
  "fixed_init": Arm("chosen", "fixed_init"),
  "deep": Arm("chosen", "deep"),
  "hyper_deep": Arm("chosen", "hyper_deep"),
  "hyper_deep_once": Arm("chosen", "hyper_deep_once"),
  "unstratified": Arm("random"),
  "batch": Arm("batch", "best"),
  "batch_search": Arm("batch", "search"),
  "hyper_batch": _hyper(),
  "stn": Arm("stn"),
  # Ablations of the hyper-batch ensemble.
  "tau_0": _hyper(tau=0.0),
  "tau_10": _hyper(tau=1e-2),
  "untuned": _hyper(tune=False, bounds="full"),
  "untied": _hyper(tied=False),
  "embed_mlp": _hyper(embed_hidden=(32,)),
  "signs": _hyper(fast_init=0.5),
  "wide_init": _hyper(fast_init=-0.75),
  "per_batch": _hyper(rows="batch"),
  "sampled": _hyper(samples=4),
  "ensemble_loss": _hyper(loss="ensemble"),
}

# Where an arm runs; "" is the configured one.
REGIMES: dict[str, dict[str, Any]] = {
  "": {},
  "clean": {
    "data.name": "digits",
    "data.train": 400,
    "data.wrong": 0.0,
    "runs": 24,
    "steps": 800,
  },
  "mnist": {
    "data.name": "mnist_5k",
    "data.train": 3000,
    "data.val": 1000,
    "data.wrong": 0.0,
    "widths": (64, 64),
    "runs": 8,
    "steps": 800,
  },
}
_IN_REGIMES = {
  "clean": (
    "single",
    "top",
    "fixed_init",
    "deep",
    "hyper_deep",
    "unstratified",
    "batch",
    "hyper_batch",
    "stn",
  ),
  "mnist": ("single", "deep", "hyper_deep", "batch", "hyper_batch", "stn"),
}
NAMES = {name: ("", name) for name in ARMS} | {
  f"{regime}_{name}": (regime, name)
  for regime, names in _IN_REGIMES.items()
  for name in names
}


_WORDS = {
  "single": "the best network of the search",
  "top": "its K best, no selection",
  "fixed_init": "greedy selection of K from one initialisation",
  "deep": "the best lambda from K initialisations",
  "hyper_deep": "Algorithm 1: search, selection, strata, selection",
  "hyper_deep_once": "the same, its second selection without replacement",
  "unstratified": "selection from as many random lambdas and initialisations",
  "batch": "a batch ensemble with the best lambda",
  "batch_search": "the best of a random search of batch ensembles",
  "hyper_batch": "a hyper-batch ensemble",
  "stn": "a self-tuning network: one member, no fast weights",
  "tau_0": "hyper_batch without entropy",
  "tau_10": "with ten times the entropy",
  "untuned": "with the full range of lambda throughout",
  "untied": "with u and v of its own",
  "embed_mlp": "with a hidden layer in e(lambda)",
  "signs": "with fast weights of +1 and -1",
  "wide_init": "with fast weights of N(1, 0.75)",
  "per_batch": "with one lambda a batch",
  "sampled": "predicting with drawn lambdas, too",
  "ensemble_loss": "trained on the mean probability's loss",
}
_WHERE = {"clean": "clean digits", "mnist": "MNIST-5k"}
DESCRIBED = {
  name: _WORDS[arm] + (f", on {_WHERE[regime]}" if regime else "")
  for name, (regime, arm) in NAMES.items()
}


def in_regime(config: Config, regime: str) -> Config:
  """The configuration of a regime.

  Args:
    config: the run's own.
    regime: a key of `REGIMES`.

  Returns:
    The same with the regime's fields; a small configuration stays small.
  """
  changes = dict(REGIMES[regime])
  for name in ("steps", "runs"):
    if name in changes:
      changes[name] = min(changes[name], 2 * getattr(config, name))
  return fields.override(config, changes)


def of_arm(config: Config, name: str) -> Config:
  """The configuration of an arm, in its regime.

  Args:
    config: the run's own.
    name: a key of `NAMES`.

  Returns:
    The same with the regime's and the arm's changes.
  """
  regime, arm = NAMES[name]
  return fields.override(in_regime(config, regime), ARMS[arm].changes)


_CIFAR = DataConfig(
  name="cifar10",
  train=47_500,
  val=2_500,
  mean=(0.4914, 0.4822, 0.4465),
  std=(0.2470, 0.2435, 0.2616),
  augment=True,
  foreign="svhn_cropped",
  corrupted="cifar10_c",
)
_WRN = Config(
  arms=("single", "deep", "hyper_deep", "batch", "hyper_batch"),
  seeds=1,
  model="wrn28_10",
  members=4,
  runs=100,
  tuned=("l2", "smoothing"),
  l2_range=(1e-2, 1e2),
  # 2e-4 x 47,500 images.
  l2=9.5,
  norm_l2=9.5,
  # 250 epochs of 47,500 images in batches of 128.
  steps=92_750,
  batch_size=128,
  optimizer="sgd",
  learning_rate=0.1,
  schedule="stairs",
  warmup=371,
  stairs=(0.4, 0.8, 0.9),
  data=_CIFAR,
  hyper=HyperConfig(
    longer=1.0,
    batch=128,
    rate=1e-3,
    bounds="narrow",
    fast_init=-0.75,
    embed_scale=1e-4,
    symmetric=False,
  ),
)
_MNIST = Config(
  arms=("single", "deep", "hyper_deep", "batch", "hyper_batch"),
  seeds=1,
  model="lenet",
  runs=50,
  l2_range=(1e-3, 1e3),
  dropout_range=(1e-3, 0.9),
  steps=50_000,
  learning_rate=1e-3,
  data=DataConfig(name="fashion_mnist", train=50_000, val=10_000),
  hyper=HyperConfig(
    longer=1.0,
    rate=1e-3,
    fast_init=-0.75,
    embed_scale=1e-4,
    # The paper's is small and not linear.
    embed_hidden=(32,),
    symmetric=False,
  ),
)
PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    arms=("single", "deep", "hyper_deep", "batch", "hyper_batch"),
    widths=(16,),
    runs=4,
    steps=60,
    batch_size=32,
    data=DataConfig(train=200, val=100),
    log_every=20,
    save_every=0,
  ),
  # The claims: noisy labels, and the arms of other regimes beside them.
  "small": Config(seeds=10, data=DataConfig(train=600, val=200, wrong=0.3)),
  # The paper's setting of LeNet and of a WRN.
  "paper": _WRN,
  "paper_cifar100": dataclasses.replace(
    _WRN,
    smoothing_range=(1e-5, 2e-5),
    l2=4.75,
    norm_l2=4.75,
    data=dataclasses.replace(_CIFAR, name="cifar100", corrupted="cifar100_c"),
  ),
  "paper_resnet20": dataclasses.replace(_WRN, model="resnet20"),
  "paper_lenet": _MNIST,
  "paper_mlp": dataclasses.replace(_MNIST, model="mlp", widths=(200, 200)),
}
