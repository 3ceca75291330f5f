"""What `reproduce` judges: the survey's remarks, and what a prototype saw.

Accuracies are of the network that was read from its file, on test images.
Published numbers are of MNIST or ImageNet at full size. The prototype's margins
are from one seed each; what only it saw is "ours".
"""

from kd_jax.methods.compression import claims_networks, claims_weights
from kd_jax.methods.compression.arms import ARMS

CLAIMS = (*claims_weights.CLAIMS, *claims_networks.CLAIMS)

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
