"""Claims about networks: low rank, structure, teachers, combinations, speed."""

from kd_jax.methods.compression.statements import BYTES, GAIN, better, ours

# The advice to combine: the smallest of the schemes alone; each is compared in
# size and in accuracy.
_SINGLE = (
  ("gradual_95", "pruning to 95 %"),
  ("bwn", "one bit a weight"),
  ("twn", "three values a weight"),
  ("qat_2", "two bits a weight, trained through the rounding,"),
)

CLAIMS = (
  # Low rank: standard pipeline, easy.
  better(
    "rank 25",
    "both hidden layers at rank 25, tuned, are within a point of dense",
    "svd_25",
    "dense",
    -0.01,
  ),
  better(
    "low rank needs tuning", "tuning helps rank 10", "svd_10", "svd_10_post"
  ),
  *(
    ours(
      f"tuning gains less at rank {b}",
      f"and it helps rank {a} more than rank {b}",
      (f"svd_{a}", GAIN),
      (f"svd_{b}", GAIN),
    )
    for a, b in ((10, 25), (25, 50))
  ),
  # Low rank with norms, in convolutions (the preset `norms`).
  better(
    "norms and low rank",
    "V/H with norms from new weights is at most half a point below its full "
    "network",
    "vh_norms_fresh",
    "cnn_norms",
    -0.005,
    kind="paper",
    published="top-5 80.56 against 80.03 (AlexNet), 90.47 against 90.60 (VGG)",
  ),
  better(
    "norms help low rank",
    "from new weights, V/H is better with norms than without",
    "vh_norms_fresh",
    "vh_fresh",
    kind="paper",
    published="top-5 80.56 against 79.66 (AlexNet)",
  ),
  ours(
    "norms help it more than the full network",
    "and they help V/H more than the full network",
    ("vh_norms_fresh", GAIN),
    ("cnn_norms", GAIN),
  ),
  better(
    "low rank from scratch",
    "with norms, V/H from new weights is as good as from trained ones, up to "
    "half a point",
    "vh_norms_fresh",
    "vh_norms",
    -0.005,
    kind="paper",
  ),
  # Structural matrices.
  better(
    "hashing beats a narrow network",
    "at a 32nd of the weights, hashing beats a dense network of as many "
    "weights and layers",
    "hashed_32",
    "narrow_32",
    kind="paper",
  ),
  ours(
    "more so when smaller",
    "and at a 64th by more",
    ("hashed_64", GAIN),
    ("hashed_32", GAIN),
    kind="paper",
  ),
  better(
    "hashing and a shallow network",
    "it also beats one hidden layer of as many weights",
    "hashed_64",
    "shallow_64",
    kind="paper",
  ),
  # Distillation.
  better(
    "a teacher helps",
    "on 200 images, a teacher's outputs help by 4 points",
    "kd",
    "kd_labels",
    0.04,
    kind="paper",
    published="74.92 against 73.26 (WRN-16-2, CIFAR-100)",
  ),
  better(
    "not any softening",
    "and more than smoothed labels",
    "kd",
    "kd_smooth",
  ),
  better(
    "not any teacher",
    "and more than an untrained teacher's",
    "kd",
    "kd_untrained",
  ),
  ours(
    "distillation depends on the student",
    "the teacher's outputs help a student of its kind more than a "
    "convolutional one",
    ("kd", GAIN),
    ("kd_across", GAIN),
    published="+1.66 (WRN-40-2 to 16-2), +2.77 (VGG13 to MobileNetV2)",
  ),
  ours(
    "hints depend on the student",
    "and a hint, too",
    ("kd_hint", GAIN),
    ("kd_hint_across", GAIN),
    published="+0.66 (VGG13 to 8), -0.46 (VGG13 to MobileNetV2)",
  ),
  # From scratch, and the advice to combine.
  better(
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
    ours(
      f"combine: smaller than {name} alone",
      f"the pipeline is smaller than {text} alone",
      ("deep", BYTES),
      (name, BYTES),
      kind="paper",
    )
    for name, text in _SINGLE
  ),
  *(
    better(
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
  ours(
    "half of the units is twice as fast",
    "with half of its units gone a network of width 1,024 is twice as fast at "
    "batch 128",
    ("wide_half", "delta_batch_128"),
    2.0,
  ),
  ours(
    "masks are no faster",
    "a pruned network that is not cut is at most 5 % faster",
    ("gradual_90", "delta_batch_128"),
    1.05,
    sign=-1,
  ),
)
