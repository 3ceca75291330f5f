"""The arms: pipelines by name."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_jax import fields
from kd_jax.methods.compression.config import Config


class Arm(NamedTuple):
  """A way of compressing.

  Attributes:
    text: what it is.
    pipeline: its steps; None takes the configuration's.
    own: fields of the configuration, of a dense network of its own instead of
      the trained one.
    against: an arm before it in a run; its "gain" is the difference of their
      test accuracies.
  """

  text: str
  pipeline: str | None = ""
  own: Mapping[str, Any] = {}
  against: str = ""


def _hashed(part, text):
  steps = f"hashed:{1 / part} | huffman"
  return Arm(f"HashedNet, {text}", steps, against=f"narrow_{part}")


def _narrow(*widths):
  """A dense network with the weights of what it is beside, trained as long.

  Biases and the last layer, which hashing leaves, are counted.
  """
  return "tune", {"model": "lenet_300_100", "widths": widths}


def _masks(level):
  """The arms of a sparsity in percent; files hold what is not zero."""
  s = level / 100
  return {
    f"once_{level}": Arm(
      f"{level} % pruned once, not tuned", f"prune:{s},steps=0 | huffman"
    ),
    f"tuned_{level}": Arm(
      "pruned once, tuned", f"prune:{s} | huffman", against=f"once_{level}"
    ),
    f"gradual_{level}": Arm("pruned gradually", f"gradual:{s} | huffman"),
    f"random_{level}": Arm("random masks, tuned", f"random:{s} | huffman"),
  }


def _rank(r):
  return {
    f"svd_{r}_post": Arm(f"rank {r}, not tuned", f"svd:{r},steps=0"),
    f"svd_{r}": Arm(f"rank {r}, tuned", f"svd:{r}", against=f"svd_{r}_post"),
  }


def _bits(b):
  return {
    f"ptq_{b}": Arm(f"{b}-bit, not tuned", f"int{b},steps=0 | huffman"),
    f"qat_{b}": Arm(
      f"{b}-bit, trained through", f"int{b} | huffman", against=f"ptq_{b}"
    ),
  }


_CNN = {"widths": (), "model": "cnn"}
_CNN_NORMS = {"widths": (), "model": "cnn_norms"}
_ACROSS = {"distil.student_model": "cnn"}

ARMS: dict[str, Arm] = {
  "dense": Arm("the trained network as it is"),
  "longer": Arm("the same, trained on as long as `deep`", "tune,times=3"),
  "pipeline": Arm("what the field `pipeline` says", None),
  # Deep Compression, and the target.
  "deep": Arm(
    "gradual pruning, 5-bit sharing, Huffman",
    "gradual:0.92,times=2 | share:5 | huffman",
  ),
  "deep_small": Arm("the same, smaller", "gradual:0.94 | share:4 | huffman"),
  "deep_pruned": Arm("pruned alone, fixed widths", "gradual:0.9 | fixed"),
  "deep_fixed": Arm(
    "shared too, fixed widths", "gradual:0.9 | share:5,steps=0 | fixed"
  ),
  "deep_untuned": Arm(
    "Huffman too; centroids not trained",
    "gradual:0.9 | share:5,steps=0 | huffman",
  ),
  "han": Arm("thresholds of q std in rounds", "han:1.3 | share:5 | huffman"),
  # Masks.
  **_masks(90),
  **_masks(95),
  **_masks(98),
  "global_98": Arm(
    "one threshold for all layers", "gradual:0.98,scope=global | huffman"
  ),
  # Few values.
  **_bits(8),
  **_bits(4),
  **_bits(3),
  **_bits(2),
  "int8full": Arm("8-bit weights and activations", "int8full | huffman"),
  "bwn_post": Arm("one bit, not tuned", "bwn,steps=0 | huffman"),
  "bwn": Arm("one bit, trained", "bwn | huffman", against="bwn_post"),
  "twn_post": Arm("ternary, not tuned", "twn,steps=0 | huffman"),
  "twn": Arm("ternary, trained", "twn | huffman", against="twn_post"),
  "binary": Arm("BinaryConnect", "binary | huffman"),
  # Low rank.
  **_rank(10),
  **_rank(25),
  **_rank(50),
  # Low rank in convolutions, with and without norms.
  "cnn": Arm("a network of convolutions", "tune", _CNN),
  "cnn_norms": Arm("the same with norms", "tune", _CNN_NORMS, "cnn"),
  "vh": Arm("V/H filters of the trained one, tuned", "vh:0.25", _CNN),
  "vh_norms": Arm(
    "V/H of the trained one with norms, tuned", "vh:0.25", _CNN_NORMS
  ),
  "vh_fresh": Arm(
    "V/H from new weights",
    "vh:0.25,steps=0 | fresh,times=3",
    # Its shapes alone are used.
    {**_CNN, "dense_steps": 1},
  ),
  "vh_norms_fresh": Arm(
    "V/H from new weights, with norms",
    "vh:0.25,steps=0 | fresh,times=3",
    _CNN_NORMS,
    "vh_fresh",
  ),
  # Structural matrices, and dense networks of as many weights.
  "hashed_8": _hashed(8, "an eighth of the weights"),
  "hashed_32": _hashed(32, "a 32nd"),
  "hashed_64": _hashed(64, "a 64th"),
  "narrow_8": Arm("dense, as many weights as an eighth", *_narrow(43, 16)),
  "narrow_32": Arm("as a 32nd", *_narrow(12, 4)),
  "narrow_64": Arm("as a 64th", *_narrow(7, 3)),
  "shallow_64": Arm("one hidden layer, as a 64th", *_narrow(7)),
  "circulant": Arm("circulant blocks of 50", "circulant:50"),
  "fastfood": Arm("Adaptive Fastfood", "fastfood"),
  "acdc": Arm("four ACDC layers", "acdc:4"),
  # Whole units.
  "filters": Arm("half of the units by L1 norm", "filters:0.5"),
  "scratch": Arm(
    "half of the units, from new weights, as many steps as `filters` had",
    "filters:0.5,steps=0 | fresh,times=3",
  ),
  "random": Arm(
    "random masks, shared, Huffman", "random:0.9 | share:5 | huffman"
  ),
  "wide_half": Arm(
    "half of the units of a network of width 1,024",
    "filters:0.5,steps=0",
    {"model": "lenet_300_100", "widths": (1024,) * 3, "dense_steps": 100},
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
  "kd": Arm(
    "the same, and the teacher's softened outputs", against="kd_labels"
  ),
  "kd_untrained": Arm("and those of an untrained teacher"),
  "kd_smooth": Arm("smoothed labels"),
  "kd_hint": Arm(
    "labels, and the teacher's last features (a hint)", against="kd_labels"
  ),
  "kd_fitnet": Arm(
    "FitNets: the lower layers by a hint first, then the outputs",
    against="kd_labels",
  ),
  "kd_attention": Arm(
    "labels, and where the teacher's features are active", against="kd_labels"
  ),
  "kd_similarity": Arm(
    "labels, and which images the teacher finds alike", against="kd_labels"
  ),
  "kd_relations": Arm(
    "labels, and the teacher's distances and angles", against="kd_labels"
  ),
  "kd_labels_across": Arm(
    "a student of another kind, labels alone", own=_ACROSS
  ),
  "kd_across": Arm(
    "the same, and the teacher's outputs",
    own=_ACROSS,
    against="kd_labels_across",
  ),
  "kd_hint_across": Arm(
    "the same, and a hint", own=_ACROSS, against="kd_labels_across"
  ),
}

DISTILLED = tuple(name for name in ARMS if name.startswith("kd"))


def of_arm(config: Config, arm: str) -> tuple[Config, str]:
  """An arm's configuration and pipeline.

  Args:
    config: the run's.
    arm: a key of `ARMS`.

  Returns:
    The configuration with the arm's own fields, and the pipeline's text.
  """
  mine = ARMS[arm]
  text = config.pipeline if mine.pipeline is None else mine.pipeline
  return fields.override(config, mine.own), text


def kind(arm: str) -> str:
  """The loss of an arm that learns from a teacher: "kd_hint_across" is kd_hint.

  Args:
    arm: a name that begins with "kd".

  Returns:
    The name without what it is put to.
  """
  return arm.removesuffix("_across")
