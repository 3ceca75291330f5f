"""The teacher's training step in plain PyTorch: what one would write by hand.

The same work on the same shapes: random rows of the columns, bytes to
normalised pixels, the residual network, cross-entropy, SGD with momentum and
weight decay. Used by the benchmark alone.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from kd_jax.methods.kd3.config import Config


def training(
  config: Config, columns: Mapping[str, np.ndarray], blocks: tuple[int, ...]
) -> Callable[[int], None]:
  """Builds the training loop.

  Args:
    config: batch size, normalisation and optimizer are read; images are not
      augmented.
    columns: "image", bytes, and "label".
    blocks: residual blocks of each stage.

  Returns:
    `run(n)`: n steps, on the CPU or on the accelerator that PyTorch finds.
  """
  torch.manual_seed(0)
  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  images = torch.as_tensor(columns["image"]).permute(0, 3, 1, 2)
  images = images.contiguous().to(device)
  labels = torch.as_tensor(columns["label"]).long().to(device)
  network = network_of(blocks, images.shape[1], int(labels.max()) + 1)
  network.to(device).train()
  mean, std = (
    torch.tensor(s, device=device).reshape(1, -1, 1, 1)
    for s in (config.data.mean, config.data.std)
  )
  optim = config.teacher_optim
  sgd = torch.optim.SGD(
    network.parameters(),
    optim.learning_rate,
    momentum=optim.momentum,
    weight_decay=optim.weight_decay,
  )

  def run(n):
    loss = torch.zeros(())
    for _ in range(n):
      rows = torch.randint(len(labels), (config.batch_size,), device=device)
      x = (images[rows].float() / 255 - mean) / std
      sgd.zero_grad()
      loss = nn.functional.cross_entropy(network(x), labels[rows])
      loss.backward()
      sgd.step()
    loss.item()  # Waits for the device.

  return run


def network_of(
  blocks: tuple[int, ...], channels: int, classes: int, width: int = 64
) -> nn.Module:
  """The residual network for small images (`backbones.ResNet`).

  Args:
    blocks: of each stage; every stage but the first halves the image.
    channels: of the images.
    classes: how many logits.
    width: channels of the first stage.

  Returns:
    The network, of images (b, c, h, w).
  """
  layers = [*_conv_norm(channels, width, 3, 1), nn.ReLU()]
  before = width
  for stage, count in enumerate(blocks):
    for place in range(count):
      stride = 2 if stage > 0 and place == 0 else 1
      layers.append(_Block(before, width * 2**stage, stride))
      before = width * 2**stage
  head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
  return nn.Sequential(*layers, *head)


class _Block(nn.Module):
  """Two 3x3 convolutions beside a shortcut."""

  def __init__(self, before: int, width: int, stride: int):
    super().__init__()
    self.way = nn.Sequential(
      *_conv_norm(before, width, 3, stride),
      nn.ReLU(),
      *_conv_norm(width, width, 3, 1),
    )
    same = stride == 1 and before == width
    self.shortcut = nn.Sequential(
      *([] if same else _conv_norm(before, width, 1, stride))
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(self.shortcut(x) + self.way(x))


def _conv_norm(before, width, kernel, stride):
  conv = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
  return conv, nn.BatchNorm2d(width)
