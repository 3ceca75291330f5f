"""The arms: pipelines by name; and the presets."""

import dataclasses
from typing import NamedTuple

from kd_jax.methods.compression.config import Config, DistilConfig


class Arm(NamedTuple):
  """A way of compressing.

  Attributes:
    text: what it is.
    pipeline: its steps; None takes the configuration's.
    widths: of a dense network of its own instead of the trained one.
  """

  text: str
  pipeline: str | None = ""
  widths: tuple[int, ...] = ()


def _hashed(part):
  return f"hashed:{1 / part} | huffman"


ARMS: dict[str, Arm] = {
  "dense": Arm("the trained network as it is"),
  "pipeline": Arm("what the field `pipeline` says", None),
  # Deep Compression, and the target.
  "deep": Arm(
    "gradual pruning, 5-bit sharing, Huffman",
    "gradual:0.92 | share:5 | huffman",
  ),
  "deep_small": Arm("the same, smaller", "gradual:0.94 | share:4 | huffman"),
  "deep_fixed": Arm(
    "the same in fixed widths", "gradual:0.9 | share:5,steps=0 | fixed"
  ),
  "deep_pruned": Arm("pruned alone, written sparse", "gradual:0.9 | fixed"),
  "deep_untuned": Arm(
    "centroids not trained", "gradual:0.9 | share:5,steps=0 | huffman"
  ),
  "han": Arm("thresholds of q std in rounds", "han:1.3 | share:5 | huffman"),
  # Masks.
  "once_90": Arm("pruned once, not tuned", "prune:0.9,steps=0"),
  "once_95": Arm("the same at 95 %", "prune:0.95,steps=0"),
  "once_98": Arm("the same at 98 %", "prune:0.98,steps=0"),
  "tuned_90": Arm("pruned once, tuned", "prune:0.9"),
  "tuned_95": Arm("the same at 95 %", "prune:0.95"),
  "tuned_98": Arm("the same at 98 %", "prune:0.98"),
  "gradual_90": Arm("pruned gradually", "gradual:0.9"),
  "gradual_95": Arm("the same at 95 %", "gradual:0.95"),
  "gradual_98": Arm("the same at 98 %", "gradual:0.98"),
  "global_98": Arm("one threshold for all layers", "gradual:0.98,scope=global"),
  "random_90": Arm("random masks, tuned", "random:0.9"),
  "random_95": Arm("the same at 95 %", "random:0.95"),
  "random_98": Arm("the same at 98 %", "random:0.98"),
  # Few values.
  "ptq_8": Arm("8-bit weights, not tuned", "int8,steps=0 | huffman"),
  "ptq_4": Arm("4-bit", "int4,steps=0 | huffman"),
  "ptq_3": Arm("3-bit", "int3,steps=0 | huffman"),
  "ptq_2": Arm("2-bit", "int2,steps=0 | huffman"),
  "qat_4": Arm("4-bit weights, trained through", "int4 | huffman"),
  "qat_3": Arm("3-bit", "int3 | huffman"),
  "qat_2": Arm("2-bit", "int2 | huffman"),
  "int8full": Arm("8-bit weights and activations", "int8full | huffman"),
  "bwn_post": Arm("one bit, not tuned", "bwn,steps=0 | huffman"),
  "bwn": Arm("one bit, trained", "bwn | huffman"),
  "twn_post": Arm("ternary, not tuned", "twn,steps=0 | huffman"),
  "twn": Arm("ternary, trained", "twn | huffman"),
  "binary": Arm("BinaryConnect", "binary | huffman"),
  # Low rank.
  "svd_10_post": Arm("rank 10, not tuned", "svd:10,steps=0"),
  "svd_25_post": Arm("rank 25", "svd:25,steps=0"),
  "svd_50_post": Arm("rank 50", "svd:50,steps=0"),
  "svd_10": Arm("rank 10, tuned", "svd:10"),
  "svd_25": Arm("rank 25", "svd:25"),
  "svd_50": Arm("rank 50", "svd:50"),
  # Structural matrices, and dense networks of as many weights.
  "hashed_8": Arm("HashedNet, an eighth", _hashed(8)),
  "hashed_32": Arm("a 32nd", _hashed(32)),
  "hashed_64": Arm("a 64th", _hashed(64)),
  "narrow_8": Arm("dense, as many weights as an eighth", "", (40, 13)),
  "narrow_32": Arm("as a 32nd", "", (10, 3)),
  "narrow_64": Arm("as a 64th", "", (5, 2)),
  "shallow_64": Arm("one hidden layer, as a 64th", "", (5,)),
  "circulant": Arm("circulant blocks of 50", "circulant:50"),
  "fastfood": Arm("Adaptive Fastfood", "fastfood"),
  "acdc": Arm("four ACDC layers", "acdc:4"),
  # Whole units.
  "filters": Arm("half of the units by L1 norm", "filters:0.5"),
  "scratch": Arm(
    "half of the units, from new weights", "filters:0.5,steps=0 | fresh"
  ),
  "random": Arm(
    "random masks, shared, Huffman", "random:0.9 | share:5 | huffman"
  ),
  "wide_half": Arm(
    "half of the units of a network of width 1,024",
    "filters:0.5",
    (1024, 1024, 1024),
  ),
  # Combinations.
  "svd_deep": Arm(
    "rank 25, pruned, shared", "svd:25 | gradual:0.7 | share:5 | huffman"
  ),
  "filters_deep": Arm(
    "half of the units, pruned, shared",
    "filters:0.5 | gradual:0.8 | share:5 | huffman",
  ),
  "prune_twn": Arm("pruned, ternary", "gradual:0.8 | twn | huffman"),
  # From a teacher (`distilling`).
  "kd_labels": Arm("a small student on few images, labels alone"),
  "kd": Arm("the same, and the teacher's softened outputs"),
  "kd_untrained": Arm("and those of an untrained teacher"),
  "kd_smooth": Arm("smoothed labels"),
  "kd_hint": Arm("labels, and the teacher's last features (a hint)"),
  "kd_attention": Arm("labels, and where the teacher's features are active"),
  "kd_similarity": Arm("labels, and which images the teacher finds alike"),
  "kd_relations": Arm("labels, and the teacher's distances and angles"),
}

