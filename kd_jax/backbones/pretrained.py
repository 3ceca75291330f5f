"""Weights that one already has: torchvision's and timm's residual networks.

Their names for the same parts: `conv1`, `bn1`, `layer{i}.{j}.conv{k}`,
`layer{i}.{j}.bn{k}`, `layer{i}.{j}.downsample.{0,1}`, `fc`. Kernels are stored
(out, in, h, w) there and (h, w, in, out) here. What the file holds decides on
the network: its stem, blocks, widths and classes.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import safetensors
from kd_jax.backbones.resnet import ResNet
from kd_jax.errors import UsageError

_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(.+)")
_PART = re.compile(r"(conv|bn)(\d+)")
_BATCH_NORM = {
  "weight": ("params", "scale"),
  "bias": ("params", "bias"),
  "running_mean": ("batch_stats", "mean"),
  "running_var": ("batch_stats", "var"),
}


def load_resnet(
  path: str | os.PathLike[str], **fields: Any
) -> tuple[nn.Module, dict[str, Any]]:
  """Makes a residual network with the weights of a file.

  Args:
    path: a `.safetensors` file of a torchvision or timm ResNet with basic
      blocks (resnet18, resnet34, or narrower ones), for 224x224 or, with a 3x3
      stem, for small images.
    **fields: further fields of the module (dtype, axis_name).

  Returns:
    The module and its variables, "params" and "batch_stats".

  Raises:
    UsageError: if the file holds another network; names the part.
  """
  tensors = safetensors.load(path)
  tensors = {k: v for k, v in tensors.items() if "num_batches" not in k}
  module = _module(tensors, path, fields)
  variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
  for name, value in tensors.items():
    collection, *where = _place(name, path)
    at = variables[collection]
    for part in where[:-1]:
      at = at.setdefault(part, {})
    at[where[-1]] = jnp.asarray(_transposed(value), jnp.float32)
  _compare(module, variables, tensors["conv1.weight"].shape[1], path)
  return module, variables


def _module(tensors: Mapping[str, np.ndarray], path, fields) -> ResNet:
  for name in ("conv1.weight", "fc.weight", "layer1.0.conv1.weight"):
    if name not in tensors:
      raise UsageError(f"{path} is not a ResNet: it has no {name!r}")
  if "layer1.0.conv3.weight" in tensors:
    raise UsageError(
      f"{path} is a ResNet of bottleneck blocks; basic blocks are read here "
      "(resnet18, resnet34)"
    )
  stem = tensors["conv1.weight"].shape
  if stem[2:] not in ((3, 3), (7, 7)):
    raise UsageError(f"{path} has a stem of {stem[2:]}, expected 3x3 or 7x7")
  places = [_BLOCK.match(name) for name in tensors]
  found = {(int(m[1]), int(m[2])) for m in places if m}
  stages = max(i for i, _ in found)
  blocks = tuple(sum(i == s for i, _ in found) for s in range(1, stages + 1))
  return ResNet(
    num_classes=tensors["fc.weight"].shape[0],
    blocks=blocks,
    width=stem[0],
    large=stem[2] == 7,
    **fields,
  )


def _place(name: str, path) -> tuple[str, ...]:
  """Where a tensor goes: collection, layers, parameter."""
  layer, _, leaf = name.rpartition(".")
  if layer == "fc" and leaf in ("weight", "bias"):
    return "params", "head", {"weight": "kernel", "bias": "bias"}[leaf]
  if layer in ("conv1", "bn1"):
    above, part = (), f"{layer[:-1]}_init"
  elif match := _BLOCK.match(layer):
    above = (f"stage_{int(match[1]) - 1}_block_{match[2]}",)
    inner = _PART.fullmatch(match[3])
    if inner:
      part = f"{inner[1]}_{int(inner[2]) - 1}"
    else:
      part = {"downsample.0": "conv_proj", "downsample.1": "bn_proj"}.get(
        match[3]
      )
  else:
    part = None
  if part and part.startswith("conv") and leaf == "weight":
    return "params", *above, part, "kernel"
  if part and part.startswith("bn") and leaf in _BATCH_NORM:
    collection, parameter = _BATCH_NORM[leaf]
    return collection, *above, part.replace("bn", "norm"), parameter
  raise UsageError(f"{path} has {name!r}, which no ResNet of ours has")


def _transposed(value: np.ndarray) -> np.ndarray:
  if value.ndim == 4:
    return value.transpose(2, 3, 1, 0)
  return value.T if value.ndim == 2 else value


def _compare(module: nn.Module, variables, channels: int, path) -> None:
  """Every parameter must be there, in the shape that the module has."""
  image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
  expected = jax.eval_shape(
    lambda key, x: module.init(key, x, train=False), jax.random.key(0), image
  )
  flat = {
    jax.tree_util.keystr(where): leaf.shape
    for where, leaf in jax.tree_util.tree_leaves_with_path(expected)
  }
  found = {
    jax.tree_util.keystr(where): leaf.shape
    for where, leaf in jax.tree_util.tree_leaves_with_path(variables)
  }
  for name, shape in flat.items():
    if found.get(name) != shape:
      raise UsageError(
        f"{path} gives {found.get(name, 'nothing')} for {name}, expected "
        f"{shape}"
      )
