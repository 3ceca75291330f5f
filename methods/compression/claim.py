"""What `reproduce` judges: the survey's remarks, and what a prototype saw.

Accuracies are of the network that was read from its file, on test images.
Published numbers are of MNIST or ImageNet at full size. The prototype's margins
are from one seed each; what only it saw is "ours".
"""

from kd_jax.experiment import Claim
from kd_jax.methods.compression.arms import ARMS

ACCURACY, BYTES, GAIN = "test_accuracy", "alpha_bytes", "gain"


def _ours(name, statement, treatment, baseline, margin=0.0, **more) -> Claim:
  return Claim(
    name=name,
    statement=statement,
    kind=more.pop("kind", "ours"),
    treatment=treatment,
    baseline=baseline,
    margin=margin,
    **more,
  )


def _better(name, statement, a, b, margin=0.0, **more) -> Claim:
  return _ours(name, statement, (a, ACCURACY), (b, ACCURACY), margin, **more)


# The advice to combine: the smallest of the schemes alone; each is compared in
# size and in accuracy.
_SINGLE = (
  ("gradual_95", "pruning to 95 %"),
  ("bwn", "one bit a weight"),
  ("twn", "three values a weight"),
)

CLAIMS = (
  # The target.
  _ours(
    "35 times smaller",
    "pruned, shared and Huffman coded, the network is at least 35 times "
    "smaller on disk",
    ("deep", BYTES),
    35.0,
    kind="paper",
    published="40 (LeNet-300-100), 39 (LeNet-5)",
  ),
  _better(
    "at no loss",
    "and loses at most 0.5 points of accuracy",
    "deep",
    "dense",
    -0.005,
    kind="paper",
    published="error 1.64 to 1.58, 0.80 to 0.74",
  ),
  _better(
    "at no loss of more training",
    "also against the dense network trained on for as many steps",
    "deep",
    "longer",
    -0.005,
  ),
  # Pruning: robust to settings, good accuracy.
  _better(
    "pruning once falls",
    "without tuning, 98 % pruned is at least 30 points below 90 %",
    "once_90",
    "once_98",
    0.30,
  ),
  _better("tuning recovers", "tuning raises 90 %", "tuned_90", "once_90"),
  _better(
    "gradual keeps the accuracy",
    "pruned gradually to 90 %, within a point of the dense network",
    "gradual_90",
    "dense",
    -0.01,
    kind="paper",
    published="1.64 to 1.59 % error at 12x (Han et al.)",
  ),
  _better(
    "gradual beats once",
    "at 98 %, gradual pruning beats pruning once and tuning by 8 points",
    "gradual_98",
    "tuned_98",
    0.08,
  ),
  *(
    _better(
      f"magnitude beats random at {s} %",
      f"at {s} %, magnitudes beat random masks by 8 points",
      f"tuned_{s}",
      f"random_{s}",
      0.08,
    )
    for s in (90, 95, 98)
  ),
  _better(
    "global and local",
    "one threshold for all layers is better than one each at 98 %",
    "global_98",
    "gradual_98",
  ),
  # Sharing and coding.
  _better(
    "sharing is free",
    "5-bit sharing of the non-zeros, untuned, is within a point of dense",
    "deep_untuned",
    "dense",
    -0.01,
  ),
  _ours(
    "codes beat values",
    "codes and gaps take less than values and gaps",
    ("deep_fixed", BYTES),
    ("gradual_90", BYTES),
    kind="paper",
    published="9x to 27x (AlexNet)",
  ),
  _ours(
    "Huffman adds",
    "and Huffman's code less than fixed widths",
    ("deep_untuned", BYTES),
    ("deep_fixed", BYTES),
    kind="paper",
    published="27x to 35x (AlexNet)",
  ),
  # Quantisation.
  _better(
    "training through rounding",
    "at 2 bits, training through the rounding beats rounding after by 15 "
    "points",
    "qat_2",
    "ptq_2",
    0.15,
  ),
  _better(
    "8 bits are free",
    "8-bit weights, untuned, are within half a point of dense",
    "ptq_8",
    "dense",
    -0.005,
  ),
  _better(
    "one bit",
    "one bit a weight (the last layer stays), trained, is within 1.5 points of "
    "dense",
    "bwn",
    "dense",
    -0.015,
    kind="paper",
    published="BWN 56.8 against 56.6 (AlexNet)",
  ),
  _better(
    "three values",
    "three values a weight (likewise), trained, are within 1.5 points of dense",
    "twn",
    "dense",
    -0.015,
    kind="paper",
    published="99.35 (MNIST)",
  ),
  _better(
    "binary needs training",
    "and one bit, untuned, is 10 points worse than trained",
    "bwn",
    "bwn_post",
    0.10,
  ),
  # Low rank: standard pipeline, easy.
  _better(
    "rank 25",
    "both hidden layers at rank 25, tuned, are within a point of dense",
    "svd_25",
    "dense",
    -0.01,
  ),
  _better(
    "low rank needs tuning", "tuning helps rank 10", "svd_10", "svd_10_post"
  ),
  *(
    _ours(
      f"tuning gains less at rank {b}",
      f"and it helps rank {a} more than rank {b}",
      (f"svd_{a}", GAIN),
      (f"svd_{b}", GAIN),
    )
    for a, b in ((10, 25), (25, 50))
  ),
  # Low rank with norms, in convolutions (the preset `norms`).
  _better(
    "norms and low rank",
    "V/H with norms from new weights is at most half a point below its full "
    "network",
    "vh_norms_fresh",
    "cnn_norms",
    -0.005,
    kind="paper",
    published="top-5 80.56 against 80.03 (AlexNet), 90.47 against 90.60 (VGG)",
  ),
  _better(
    "norms help low rank",
    "from new weights, V/H is better with norms than without",
    "vh_norms_fresh",
    "vh_fresh",
    kind="paper",
    published="top-5 80.56 against 79.66 (AlexNet)",
  ),
  _ours(
    "norms help it more than the full network",
    "and they help V/H more than the full network",
    ("vh_norms_fresh", GAIN),
    ("cnn_norms", GAIN),
  ),
  _better(
    "low rank from scratch",
    "with norms, V/H from new weights is as good as from trained ones, up to "
    "half a point",
    "vh_norms_fresh",
    "vh_norms",
    -0.005,
    kind="paper",
  ),
  # Structural matrices.
  _better(
    "hashing beats a narrow network",
    "at a 32nd of the weights, hashing beats a dense network of as many "
    "weights and layers",
    "hashed_32",
    "narrow_32",
    kind="paper",
  ),
  _ours(
    "more so when smaller",
    "and at a 64th by more",
    ("hashed_64", GAIN),
    ("hashed_32", GAIN),
    kind="paper",
  ),
  _better(
    "hashing and a shallow network",
    "it also beats one hidden layer of as many weights",
    "hashed_64",
    "shallow_64",
    kind="paper",
  ),
  # Distillation.
  _better(
    "a teacher helps",
    "on 200 images, a teacher's outputs help by 4 points",
    "kd",
    "kd_labels",
    0.04,
    kind="paper",
    published="74.92 against 73.26 (WRN-16-2, CIFAR-100)",
  ),
  _better(
    "not any softening",
    "and more than smoothed labels",
    "kd",
    "kd_smooth",
  ),
  _better(
    "not any teacher",
    "and more than an untrained teacher's",
    "kd",
    "kd_untrained",
  ),
  _ours(
    "distillation depends on the student",
    "the teacher's outputs help a student of its kind more than a "
    "convolutional one",
    ("kd", GAIN),
    ("kd_across", GAIN),
    published="+1.66 (WRN-40-2 to 16-2), +2.77 (VGG13 to MobileNetV2)",
  ),
  _ours(
    "hints depend on the student",
    "and a hint, too",
    ("kd_hint", GAIN),
    ("kd_hint_across", GAIN),
    published="+0.66 (VGG13 to 8), -0.46 (VGG13 to MobileNetV2)",
  ),
  # From scratch, and the advice to combine.
  _better(
    "scratch against fine-tuned",
    "half of the units from new weights, as many steps in all, is at most half "
    "a point worse than fine-tuned",
    "scratch",
    "filters",
    -0.005,
    kind="paper",
    published="73.08 against 72.56 (ResNet-34-A, Liu et al. 2019)",
  ),
  *(
    _ours(
      f"combine: smaller than {name} alone",
      f"the pipeline is smaller than {text} alone",
      ("deep", BYTES),
      (name, BYTES),
      kind="paper",
    )
    for name, text in _SINGLE
  ),
  *(
    _better(
      f"combine: as accurate as {name} alone",
      f"and as accurate as {text} alone, up to half a point",
      "deep",
      name,
      -0.005,
      kind="paper",
    )
    for name, text in _SINGLE
  ),
  # Speed, on this device.
  _ours(
    "half of the units is twice as fast",
    "with half of its units gone a network of width 1,024 is twice as fast at "
    "batch 128",
    ("wide_half", "delta_batch_128"),
    2.0,
  ),
  _ours(
    "masks are no faster",
    "a pruned network that is not cut is at most 5 % faster",
    ("gradual_90", "delta_batch_128"),
    1.05,
    sign=-1,
  ),
)

# What only the preset `norms` is about, and what only others are.
_NORMS = ("cnn", "cnn_norms", "vh_norms", "vh_fresh", "vh_norms_fresh")
_NEEDED = tuple(
  dict.fromkeys(
    side[0]
    for claim in CLAIMS
    for side in (claim.baseline, claim.treatment)
    if isinstance(side, tuple)
  )
)


def _ordered(names):
  """An arm after the one that its gain is against, which comes, too."""
  after = [n for n in names if ARMS[n].against]
  first = [ARMS[n].against for n in after] + list(names)
  return tuple(dict.fromkeys([n for n in first if n not in after] + after))


REPRODUCED = {
  "small": _ordered([n for n in _NEEDED if n not in _NORMS]),
  "lenet5": ("dense", "deep"),
  "norms": _NORMS,
}

# Settings tried on validation images where there was more than one: lengths of
# the dense network's training; sparsities and bits.
TRIED = {"small": {"dense": 2, "deep": 4}}
