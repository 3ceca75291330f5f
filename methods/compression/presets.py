"""The presets: what is trained, on what, for how long."""

from kd_jax.methods.compression.config import Config, DistilConfig


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
    distil=DistilConfig(
      teacher_model=teacher, student_model=student, images=0, rate=0.05
    ),
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
  "resnet32x4_resnet8x4": _pair("resnet32x4", "resnet8x4"),
  "resnet110_resnet20": _pair("resnet110_projected", "resnet20_projected"),
  "resnet110_resnet32": _pair("resnet110_projected", "resnet32_projected"),
  "vgg13_mobilenet_v2": _pair("vgg13", "mobilenet_v2_half"),
  "wrn40_2_wrn40_1": _pair("wrn_40_2", "wrn_40_1"),
  "wrn40_2_wrn16_2": _pair("wrn_40_2", "wrn_16_2"),
  "resnet56_resnet20": _pair("resnet56_projected", "resnet20_projected"),
  "vgg13_vgg8": _pair("vgg13", "vgg8"),
  # LeNet-5 on MNIST-5k.
  "lenet5": Config(
    model="lenet5",
    arms=("dense", "pipeline", "filters", "random"),
  ),
  # What norms do for low rank: small convolutional networks on MNIST-5k.
  "norms": Config(model="cnn_norms", arms=("cnn_norms", "vh_norms_fresh")),
}
