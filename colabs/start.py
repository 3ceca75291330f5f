# %% [markdown]
# # kd_jax: start here
#
# A teacher trained on real images is distilled into a small student that never
# sees one of them: it learns from somebody else's images, most of which show
# something else (KD³, Tang et al., ICCV 2023). It takes a few minutes on a
# free runtime, with or without an accelerator.
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
# !%pip install -q {source}

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
# One call trains the teacher, three students on the web images and one on the
# original ones (the upper bound), each with the same number of steps.

# %%
import kd_jax

run = kd_jax.train("kd3", workdir="runs/start")
print(run.table())

# %% [markdown]
# Each student's accuracy beside the teacher's; what the selection did over
# time; what it kept and what it threw away.

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# The trained student, as a function and its variables:

# %%
import numpy as np

apply, variables = kd_jax.load(run.workdir)
images = np.zeros((2, 14, 14, 1), np.float32)
print(apply(variables, images).shape)

# %% [markdown]
# A loss of the suite is a plain function with a value per example; it works in
# any loop.

# %%
import jax

from kd_jax import losses

teacher = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
student = np.zeros((4, 5), np.float32)
print(losses.distillation_kl(student, teacher, temperature=4.0))
print(
  jax.grad(lambda s: losses.distillation_kl(s, teacher).mean())(student).shape
)

# %% [markdown]
# What a step costs on this device:

# %%
from kd_jax import throughput

rows = kd_jax.benchmark(["kd3"], seconds=1.0)
print(throughput.table(rows))

# %% [markdown]
# Next: `kd_jax.reproduce("kd3")` judges the paper's sentences over five seeds;
# the method's README says what was found.
