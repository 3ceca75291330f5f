"""Ensembles over weights and hyperparameters.

Source: Wenzel, Snoek, Tran and Jenatton, NeurIPS 2020, arXiv 2006.13570.
"""

from kd_jax.experiment import Method
from kd_jax.methods.hyper_ensembles.arms import DESCRIBED, PRESETS
from kd_jax.methods.hyper_ensembles.cases import CASES
from kd_jax.methods.hyper_ensembles.claim import CLAIMS, REPRODUCED, SETTINGS
from kd_jax.methods.hyper_ensembles.config import Config as Config
from kd_jax.methods.hyper_ensembles.data import files
from kd_jax.methods.hyper_ensembles.loading import apply
from kd_jax.methods.hyper_ensembles.plots import plots
from kd_jax.methods.hyper_ensembles.train import phases

METHOD = Method(
  name="hyper_ensembles",
  title="Hyperparameter Ensembles for Robustness and Uncertainty "
  "Quantification",
  task="classification that knows what it does not know",
  presets=PRESETS,
  phases=phases,
  main="hyper_deep",
  headline={
    "nll": "NLL",
    "accuracy": "accuracy",
    "ece": "ECE",
    "member_nll": "member NLL",
    "disagreement": "disagreement",
    "c_nll": "corrupted NLL",
  },
  minutes={"tiny": 1.0, "small": 3.0, "small reproduce": 20.0},
  data="digits of scikit-learn (CC BY 4.0), MNIST-5k (CC BY-SA 3.0); CIFAR, "
  "Fashion-MNIST and SVHN when they are built; or your own: --data.name",
  arms=DESCRIBED,
  claims=CLAIMS,
  reproduce_arms=REPRODUCED,
  settings_tried=SETTINGS,
  cases=CASES,
  seeds_in_run=True,
  apply=apply,
  plots=plots,
  files=files,
)
