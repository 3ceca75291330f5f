"""The same encoders by lightly's own code, to hold ours against.

lightly's views, backbone, heads, losses and neighbours, put together after its
CIFAR-10 benchmark; ours are `kd-jax train ssl cifar10`. As there the stem has
no ReLU (it is no layer that could be taken along). What is ours: bfloat16 by
autocast, TF32, channels last; SimCLR's head without batch norm, as in the
recipe; VICReg, which the benchmark has not, at a lower rate. It needs lightly
and torchvision, which `kd-jax` does not ask for, and an accelerator to be
quick. Views are made on the processor, which is most of the work: several
encoders, methods and runs, look at the same ones:

  pip install lightly torchvision
  python -m kd_jax.methods.ssl.lightly_peer FILE.npz simclr byol --epochs 200

FILE is what `--data.images` takes; images are 32x32, in colour.
"""

import argparse
import copy
import json
import math
import pathlib
import time
from typing import Any

import numpy as np

from kd_jax.datasets import sources
from kd_jax.datasets.errors import DataError
from kd_jax.errors import UsageError

# lightly's CIFAR-10 benchmark: SGD, a cosine without warm-up, one rate for all;
# VICReg, which it has not, is not finite after an epoch of that.
RATES = {"simclr": 0.06, "byol": 0.06, "vicreg": 0.0025}
RATE_BATCH, MOMENTUM, DECAY = 128, 0.9, 5e-4
SLOW, NEIGHBOURS, TEMPERATURE = 0.99, 200, 0.1


def main(arguments: list[str] | None = None) -> dict[str, Any]:
  """Trains encoders, and prints what their neighbours say after each epoch.

  Args:
    arguments: of the command line; the process's own if None.

  Returns:
    "knn" by "METHOD SEED" and epoch (until its loss is not finite), seconds of
    training, and the device's name. For arguments or images that cannot be
    used, and without lightly and torchvision, it says so and exits with 2.
  """
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("file", help="what --data.images takes")
  parser.add_argument("arms", nargs="+", choices=list(RATES), metavar="METHOD")
  parser.add_argument("--epochs", type=int, default=200)
  parser.add_argument("--batch-size", type=int, default=512)
  parser.add_argument("--seed", type=int, default=0, help="the first run's")
  parser.add_argument("--runs", type=int, default=1, help="of each method")
  parser.add_argument("--workers", type=int, default=8)
  parser.add_argument("--warmup", type=float, default=0.0, help="epochs")
  parser.add_argument(
    "--smooth", action="store_true", help="the rate moves each step, as ours"
  )
  parser.add_argument("--every", type=int, default=1, help="epochs to a kNN")
  parser.add_argument("--json", help="where the result goes too")
  args = parser.parse_args(arguments)
  try:
    data = load(args)
    import lightly  # noqa: F401
    import torchvision  # noqa: F401

    found = train(args, data)
  except (DataError, UsageError) as error:
    parser.error(str(error))
  except ImportError as error:
    parser.error(f"{error}: pip install lightly torchvision")
  text = json.dumps({**vars(args), **found}, indent=2)
  print(text, flush=True)
  if args.json:
    pathlib.Path(args.json).write_text(text + "\n")
  return found


def load(args: argparse.Namespace) -> dict[str, np.ndarray]:
  """Loads the images, and checks the arguments.

  Args:
    args: of `main`.

  Returns:
    "train_image", "train_label", "test_image" and "test_label".

  Raises:
    DataError: for data that cannot be used.
    UsageError: for numbers out of range, or images of another size.
  """
  for name in ("epochs", "batch_size", "every", "runs"):
    if getattr(args, name) < 1:
      raise UsageError(f"{name} is {getattr(args, name)}, expected 1 or more")
  if args.json:
    path = pathlib.Path(args.json)
    if path.is_dir() or not path.parent.is_dir():
      raise UsageError(f"{path} cannot be written: it is no file in a folder")
  if not math.isfinite(args.warmup):
    raise UsageError(f"warmup is {args.warmup}, expected a number of epochs")
  if min(args.workers, args.warmup) < 0:
    raise UsageError("workers and warmup are 0 or more")
  found = {}
  for split in ("train", "test"):
    columns = sources.load(args.file, split)
    found |= {f"{split}_{name}": column for name, column in columns.items()}
    shape = columns["image"].shape[1:]
    if shape != (32, 32, 3):
      raise UsageError(f"{split} images are {shape}, expected (32, 32, 3)")
  if args.batch_size > (count := len(found["train_label"])):
    raise UsageError(
      f"batch_size is {args.batch_size}; there are {count} images"
    )
  return found


