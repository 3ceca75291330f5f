"""The same networks and step in plain PyTorch, to be timed beside ours.

As a user of PyTorch writes them: channels last, TF32 allowed where JAX uses it,
automatic mixed precision for bfloat16, the images on the device as bytes.
PyTorch is imported when it is needed.
"""

from collections.abc import Callable
from typing import Any

# (blocks of each stage, whether they are bottlenecks, whether images are large)
_RESNETS = {
  "resnet18": ((2, 2, 2, 2), False, False),
  "resnet50": ((3, 4, 6, 3), True, True),
}
_IMAGES = 2048


def make_run(
  name: str,
  size: int,
  classes: int,
  batch_size: int,
  *,
  dtype: str = "float32",
  compiled: bool = False,
) -> Callable[[int], None]:
  """Makes a training step and everything that it works on.

  Args:
    name: "resnet18", "resnet50" or "wrn_28_10".
    size: height and width of the images.
    classes: logits.
    batch_size: images per step.
    dtype: "bfloat16" turns on automatic mixed precision.
    compiled: whether the step goes through `torch.compile`.

  Returns:
    `run(n)`, which takes n steps and returns when they are done.

  Raises:
    ImportError: where PyTorch is not installed.
  """
  import torch

  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  network = make_network(name, classes).to(device)
  network = network.to(memory_format=torch.channels_last).train()
  optimizer = torch.optim.SGD(
    network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4
  )
  images = torch.randint(
    0, 256, (_IMAGES, 3, size, size), dtype=torch.uint8, device=device
  ).to(memory_format=torch.channels_last)
  labels = torch.randint(0, classes, (_IMAGES,), device=device)

  def loss_of(x, y):
    x = (x.float() / 255 - 0.5) / 0.25
    with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
      logits = network(x)
    return torch.nn.functional.cross_entropy(logits.float(), y)

  if compiled:
    loss_of = torch.compile(loss_of)

  def run(n: int) -> None:
    for _ in range(n):
      rows = torch.randint(0, _IMAGES, (batch_size,), device=device)
      optimizer.zero_grad(set_to_none=True)
      loss = loss_of(images[rows], labels[rows])
      loss.backward()
      optimizer.step()
    loss.item()
    if device == "cuda":
      torch.cuda.synchronize()

  return run


def make_network(name: str, classes: int) -> Any:
  """The network as a `torch.nn.Module`.

  Args:
    name: "resnet18", "resnet50" or "wrn_28_10".
    classes: logits.

  Returns:
    The module.
  """
  if name == "wrn_28_10":
    return _wide(4, 10, classes)
  blocks, bottleneck, large = _RESNETS[name]
  return _resnet(blocks, bottleneck, large, classes)


def _conv(inputs, outputs, size, stride=1):
  from torch import nn

  return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def _resnet(blocks, bottleneck, large, classes):
  from torch import nn

  stem = _conv(3, 64, 7 if large else 3, 2 if large else 1)
  layers = [stem, nn.BatchNorm2d(64), nn.ReLU()]
  layers += [nn.MaxPool2d(3, 2, 1)] if large else []
  channels = 64
  for stage, count in enumerate(blocks):
    for place in range(count):
      stride = 2 if stage and not place else 1
      block, channels = _block(channels, 64 * 2**stage, stride, bottleneck)
      layers.append(block)
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  return nn.Sequential(*layers, nn.Linear(channels, classes))


def _block(inputs, width, stride, bottleneck):
  from torch import nn

  if bottleneck:
    outputs = 4 * width
    layers = [(inputs, width, 1, 1), (width, width, 3, stride)]
    layers.append((width, outputs, 1, 1))
  else:
    outputs = width
    layers = [(inputs, width, 3, stride), (width, width, 3, 1)]
  parts = []
  for layer in layers:
    parts += [_conv(*layer), nn.BatchNorm2d(layer[1]), nn.ReLU()]
  branch = nn.Sequential(*parts[:-1])
  shortcut = nn.Identity()
  if stride != 1 or inputs != outputs:
    projected = _conv(inputs, outputs, 1, stride)
    shortcut = nn.Sequential(projected, nn.BatchNorm2d(outputs))
  return _sum_of(branch, shortcut, nn.ReLU()), outputs


def _wide(count, widen, classes):
  """Zagoruyko and Komodakis: norm and ReLU before each convolution."""
  from torch import nn

  layers, channels = [_conv(3, 16, 3)], 16
  for stage in range(3):
    width = 16 * widen * 2**stage
    for place in range(count):
      stride = 2 if stage and not place else 1
      layers.append(_wide_block(channels, width, stride))
      channels = width
  layers += [nn.BatchNorm2d(channels), nn.ReLU()]
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
  return nn.Sequential(*layers, nn.Linear(channels, classes))


def _wide_block(inputs, width, stride):
  from torch import nn

  first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
  branch = nn.Sequential(
    _conv(inputs, width, 3, stride),
    nn.BatchNorm2d(width),
    nn.ReLU(),
    _conv(width, width, 3),
  )
  if inputs == width:
    return _sum_of(nn.Sequential(first, branch), nn.Identity(), nn.Identity())
  shortcut = _conv(inputs, width, 1, stride)
  return nn.Sequential(first, _sum_of(branch, shortcut, nn.Identity()))


def _sum_of(branch, shortcut, after):
  """A module that adds two ways through it."""
  from torch import nn

  class Sum(nn.Module):
    def __init__(self):
      super().__init__()
      self.branch, self.shortcut, self.after = branch, shortcut, after

    def forward(self, x):
      return self.after(self.branch(x) + self.shortcut(x))

  return Sum()
