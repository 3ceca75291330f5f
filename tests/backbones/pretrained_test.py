"""A file with torchvision's names, and the network in it, plainly in NumPy."""

import functools

import jax
import numpy as np
import pytest
from safetensors_files import packed

from kd_jax import safetensors
from kd_jax.backbones import load_resnet, resnet_like, save_resnet
from kd_jax.errors import UsageError


def _weights(stem, width=4, blocks=(2, 1), classes=5, bottleneck=False):
  """Random weights under torchvision's names, kernels (out, in, h, w)."""
  rng = np.random.default_rng(0)
  found = {}

  def conv(name, out, into, size):
    shape = (out, into, size, size)
    found[f"{name}.weight"] = rng.normal(0, 1 / size, shape)

  def norm(name, c):
    found[f"{name}.weight"] = rng.uniform(0.5, 1.5, c)
    found[f"{name}.bias"] = rng.normal(0, 1, c)
    found[f"{name}.running_mean"] = rng.normal(0, 1, c)
    found[f"{name}.running_var"] = rng.uniform(0.5, 2, c)
    found[f"{name}.num_batches_tracked"] = np.array(3)

  conv("conv1", width, 3, stem)
  norm("bn1", width)
  into = width
  for i, count in enumerate(blocks):
    inner = width * 2**i
    out = 4 * inner if bottleneck else inner
    for j in range(count):
      at = f"layer{i + 1}.{j}"
      conv(f"{at}.conv1", inner, into, 1 if bottleneck else 3)
      norm(f"{at}.bn1", inner)
      conv(f"{at}.conv2", inner, inner, 3)
      norm(f"{at}.bn2", inner)
      if bottleneck:
        conv(f"{at}.conv3", out, inner, 1)
        norm(f"{at}.bn3", out)
      if into != out:
        conv(f"{at}.downsample.0", out, into, 1)
        norm(f"{at}.downsample.1", out)
      into = out
  found["fc.weight"] = rng.normal(0, 1, (classes, into))
  found["fc.bias"] = rng.normal(0, 1, classes)
  return {k: v.astype(np.float32) for k, v in found.items()}


def _file(path, weights):
  kinds = {"num_batches_tracked": "I64"}
  tensors = {
    k: (kinds.get(k.rsplit(".", 1)[1], "F32"), v) for k, v in weights.items()
  }
  for name, (kind, value) in tensors.items():
    if kind == "I64":
      tensors[name] = kind, value.astype(np.int64)
  path.write_bytes(packed(tensors))
  return path


def _forward(w, x, blocks=(2, 1)):
  """The network on (b, c, h, w), a loop over the kernel's places."""

  def conv(name, x, stride, pad):
    kernel = w[f"{name}.weight"]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size = kernel.shape[-1]
    out = (x.shape[2] - size) // stride + 1
    y = np.zeros((len(x), len(kernel), out, out))
    for i in range(size):
      for j in range(size):
        part = x[:, :, i::stride, j::stride][:, :, :out, :out]
        y += np.einsum("bchw,oc->bohw", part, kernel[:, :, i, j])
    return y

  def norm(name, x):
    scale, bias, mean, var = (
      w[f"{name}.{k}"][:, None, None]
      for k in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

  stem = w["conv1.weight"].shape[-1]
  stride = 2 if stem == 7 else 1
  y = np.maximum(norm("bn1", conv("conv1", x, stride, stem // 2)), 0)
  if stem == 7:
    y = np.pad(y, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    n = (y.shape[2] - 3) // 2 + 1
    windows = [
      y[:, :, i::2, j::2][:, :, :n, :n] for i in range(3) for j in range(3)
    ]
    y = np.max(windows, 0)
  for i, count in enumerate(blocks):
    for j in range(count):
      at = f"layer{i + 1}.{j}"
      stride = 2 if i and not j else 1
      if f"{at}.conv3.weight" in w:
        z = np.maximum(norm(f"{at}.bn1", conv(f"{at}.conv1", y, 1, 0)), 0)
        z = norm(f"{at}.bn2", conv(f"{at}.conv2", z, stride, 1))
        z = norm(f"{at}.bn3", conv(f"{at}.conv3", np.maximum(z, 0), 1, 0))
      else:
        z = np.maximum(norm(f"{at}.bn1", conv(f"{at}.conv1", y, stride, 1)), 0)
        z = norm(f"{at}.bn2", conv(f"{at}.conv2", z, 1, 1))
      if f"{at}.downsample.0.weight" in w:
        y = norm(f"{at}.downsample.1", conv(f"{at}.downsample.0", y, stride, 0))
      y = np.maximum(y + z, 0)
  return y.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize(
  ("stem", "bottleneck"), [(3, False), (7, False), (7, True)]
)
def test_gives_the_outputs_of_the_plain_network(tmp_path, stem, bottleneck):
  weights = _weights(stem, bottleneck=bottleneck)
  module, variables = load_resnet(_file(tmp_path / "w.safetensors", weights))
  assert (module.blocks, module.width, module.large) == ((2, 1), 4, stem == 7)
  x = np.random.default_rng(1).normal(0, 1, (2, 3, 21, 21)).astype(np.float32)
  apply = jax.jit(functools.partial(module.apply, train=False))
  got = apply(variables, x.transpose(0, 2, 3, 1)).logits
  np.testing.assert_allclose(got, _forward(weights, x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("stem", "bottleneck"), [(3, False), (7, True)])
def test_saves_what_it_loads(tmp_path, stem, bottleneck):
  weights = _weights(stem, bottleneck=bottleneck)
  module, variables = load_resnet(_file(tmp_path / "w.safetensors", weights))
  save_resnet(tmp_path / "again.safetensors", variables)
  again = safetensors.load(tmp_path / "again.safetensors")
  kept = {k: v for k, v in weights.items() if "num_batches" not in k}
  assert set(again) == set(kept)
  for name, value in kept.items():
    np.testing.assert_array_equal(again[name], value)
  assert resnet_like(variables["params"]) == module


@pytest.mark.parametrize(
  ("change", "match"),
  [
    (lambda w: w.pop("fc.weight"), "is not a ResNet: it has no 'fc.weight'"),
    (lambda w: w.pop("layer1.1.bn2.bias"), "gives nothing for .*norm_1.*bias"),
    (lambda w: w.update({"se.fc1.weight": np.ones(3)}), "has 'se.fc1.weight'"),
    (
      lambda w: w.update({"layer1.0.conv3.weight": np.ones((2, 2, 1, 1))}),
      "gives .* for .*stage_0_block_0",
    ),
    (
      lambda w: w.update({"conv1.weight": np.ones((4, 3, 5, 5))}),
      r"stem of \(5, 5\), expected 3x3 or 7x7",
    ),
    (
      lambda w: w.update({"bn1.bias": np.ones(3)}),
      r"gives \(3,\) for .*norm_in",
    ),
  ],
)
def test_other_networks_are_refused(tmp_path, change, match):
  weights = _weights(3)
  change(weights)
  weights = {k: v.astype(np.float32) for k, v in weights.items()}
  with pytest.raises(UsageError, match=match):
    load_resnet(_file(tmp_path / "w.safetensors", weights))