def train(args: argparse.Namespace, data: dict[str, Any]) -> dict[str, Any]:
  """The training loop.

  Args:
    args: of `main`.
    data: the arrays.

  Returns:
    See `main`.
  """
  import torch
  from lightly.transforms import SimCLRTransform
  from PIL import Image
  from torch.utils.data import DataLoader, Dataset

  class Images(Dataset):
    def __init__(self, images, transform):
      self.images, self.transform = images, transform

    def __len__(self):
      return len(self.images)

    def __getitem__(self, i):
      return self.transform(Image.fromarray(self.images[i]))

  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  views = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)
  loader = DataLoader(
    Images(data["train_image"], views),
    args.batch_size,
    shuffle=True,
    drop_last=True,
    num_workers=args.workers,
    persistent_workers=args.workers > 0,
    pin_memory=device == "cuda",
    generator=torch.Generator().manual_seed(args.seed),
  )
  warm = args.warmup * len(loader)
  learners = {}
  for arm in dict.fromkeys(args.arms):
    for seed in range(args.seed, args.seed + args.runs):
      torch.manual_seed(seed)
      module = make_module(arm).to(device, memory_format=torch.channels_last)
      free = [p for p in module.parameters() if p.requires_grad]
      rate = RATES[arm] * args.batch_size / RATE_BATCH
      sgd = torch.optim.SGD(free, rate, momentum=MOMENTUM, weight_decay=DECAY)
      learners[f"{arm} {seed}"] = module, sgd, rate
  knn: dict[str, dict[int, float]] = {name: {} for name in learners}
  torch.manual_seed(args.seed)  # Views without workers draw from it.
  seconds, step = 0.0, 0
  for epoch in range(1, args.epochs + 1):
    if not learners:
      break
    begin = time.perf_counter()
    losses = {}
    for pair in loader:
      part = cosine(step, len(loader), args.epochs, smooth=args.smooth)
      step += 1
      pair = [
        x.to(device, non_blocking=True, memory_format=torch.channels_last)
        for x in pair
      ]
      for name, (module, sgd, rate) in learners.items():
        module.train()
        (group,) = sgd.param_groups
        group["lr"] = rate * part * (min(1.0, step / warm) if warm else 1.0)
        with torch.autocast(device, torch.bfloat16):
          loss = module(*pair)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()
        losses[name] = loss.detach()
    values = {name: float(x) for name, x in losses.items()}  # Waits for it.
    seconds += time.perf_counter() - begin
    for name, value in values.items():
      if not math.isfinite(value):
        print(f"epoch {epoch}, {name}: loss {value}, left here", flush=True)
        del learners[name]
        continue
      if epoch % args.every == 0 or epoch == args.epochs:
        knn[name][epoch] = neighbours(learners[name][0].backbone, data, device)
      print(
        f"epoch {epoch}, {name}: loss {value:.4f}, "
        f"knn {knn[name].get(epoch)}, {seconds / epoch:.1f} s an epoch of all",
        flush=True,
      )
  kind = torch.cuda.get_device_name() if device == "cuda" else "cpu"
  return {"knn": knn, "seconds": seconds, "device": kind}


def cosine(step: int, length: int, epochs: int, *, smooth: bool) -> float:
  """The rate at a step, in parts of the highest.

  Args:
    step: steps taken.
    length: of an epoch, in steps.
    epochs: of the training.
    smooth: whether it moves with every step; once an epoch, as in lightly's
      benchmark, if not (over e epochs that is 1/(2 e) more, on average).

  Returns:
    A number in (0, 1].
  """
  done = step / length if smooth else step // length
  return 0.5 * (1 + math.cos(math.pi * done / epochs))


