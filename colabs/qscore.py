# %% [markdown]
# # Which images will a linear probe get wrong?
#
# The Q-Score (Kalibhat et al., AAAI 2024) says it from the representation, and
# from nothing else: no label, no probe. It asks how far those coordinates stand
# out that do so for some images, but not for all. A few minutes on two cores,
# with or without an accelerator.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os
import subprocess
import sys

SHOW = "import jax; print(jax.__version__, jax.devices())"
before = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("before:", before or "no JAX")
source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q "{source}"

# %% [markdown]
# Installing must not have moved JAX: a new version without its plugin would
# leave you on the CPU.

# %%
after = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("after: ", after)
if before and before != after:
  raise RuntimeError("the installation changed JAX or its devices")

# %% [markdown]
# ## Codes whose discriminative coordinates are known
#
# Each class owns twelve of 512 coordinates, eight generic ones are active for
# most images of every class, 150 hardly ever. Degraded images show their class
# faintly, and are mostly wrong.

# %%
import kd_jax

run = kd_jax.train("qscore", "own", workdir="runs/planted", examples=2000)
print(run.table())

# %% [markdown]
# What D is for: with every coordinate in it the generic ones turn the order
# around, and so does the score's first version.

# %%
for name in ("q", "q_all", "q_upper", "v1", "margin", "random"):
  key = f"own.{name}_auroc"
  print(f"{name:8s}", round(run.metrics[key], 3) if key in run.metrics else "-")

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# ## Your own representations
#
# Whatever encoder you have: the features of a training and a test set. Here
# they are the pixels of scikit-learn's digits through random weights.

# %%
import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
weights = np.random.default_rng(0).normal(size=(64, 256)) / 8
h = np.maximum(digits.data @ weights - 2, 0)
own = {
  "train_features": h[:1200],
  "train_labels": digits.target[:1200],
  "test_features": h[1200:],
  "test_labels": digits.target[1200:],
  "test_image": digits.images[1200:, :, :, None] * (255 / 16),
}
mine = kd_jax.train(
  "qscore", "own", data={"features": own}, workdir="runs/own_features"
)
for name in ("eps", "accuracy", "auroc", "lift", "empty", "norm_auroc"):
  print(f"{name:12s} {mine.metrics[f'own.{name}']:.3f}")
for name in ("best", "worst"):
  display(Image(filename=str(mine.workdir / "plots" / f"{name}.png")))

# %% [markdown]
# ## On arrays, without any of it
#
# Three functions, each of them jitted or differentiated as you like.

# %%
import jax

from kd_jax import losses, metrics

counts = metrics.active_counts(h[:1200], eps=2.0)
d = metrics.discriminative(100 * counts.total / counts.count)
q = metrics.q_score(h[1200:], d, eps=2.0)
print(int(d.sum()), "discriminative coordinates; scores", q[:5].round(3))


def loss(h):
  terms = {
    "q": losses.q_score_loss(h, d, eps=2.0),
    "columns": losses.column_loss(h, reduction="mean"),
  }
  return losses.combine(terms, {"q": 0.5, "columns": 1.0})[0]


print("gradient", jax.grad(loss)(h[:64].astype(np.float32)).shape)

# %% [markdown]
# A wrong file is one sentence:

# %%
try:
  kd_jax.train(
    "qscore", "own", data={"features": {**own, "test_labels": [1, 2]}}
  )
except kd_jax.errors.UsageError as error:
  print(error)

# %% [markdown]
# Next: `kd_jax.train("qscore")` trains an encoder on digits under clutter,
# fine-tunes it with the regulariser and its controls, and draws heatmaps;
# `kd_jax.reproduce("qscore")` judges the paper's six claims.
