"""What `reproduce` judges: the survey's remarks, and what a prototype saw.

Accuracies are of the network that was read from its file, on test images.
Published numbers are of MNIST or ImageNet at full size. The prototype's margins
are from one seed each; what only it saw is "ours".
"""

from kd_jax.experiment import Claim

ACCURACY, BYTES = "test_accuracy", "alpha_bytes"


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
  # Pruning: robust to settings, good accuracy.
  _better(
    "pruning once falls",
    "without tuning, 98 % pruned is at least 30 points below 90 %",
    "once_90",
    "once_98",
    0.30,
  ),
  _better("tuning recovers", "tuning recovers it", "tuned_90", "once_90"),
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
    ("deep_pruned", BYTES),
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
    "one bit a weight, trained, is within 1.5 points of dense",
    "bwn",
    "dense",
    -0.015,
    kind="paper",
    published="BWN 56.8 against 56.6 (AlexNet)",
  ),
  _better(
    "three values",
    "ternary weights, trained, are within 1.5 points of dense",
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
  # Structural matrices.
  _better(
    "hashing beats a narrow network",
    "at a 32nd of the weights, hashing beats a dense network of as many "
    "weights and layers by 10 points",
    "hashed_32",
    "narrow_32",
    0.10,
    kind="paper",
  ),
  _better(
    "more so when smaller",
    "and at a 64th by 30 points",
    "hashed_64",
    "narrow_64",
    0.30,
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
  # From scratch, and the advice to combine.
  _better(
    "fine-tuned against scratch",
    "half of the units, fine-tuned, beat the same shapes from new weights and "
    "as many steps",
    "filters",
    "scratch",
  ),
  _ours(
    "combine: smaller than pruning alone",
    "the pipeline is smaller than pruning alone to 95 %",
    ("deep", BYTES),
    ("gradual_95", BYTES),
    kind="paper",
  ),
  _ours(
    "combine: smaller than few values alone",
    "and than ternary weights alone",
    ("deep", BYTES),
    ("twn", BYTES),
    kind="paper",
  ),
  _better(
    "combine: at equal accuracy",
    "and is as accurate as the ternary one, up to half a point",
    "deep",
    "twn",
    -0.005,
    kind="paper",
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

REPRODUCED = tuple(
  dict.fromkeys(
    side[0]
    for claim in CLAIMS
    for side in (claim.baseline, claim.treatment)
    if isinstance(side, tuple)
  )
)
