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
from kd_jax.backbones.resnet import BasicBlock, Bottleneck, ResNet
from kd_jax.errors import UsageError

_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(.+)")
_OURS = re.compile(r"stage_(\d+)_block_(\d+)")
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
    path: a `.safetensors` file of a torchvision or timm ResNet (resnet18 to
      resnet152, or narrower ones), for 224x224 or, with a 3x3 stem, for small
      images.
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


def save_resnet(
  path: str | os.PathLike[str], variables: Mapping[str, Any]
) -> None:
  """Writes a residual network's weights under torchvision's names.

  Args:
    path: the `.safetensors` file.
    variables: "params" and "batch_stats" of a `ResNet`.
  """
  found = {}
  for collection in ("params", "batch_stats"):
    leaves = jax.tree_util.tree_leaves_with_path(variables[collection])
    for where, leaf in leaves:
      *layers, parameter = [step.key for step in where]
      value = np.asarray(leaf)
      if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
      found[_their_name(layers, parameter)] = (
        value.T if value.ndim == 2 else value
      )
  safetensors.save(path, found)


def _their_name(layers: list[str], parameter: str) -> str:
  leaf = {"kernel": "weight", "scale": "weight", "bias": "bias"}.get(
    parameter, f"running_{parameter}"
  )
  *above, part = layers
  if part == "head":
    return f"fc.{leaf}"
  kind, _, place = part.replace("norm", "bn").partition("_")
  if place == "init":
    return f"{kind}1.{leaf}"
  match = _OURS.fullmatch(above[0])
  at = f"layer{int(match[1]) + 1}.{match[2]}"
  if place == "proj":
    return f"{at}.downsample.{int(kind == 'bn')}.{leaf}"
  return f"{at}.{kind}{int(place) + 1}.{leaf}"


def resnet_like(params: Mapping[str, Any], **fields: Any) -> nn.Module:
  """The residual network that parameters belong to.

  Args:
    params: of a `ResNet`.
    **fields: further fields of the module (dtype, axis_name).

  Returns:
    The module.
  """
  names = [_OURS.fullmatch(name) for name in params]
  stages = [int(match[1]) for match in names if match]
  stem = params["conv_init"]["kernel"].shape
  return ResNet(
    num_classes=params["head"]["kernel"].shape[-1],
    blocks=tuple(stages.count(i) for i in range(max(stages) + 1)),
    width=stem[-1],
    block=_block("conv_2" in params["stage_0_block_0"]),
    large=stem[0] == 7,
    **fields,
  )


def _block(third: bool):
  """Whether blocks have a third convolution."""
  return Bottleneck if third else BasicBlock


def _module(tensors: Mapping[str, np.ndarray], path, fields) -> ResNet:
  for name in ("conv1.weight", "fc.weight", "layer1.0.conv1.weight"):
    if name not in tensors:
      raise UsageError(f"{path} is not a ResNet: it has no {name!r}")
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
    block=_block("layer1.0.conv3.weight" in tensors),
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
