"""The last phase of an arm: write the file, read it, measure what was read."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import experiment
from kd_jax.methods.compression import artifact, meter, ranges, trees
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.data import Tables
from kd_jax.methods.compression.model import Model, compiled
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
EVALUATED = 500


def finish(scheme: Transform, product: Mapping[str, Any]) -> PyTree:
  """A training product in deployable form.

  Args:
    scheme: what it was trained under.
    product: "variables" and "states".

  Returns:
    "params" in any form and "batch_stats", host arrays.
  """
  variables = dict(product["variables"])
  found = variables.pop("ranges", None)
  params = scheme.finalize(variables["params"], product.get("states", {}))
  if found is not None:
    params = ranges.attach(params, found)
  made = jax.device_get({**variables, "params": params})
  # -0.0 would be written as any number.
  return jax.tree.map(lambda w: w + w.dtype.type(0), made)


def accuracy(
  model: Model, variables: PyTree, columns: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """Top-1 and top-5; of equal scores the lower class counts first.

  Args:
    model: the network.
    variables: in any form.
    columns: "image" and "label".

  Returns:
    "accuracy" and "top5".
  """
  variables = jax.device_put(meter.deploy(variables))
  run = compiled(model)
  right = np.zeros(2)
  n = len(columns["label"])
  for begin in range(0, n, EVALUATED):
    label = columns["label"][begin : begin + EVALUATED]
    x = model.prepare(columns["image"][begin : begin + EVALUATED])
    logits = np.asarray(run(variables, x))
    order = np.argsort(-logits, 1, kind="stable")
    right[0] += (order[:, 0] == label).sum()
    right[1] += (order[:, :5] == label[:, None]).any(1).sum()
  return {"accuracy": right[0] / n, "top5": right[1] / n}


class Job(NamedTuple):
  """What an arm's last phase packs.

  Attributes:
    config: says whether latency is measured.
    model: the arm's network.
    reference: the dense network that it is compared with.
    scheme: what the arm was trained under.
    code: how it is written.
    found: the data.
    arm: the arm's name.
    start: the key of the last phase before.
    origin: the key of the phase that trained the arm's own dense network, for
      speed-ups.
    against: the arm that "gain" is the difference to; "" for none.
    say: takes lines of news.
  """

  config: Config
  model: Model
  reference: Model
  scheme: Transform
  code: str
  found: Tables
  arm: str
  start: str
  origin: str
  against: str = ""
  say: Callable[[str], None] = lambda line: None


def pack_phase(job: Job) -> experiment.WholeRun:
  """The phase; its product is the file, and what images it is of.

  Args:
    job: what is packed.

  Returns:
    A phase on the host. Its metrics: "test_accuracy", "test_top5" and
    "val_accuracy" of the network that was read, "lost" (points of test accuracy
    against the dense network), "gain" (over `against`, if that is in the run),
    "bytes", "bits", "parameters" and "macs", alpha in each of them, the
    survey's rates of the bytes, if asked for delta, and `meter.FLAGS`.
  """
  run = functools.partial(_pack, job)
  return experiment.WholeRun("file", run, arm=job.arm, host=True)


def _pack(job, products, data, seed):
  del data, seed
  tree = finish(job.scheme, products[job.start])
  content, report = artifact.encode(tree, job.code)
  back = artifact.decode(content)
  check_same(tree, back)
  dense = jax.device_get(products["train"]["variables"])
  values = sizes(job.reference, dense, job.model, back, len(content), report)
  values |= _accuracies(job, dense, back, products)
  own = jax.device_get(products[job.origin]["variables"])
  if job.config.latency and job.start != job.origin:
    values |= times(job.model, own, back)
  values |= _flags(job, own, back, values)
  product = {
    "artifact": np.frombuffer(content, np.uint8),
    "image": np.array(job.found.image, np.int32),
    "classes": np.array([job.found.classes], np.int32),
    "accuracy": np.array([values["test_accuracy"]]),
  }
  return product, values


def _accuracies(job, dense, back, products):
  values = {}
  for name in ("test", "val"):
    found = accuracy(job.model, back, getattr(job.found, name))
    values |= {f"{name}_{k}": float(v) for k, v in found.items()}
  plain = accuracy(job.reference, dense, job.found.test)["accuracy"]
  values["lost"] = float(plain - values["test_accuracy"])
  if other := products.get(f"{job.against}.file"):
    values["gain"] = values["test_accuracy"] - float(other["accuracy"][0])
  return values


def _flags(job, own, back, values):
  """1 for each flag that is up, and lines about them."""
  macs = (meter.multiply_adds(job.model, own), int(values["macs"]))
  deltas = {
    b: values[f"delta_batch_{b}"]
    for b in meter.BATCHES
    if f"delta_batch_{b}" in values
  }
  found = meter.flags(macs, deltas, back)
  for sentence in found.values():
    job.say(f"{job.arm}: {sentence}")
  up = {f"flag_{name}": float(name in found) for name in meter.FLAGS}
  return {**up, "simulated": max(up.values())}


def check_same(tree: PyTree, back: PyTree) -> None:
  """Refuses a file that does not read back bit for bit.

  Args:
    tree: what was written.
    back: what was read.

  Raises:
    RuntimeError: names the array that differs.
  """
  written, read = trees.flatten(tree), trees.flatten(back)
  if written.keys() != read.keys():
    raise RuntimeError("the file holds other arrays than were written")
  for path, a in written.items():
    a, b = np.asarray(a), read[path]
    if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
      raise RuntimeError(f"{path} was not read back bit for bit")


def sizes(
  reference: Model,
  dense: PyTree,
  model: Model,
  small: PyTree,
  written: int,
  report: artifact.SizeReport,
) -> dict[str, float]:
  """Sizes in three currencies, MACs, and their rates against the dense network.

  Args:
    reference: the dense network.
    dense: its variables.
    model: the small network.
    small: its variables.
    written: bytes of its file.
    report: what is in it.

  Returns:
    Numbers by name.
  """
  plain, before = artifact.encode(dense, "raw")
  macs = (
    meter.multiply_adds(reference, dense),
    meter.multiply_adds(model, small),
  )
  values = {
    "bytes": float(written),
    "bits": float(report.total_bits),
    "parameters": float(report.parameters),
    "macs": float(macs[1]),
    "alpha_parameters": before.parameters / max(1, report.parameters),
    "alpha_bits": before.total_bits / max(1, report.total_bits),
    "alpha_macs": macs[0] / max(1, macs[1]),
  }
  rates = meter.rates(len(plain), written)
  values["alpha_bytes"] = rates.pop("alpha")
  return {**values, **rates}


def times(model: Model, dense: PyTree, small: PyTree) -> dict[str, float]:
  """Delta at each batch size, and of a training step.

  Args:
    model: the module of both.
    dense: variables.
    small: other variables.

  Returns:
    Numbers by name; where zeros or codes alone were saved they are near 1.
  """
  found = meter.speed(model, dense, small)
  values = {}
  for batch, (before, after) in found.latency.items():
    values[f"ms_batch_{batch}"] = 1e3 * after
    values[f"delta_batch_{batch}"] = before / after
  if found.train is not None:
    values["delta_train"] = found.train[0] / found.train[1]
  return values
