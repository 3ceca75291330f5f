"""What the benchmark times us against, each doing the same work beside us."""

import functools
import importlib.util
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kd_jax import accel
from kd_jax.methods.hyper_ensembles import plain_torch, runs
from kd_jax.methods.hyper_ensembles.plans import Plan

Run = Callable[[int], None]


def one_after_another(
  plan: Plan, shape: tuple[int, ...], lams: np.ndarray, data: Any
) -> Run:
  """Our own single run, compiled, in a Python loop over the search.

  Args:
    plan: of a single network.
    shape: of an image.
    lams: of each run.
    data: what they learn from.

  Returns:
    `run(n)`: n steps of each.
  """
  create = jax.jit(functools.partial(runs.create, plan, shape))
  states = [
    create(np.array([0], np.uint32), np.array([0], np.int32), lam[None])
    for lam in lams
  ]
  data = accel.place(data)
  step = jax.jit(accel.scan_steps(runs.make_step(plan)), donate_argnums=0)
  step = accel.compiled(step.lower(states[0], (data, np.int32(1))))

  def run(n):
    for i in range(len(states)):
      states[i], _ = step(states[i], (data, np.int32(n)))
    jax.block_until_ready(states)

  return run


def torch_search(
  plan: Plan, lams: np.ndarray, data: Any, *, together: bool
) -> Run:
  """The same search in PyTorch.

  Args:
    plan: of a single mlp.
    lams: of each run.
    data: what they learn from; the first division.
    together: all at once, vmapped and compiled; or one after another, eagerly.

  Returns:
    `run(n)`: n steps of each.

  Raises:
    ImportError: without PyTorch.
  """
  import torch  # noqa: F401

  rows = np.asarray(data["train"])[0]
  x = np.asarray(data["image"])[rows].reshape(len(rows), -1) / np.float32(255)
  config = plan.config
  problem = plain_torch.Problem(
    x,
    np.asarray(data["train_label"])[0],
    lams,
    config.learning_rate,
    config.steps,
    config.batch_size,
  )
  widths = (x.shape[1], *config.widths, plan.classes)
  make = plain_torch.Together if together else plain_torch.Loop
  return make(problem, widths, len(lams)).run


def batch_layers() -> Any:
  """torch-uncertainty's module of batch-ensemble layers, by itself.

  The package's own import wants lightning and torchvision, which the layers do
  not.

  Returns:
    The module.

  Raises:
    ImportError: without the library.
  """
  name = "torch_uncertainty_batch_ensemble"
  if name in sys.modules:
    return sys.modules[name]
  found = importlib.util.find_spec("torch_uncertainty")
  if found is None or not found.submodule_search_locations:
    raise ImportError("torch-uncertainty is not installed")
  folder = pathlib.Path(found.submodule_search_locations[0])
  spec = importlib.util.spec_from_file_location(
    name, folder / "layers" / "batch_ensemble.py"
  )
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


def batch_network(
  model: str, members: int, shape: tuple[int, ...], classes: int
) -> Any:
  """A batch ensemble of torch-uncertainty's layers.

  Args:
    model: "mlp" (two hidden layers of 200) or "lenet".
    members: K.
    shape: of an image, (h, w, c).
    classes: how many.

  Returns:
    The network; it takes (K b, c, h, w), members after one another.

  Raises:
    ImportError: without the library.
  """
  import torch

  layers = batch_layers()
  nn = torch.nn
  h, w, c = shape
  linear = functools.partial(layers.BatchLinear, num_estimators=members)
  if model == "mlp":
    return nn.Sequential(
      nn.Flatten(),
      linear(h * w * c, 200),
      nn.ReLU(),
      linear(200, 200),
      nn.ReLU(),
      linear(200, classes),
    )
  conv = functools.partial(
    layers.BatchConv2d, kernel_size=5, num_estimators=members, padding=2
  )
  return nn.Sequential(
    conv(c, 6),
    nn.ReLU(),
    nn.MaxPool2d(2),
    conv(6, 16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    conv(16, 120),
    nn.ReLU(),
    nn.Flatten(),
    linear(120 * (h // 4) * (w // 4), 84),
    nn.ReLU(),
    linear(84, classes),
  )


def torch_batch_ensemble(
  model: str, plan: Plan, shape: tuple[int, ...], data: Any
) -> Run:
  """Steps of a batch ensemble in PyTorch: forward, backward, Adam.

  Args:
    model: see `batch_network`.
    plan: of our own.
    shape: of an image.
    data: what it learns from; the first division.

  Returns:
    `run(n)`.

  Raises:
    ImportError: without the library.
  """
  import torch
  import torch.nn.functional as F

  members, size = plan.members, plan.config.batch_size
  net = batch_network(model, members, shape, plan.classes)
  rows = np.asarray(data["train"])[0]
  image = np.moveaxis(np.asarray(data["image"])[rows], -1, 1) / np.float32(255)
  x = torch.from_numpy(image.astype(np.float32))
  y = torch.from_numpy(np.asarray(data["train_label"])[0].astype(np.int64))
  optimizer = torch.optim.Adam(net.parameters(), plan.config.learning_rate)

  def run(n):
    for _ in range(n):
      at = torch.randint(len(x), (size,))
      # As its wrapper does: the batch is repeated for each member.
      logits = net(x[at].repeat(members, 1, 1, 1))
      loss = F.cross_entropy(logits, y[at].repeat(members))
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()

  return run