def neighbours(backbone: Any, data: dict[str, Any], device: str) -> float:
  """Accuracy of lightly's weighted neighbours on the test images.

  Args:
    backbone: the encoder.
    data: the arrays.
    device: where it is.

  Returns:
    The share that is right.
  """
  import torch
  from lightly.transforms.utils import IMAGENET_NORMALIZE
  from lightly.utils.benchmarking import knn_predict

  mean, std = (
    torch.tensor(IMAGENET_NORMALIZE[k], device=device).view(1, 3, 1, 1)
    for k in ("mean", "std")
  )

  @torch.no_grad()
  def encode(images):
    backbone.eval()
    found = []
    for part in np.array_split(images, max(1, len(images) // 1000)):
      x = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).float() / 255
      with torch.autocast(device, torch.bfloat16):
        h = backbone((x - mean) / std).flatten(1)
      found.append(torch.nn.functional.normalize(h.float(), dim=1))
    return torch.cat(found)

  bank = encode(data["train_image"]).t().contiguous()
  labels = torch.from_numpy(data["train_label"].astype(np.int64)).to(device)
  classes, k = int(labels.max()) + 1, min(NEIGHBOURS, len(labels))
  right = 0
  queries = encode(data["test_image"])
  wanted = torch.from_numpy(data["test_label"].astype(np.int64)).to(device)
  for h, y in zip(queries.split(500), wanted.split(500), strict=True):
    first = knn_predict(h, bank, labels, classes, k, TEMPERATURE)[:, 0]
    right += int((first == y).sum())
  return right / len(wanted)


def make_module(arm: str) -> Any:
  """An encoder with its heads, whose forward pass gives the loss.

  Args:
    arm: one of RATES.

  Returns:
    The `torch.nn.Module`; its `backbone` is the encoder.
  """
  import torch
  from lightly import loss as losses
  from lightly.models import ResNetGenerator
  from lightly.models.modules import heads
  from lightly.models.utils import deactivate_requires_grad, update_momentum
  from torch import nn

  class Module(nn.Module):
    def __init__(self, projector):
      super().__init__()
      layers = list(ResNetGenerator("resnet-18").children())[:-1]
      self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
      self.projector = projector

    def project(self, x):
      return self.projector(self.backbone(x).flatten(1))

  class Joint(Module):
    def __init__(self, projector, criterion):
      super().__init__(projector)
      self.criterion = criterion

    def forward(self, first, second):
      return self.criterion(
        self.project(first).float(), self.project(second).float()
      )

  class BYOL(Module):
    def __init__(self):
      super().__init__(heads.BYOLProjectionHead(512, 1024, 256))
      self.predictor = heads.BYOLPredictionHead(256, 1024, 256)
      self.slow = copy.deepcopy(nn.ModuleList([self.backbone, self.projector]))
      deactivate_requires_grad(self.slow)
      self.criterion = losses.NegativeCosineSimilarity()

    def forward(self, first, second):
      fast = nn.ModuleList([self.backbone, self.projector])
      update_momentum(fast, self.slow, m=SLOW)
      p = [self.predictor(self.project(x)) for x in (first, second)]
      with torch.no_grad():
        z = [self.slow[1](self.slow[0](x).flatten(1)) for x in (first, second)]
      one = self.criterion(p[0].float(), z[1].float())
      return 0.5 * (one + self.criterion(p[1].float(), z[0].float()))

  if arm == "byol":
    return BYOL()
  if arm == "simclr":
    head = heads.SimCLRProjectionHead(512, 512, 128, batch_norm=False)
    return Joint(head, losses.NTXentLoss(temperature=0.5))
  return Joint(heads.VICRegProjectionHead(512, 2048, 2048), losses.VICRegLoss())


if __name__ == "__main__":
  main()
