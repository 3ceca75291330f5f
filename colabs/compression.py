# %% [markdown]
# # A student, twenty times smaller
#
# `kd3` distils a network out of web images. Here its student goes through a
# pipeline of the survey's schemes (Cheng et al., arXiv 1710.09282): norms are
# folded, small weights pruned, the others share a few values, and Huffman's
# code writes them. What is measured at the end is the network that was read
# back from the file. Three minutes on two cores.
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
# ## A student

# %%
import kd_jax

student = kd_jax.train("kd3", workdir="runs/student", arms=("kd3",), epochs=10)
print(student.table())

# %% [markdown]
# The student speaks through its teacher's classifier, behind a projector. As a
# module of one's own that is a few lines; the pipeline takes any linen module.

# %%
import flax.linen as nn

from kd_jax.methods.kd3 import data as kd3_data
from kd_jax.methods.kd3 import model as kd3_model

config = student.config
found = kd3_data.load(config.data, config.seed, {}, print)
product = student.products["kd3.student"]
head = product["teacher"]["params"]["head"]
channels, classes = head["kernel"].shape


class Deployed(nn.Module):
  def setup(self):
    self.backbone = kd3_model.network(config.student, classes)
    self.projector = kd3_model.Projector(channels, config.loss.projector_factor)
    self.head = nn.Dense(classes)

  def __call__(self, x, *, train=False):
    maps = self.backbone(x, train=train).feature_map
    return self.head(self.projector(maps, train=train).mean((1, 2)))


parts = ("backbone", "projector")
variables = {
  "params": {**{k: product["params"][k] for k in parts}, "head": head},
  "batch_stats": {k: product["batch_stats"][k] for k in parts},
}

# %% [markdown]
# ## The pipeline
#
# Left to right: each step begins where the last one ended. `fold` takes the
# norms into the layers, so that their statistics need not be stored. Illegal
# orders are refused by name.

# %%
from kd_jax.methods import compression

images = {
  name: {k: table[k] for k in ("image", "label")}
  for name, table in (("train", found.train), ("test", found.test))
}
small = compression.compress(
  Deployed(),
  variables,
  images,
  "fold | gradual:0.9 | share:4 | huffman",
  workdir="runs/small",
  mean=config.data.mean,
  std=config.data.std,
  dense_steps=1,
  tune_steps=400,
)
print(small.table())
m = small.metrics
print(f"{m['pipeline.alpha_bytes']:.1f} times smaller on disk")
print(f"{100 * m['pipeline.lost']:.1f} points of accuracy lost")

# %% [markdown]
# ## What is in the file

# %%
content = small.products["pipeline.file"]["artifact"].tobytes()
report = compression.artifact.bits(content)
print(len(content), "bytes;", report.parameters, "weights that are not zero")
for what, bits in report.bits.items():
  print(f"{what:10s} {bits / 8:8.0f} bytes")

# %% [markdown]
# Read again, and used:

# %%
apply, read = compression.read(
  Deployed(), content, mean=config.data.mean, std=config.data.std
)
test = found.test
print(
  "accuracy:", (apply(read, test["image"]).argmax(-1) == test["label"]).mean()
)

# %% [markdown]
# ## What every scheme would save here
#
# Without tuning, measured on this device. Zeros and codes make nothing faster
# by themselves, and the table says so.

# %%
mnist = kd_jax.train("compression", "tiny", workdir="runs/tiny")
print(mnist.ask("advise"))
