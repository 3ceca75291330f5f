"""Claims about weights: pruned, shared, of few values."""

from kd_jax.methods.compression.statements import BYTES, better, ours

CLAIMS = (
  # The target.
  ours(
    "35 times smaller",
    "pruned, shared and Huffman coded, the network is at least 35 times "
    "smaller on disk",
    ("deep", BYTES),
    35.0,
    kind="paper",
    published="40 (LeNet-300-100), 39 (LeNet-5)",
  ),
  better(
    "at no loss",
    "and loses at most 0.5 points of accuracy",
    "deep",
    "dense",
    -0.005,
    kind="paper",
    published="error 1.64 to 1.58, 0.80 to 0.74",
  ),
  better(
    "at no loss of more training",
    "also against the dense network trained on for as many steps",
    "deep",
    "longer",
    -0.005,
  ),
  # Pruning: robust to settings, good accuracy.
  better(
    "pruning once falls",
    "without tuning, 98 % pruned is at least 30 points below 90 %",
    "once_90",
    "once_98",
    0.30,
  ),
  better("tuning recovers", "tuning raises 90 %", "tuned_90", "once_90"),
  better(
    "gradual keeps the accuracy",
    "pruned gradually to 90 %, within a point of the dense network",
    "gradual_90",
    "dense",
    -0.01,
    kind="paper",
    published="1.64 to 1.59 % error at 12x (Han et al.)",
  ),
  better(
    "gradual beats once",
    "at 98 %, gradual pruning beats pruning once and tuning by 8 points",
    "gradual_98",
    "tuned_98",
    0.08,
  ),
  *(
    better(
      f"magnitude beats random at {s} %",
      f"at {s} %, magnitudes beat random masks by 8 points",
      f"tuned_{s}",
      f"random_{s}",
      0.08,
    )
    for s in (90, 95, 98)
  ),
  better(
    "global and local",
    "one threshold for all layers is better than one each at 98 %",
    "global_98",
    "gradual_98",
  ),
  # Sharing and coding.
  better(
    "sharing is free",
    "5-bit sharing of the non-zeros, untuned, is within a point of dense",
    "deep_untuned",
    "dense",
    -0.01,
  ),
  ours(
    "codes beat values",
    "codes and gaps take less than values and gaps",
    ("deep_fixed", BYTES),
    ("gradual_90", BYTES),
    kind="paper",
    published="9x to 27x (AlexNet)",
  ),
  ours(
    "Huffman adds",
    "and Huffman's code less than fixed widths",
    ("deep_untuned", BYTES),
    ("deep_fixed", BYTES),
    kind="paper",
    published="27x to 35x (AlexNet)",
  ),
  # Quantisation.
  better(
    "training through rounding",
    "at 2 bits, training through the rounding beats rounding after by 15 "
    "points",
    "qat_2",
    "ptq_2",
    0.15,
  ),
  better(
    "8 bits are free",
    "8-bit weights, untuned, are within half a point of dense",
    "ptq_8",
    "dense",
    -0.005,
  ),
  better(
    "one bit",
    "one bit a weight (the last layer stays), trained, is within 1.5 points of "
    "dense",
    "bwn",
    "dense",
    -0.015,
    kind="paper",
    published="BWN 56.8 against 56.6 (AlexNet)",
  ),
  better(
    "three values",
    "three values a weight (likewise), trained, are within 1.5 points of dense",
    "twn",
    "dense",
    -0.015,
    kind="paper",
    published="99.35 (MNIST)",
  ),
  better(
    "binary needs training",
    "and one bit, untuned, is 10 points worse than trained",
    "bwn",
    "bwn_post",
    0.10,
  ),
)