DISTILLED = tuple(name for name in ARMS if name.startswith("kd"))


def _pair(teacher: str, student: str) -> Config:
  """A pair of the benchmark of representation distillation (CIFAR-100)."""
  return Config(
    arms=(
      "kd_labels",
      "kd",
      "kd_hint",
      "kd_attention",
      "kd_similarity",
      "kd_relations",
    ),
    data="cifar100",
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    crop=4,
    flip=True,
    val_images=1,
    model=teacher,
    batch_size=64,
    # 240 epochs; a tenth after 150, 180 and 210.
    dense_steps=240 * 50_000 // 64,
    drops=(150 / 240, 180 / 240, 210 / 240),
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=5e-4,
    distil=DistilConfig(teacher_model=teacher, student_model=student, images=0),
    log_every=500,
    save_every=5000,
  )


PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    arms=("dense", "pipeline", "random"),
    widths=(24, 16),
    train_images=300,
    val_images=60,
    dense_steps=40,
    tune_steps=30,
    batch_size=50,
    distil=DistilConfig(teacher=(16,), student=(8,), images=40),
    latency=False,
    log_every=20,
    save_every=0,
  ),
  # LeNet-300-100 on MNIST-5k.
  "small": Config(),
  # LeNet-5 on all of MNIST's training images but for 5,000.
  "mnist": Config(
    model="lenet5",
    arms=("dense", "deep", "filters"),
    data="mnist",
    val_images=5000,
    dense_steps=11_000,
    tune_steps=8000,
    log_every=500,
    save_every=2000,
  ),
  # Network slimming as published: VGG-19, 70 % of the channels go. The penalty
  # acts in a second training; the paper's acts in the first and only one.
  "slimming": Config(
    model="vgg19",
    arms=("dense", "pipeline"),
    pipeline="slimming:0.7,penalty=1e-4",
    data="cifar10",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    crop=4,
    flip=True,
    val_images=1,
    batch_size=64,
    dense_steps=160 * 50_000 // 64,
    tune_steps=160 * 50_000 // 64,
    drops=(0.5, 0.75),
    optimizer="sgd",
    learning_rate=0.1,
    tune_rate=0.1,
    weight_decay=1e-4,
    log_every=500,
    save_every=5000,
  ),
  # The benchmark's pairs, as published but for the norms' decay.
  "wrn40_2_wrn16_2": _pair("wrn_40_2", "wrn_16_2"),
  "resnet56_resnet20": _pair("resnet56", "resnet20"),
  "vgg13_vgg8": _pair("vgg13", "vgg8"),
  # LeNet-5 on MNIST-5k.
  "lenet5": Config(
    model="lenet5", arms=("dense", "pipeline", "filters", "random")
  ),
}


def of_arm(config: Config, arm: str) -> tuple[Config, str]:
  """An arm's configuration and pipeline.

  Args:
    config: the run's.
    arm: a key of `ARMS`.

  Returns:
    The configuration, with the arm's widths, and the pipeline's text.
  """
  own = ARMS[arm]
  text = config.pipeline if own.pipeline is None else own.pipeline
  if own.widths:
    config = dataclasses.replace(config, widths=own.widths)
  return config, text
