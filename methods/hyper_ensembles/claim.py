"""What `reproduce` judges: the paper's sentences, and what we saw ourselves.

Negative log-likelihoods on held-out digits, paired over seeds. "published" is
of a WRN-28-10 on CIFAR-100 with four members (the paper's Table 2), unless it
names another source.
"""

from kd_jax.experiment import Claim
from kd_jax.methods.hyper_ensembles.arms import ARMS


def _lower(name, statement, kind, better, worse, margin=0.0, published=""):
  """`better` has the lower NLL, by more than `margin`."""
  return Claim(
    name=name,
    statement=statement,
    kind=kind,
    treatment=(better, "nll"),
    baseline=(worse, "nll"),
    margin=margin,
    published=published,
    sign=-1,
  )


_DEEP = ".661 against .811"
_HYPER = ".652 against .661"
_BATCH = ".678 against .690"

CLAIMS = (
  _lower(
    "deep beats single",
    "noisy labels: a deep ensemble of three has a lower NLL than the best "
    "single network",
    "paper",
    "deep",
    "single",
    published=_DEEP,
  ),
  _lower(
    "hyper-deep beats deep",
    "noisy labels: a hyper-deep ensemble has a lower NLL than a deep ensemble, "
    "by 0.003",
    "paper",
    "hyper_deep",
    "deep",
    0.003,
    _HYPER,
  ),
  _lower(
    "hyper-deep beats single",
    "noisy labels: and than the best single network, by 0.007",
    "paper",
    "hyper_deep",
    "single",
    0.007,
    ".652 against .811",
  ),
  _lower(
    "stratified beats fixed initialisation",
    "noisy labels: hyper-deep is better than its first stage, networks from "
    "one initialisation",
    "paper",
    "hyper_deep",
    "fixed_init",
  ),
  _lower(
    "stratification at equal budget",
    "noisy labels: hyper-deep is better than greedy selection from as many "
    "random hyperparameters and initialisations",
    "paper",
    "hyper_deep",
    "unstratified",
    published="slightly better (MLP and LeNet)",
  ),
  _lower(
    "greedy beats the top",
    "noisy labels: greedy selection from one initialisation is better than the "
    "K best single networks",
    "ours",
    "fixed_init",
    "top",
  ),
  _lower(
    "hyper-batch beats batch",
    "noisy labels: a hyper-batch ensemble has a lower NLL than a batch "
    "ensemble",
    "paper",
    "hyper_batch",
    "batch",
    published=_BATCH,
  ),
  _lower(
    "hyper-batch beats STN",
    "noisy labels: a hyper-batch ensemble has a lower NLL than a self-tuning "
    "network",
    "paper",
    "hyper_batch",
    "stn",
  ),
  Claim(
    name="an ensemble beats its mean member",
    statement="noisy labels: a hyper-batch ensemble's NLL is below its mean "
    "member's by 0.015",
    kind="sanity",
    treatment=("hyper_batch", "nll"),
    baseline=("hyper_batch", "member_nll"),
    margin=0.015,
    published=".678 against .904",
    sign=-1,
  ),
  Claim(
    name="members differ",
    statement="the members of a hyper-batch ensemble disagree on more than "
    "0.001 of the test images",
    kind="sanity",
    treatment=("hyper_batch", "disagreement"),
    baseline=1e-3,
  ),
  Claim(
    name="hyper-deep is better calibrated",
    statement="noisy labels: a hyper-deep ensemble has a lower ECE than a deep "
    "ensemble",
    kind="paper",
    treatment=("hyper_deep", "ece"),
    baseline=("deep", "ece"),
    published=".019 against .022",
    sign=-1,
  ),
  Claim(
    name="hyper-deep under corruption",
    statement="noisy labels: and a lower NLL on corrupted images",
    kind="paper",
    treatment=("hyper_deep", "c_nll"),
    baseline=("deep", "c_nll"),
    published="2.26 against 2.27 (released code)",
    sign=-1,
  ),
  _lower(
    "clean: deep beats single",
    "clean labels: a deep ensemble has a lower NLL than the best single "
    "network",
    "paper",
    "clean_deep",
    "clean_single",
    published=_DEEP,
  ),
  _lower(
    "clean: hyper-deep beats deep",
    "clean labels: a hyper-deep ensemble has a lower NLL than a deep ensemble",
    "paper",
    "clean_hyper_deep",
    "clean_deep",
    published=_HYPER,
  ),
  _lower(
    "clean: hyper-batch beats batch",
    "clean labels: a hyper-batch ensemble has a lower NLL than a batch "
    "ensemble",
    "paper",
    "clean_hyper_batch",
    "clean_batch",
    published=_BATCH,
  ),
  _lower(
    "MNIST-5k: hyper-batch beats batch",
    "MNIST-5k, 1,000 images to tune on: a hyper-batch ensemble has a lower NLL "
    "than a batch ensemble",
    "paper",
    "mnist_hyper_batch",
    "mnist_batch",
    published=_BATCH,
  ),
  _lower(
    "MNIST-5k: hyper-batch beats STN",
    "MNIST-5k: and than a self-tuning network",
    "paper",
    "mnist_hyper_batch",
    "mnist_stn",
  ),
)

# Vectors of hyperparameters that an arm chooses from, on validation images.
_NOISY = {
  **dict.fromkeys(
    ("single", "top", "fixed_init", "deep", "hyper_deep", "hyper_deep_once"), 30
  ),
  "unstratified": 36,
  "batch": 30,
  "batch_search": 30,
  **{name: 1 for name, arm in ARMS.items() if arm.kind in ("hyper", "stn")},
}
_FEWER = {"clean": 24, "mnist": 8}
SETTINGS = _NOISY | {
  f"{regime}_{arm}": min(count, many)
  for regime, count in _FEWER.items()
  for arm, many in _NOISY.items()
}

# The arms that these name, and what stands beside them in the tables.
REPRODUCED = (
  "single",
  "top",
  "fixed_init",
  "deep",
  "hyper_deep",
  "hyper_deep_once",
  "unstratified",
  "batch",
  "hyper_batch",
  "stn",
  "clean_single",
  "clean_top",
  "clean_fixed_init",
  "clean_deep",
  "clean_hyper_deep",
  "clean_batch",
  "clean_hyper_batch",
  "mnist_single",
  "mnist_batch",
  "mnist_hyper_batch",
  "mnist_stn",
)
