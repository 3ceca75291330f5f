"""The steps that a pipeline may be made of."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  binary_connect,
  channels,
  factors,
  magnitude,
  protocol,
  ranges,
  sharing,
  tables,
  thresholds,
  trees,
  values,
)
from kd_jax.methods.compression.model import Model
from kd_jax.methods.compression.protocol import Transform


class Kind(NamedTuple):
  """What a name stands for.

  Attributes:
    make: `(context, value, options) -> Transform`; None for a code.
    value: the default value; None where there is none to give.
    options: names it takes, beside those of `pipeline.TRAINING`.
    trains: whether it trains at all.
    help: a line.
    kind: what may stand after it.
  """

  make: Callable[..., Transform] | None
  value: float | None
  options: tuple[str, ...]
  trains: bool
  help: str
  kind: protocol.Kind


@dataclasses.dataclass(frozen=True)
class Context:
  """What a step may need to know.

  Attributes:
    model: the network.
    order: its kernels' paths, in the order of their calls.
    steps: how long the step trains.
    convolves: whether its first layer is a convolution.
  """

  model: Model
  order: tuple[str, ...]
  steps: int
  convolves: bool = False

  @property
  def last(self) -> str:
    """The classifier's kernel, which the schemes treat gently."""
    return self.order[-1] + "*"


def context(
  model: Model, params: Any, order: tuple[str, ...], steps: int
) -> Context:
  """What steps need to know about a network.

  Args:
    model: the network.
    params: its dense parameters, or their shapes.
    order: as in `Context`.
    steps: as there.

  Returns:
    The context.
  """
  first = trees.get(params, order[0]) if order else None
  return Context(model, order, steps, getattr(first, "ndim", 0) == 4)


def _whole(name, value, least=1):
  """A number that must be whole."""
  if not (math.isfinite(value) and value == int(value) and value >= least):
    raise UsageError(f"{name} is {value:g}; it is a whole number from {least}")
  return int(value)


def _gradual(context, value, options):
  n, part = context.steps, options.pop("end", 0.7)
  if not 0 < part <= 1:
    raise UsageError(f"gradual: end is {part:g}; it is above 0, at most 1")
  # Begins at once, since the network is trained; a third is for recovery.
  end = int(part * n)
  every = max(1, end // _whole("gradual: events", options.pop("events", 14)))
  options["schedule"] = (0, max(every, end), every)
  return _prune(context, value, options)


def _prune(context, value, options):
  # Few weights, and much depends on them.
  first = options.pop("first", 0.4 if context.convolves else 1.0)
  gentle = {context.last: options.pop("last", 0.5)}
  gentle.setdefault(context.order[0] + "*", first)
  options["gentle"] = gentle
  return magnitude.prune(value, **options)


def _random(context, value, options):
  return _prune(context, value, {**options, "random": True})


def _han(context, value, options):
  n, count = context.steps, _whole("han: rounds", options.pop("rounds", 3))
  rounds = [i * n // (count + 1) for i in range(count)]
  return thresholds.han(value, rounds=rounds, **options)


def _integer(context, value, options):
  return values.integer(_whole("int", value), **options)


def _share(context, value, options):
  bits = [_whole("share", v) for v in (value, options.pop("conv", value))]
  return sharing.share(bits[0], conv_bits=bits[1], **options)


def _xnor(context, value, options):
  return values.xnor(first=context.order[0], exclude=(context.last,))


def _floats(make):
  """The last layer stays as it is."""
  return lambda c, value, options: make(exclude=(c.last,), **options)


def _low_rank(name):
  return lambda c, value, options: factors.low_rank(
    name, value, exclude=(c.last,), **options
  )


def _table(name):
  return lambda c, value, options: tables.table(
    name, value, exclude=(c.last,), **options
  )


def _filters(context, value, options):
  how = {k: bool(v) for k, v in options.items() if k != "round_to"}
  how["round_to"] = _whole("filters: round_to", options.get("round_to", 1))
  return channels.filters(context.model, value, **how)


def _slimming(context, value, options):
  for name in ("least", "round_to"):
    options[name] = _whole(f"slimming: {name}", options.get(name, 1))
  return channels.slimming(context.model, value, **options)


def _fresh(context, value, options):
  return protocol.fresh()


def _tune(context, value, options):
  return protocol.tune()


def _fold(context, value, options):
  return ranges.folding(context.model)


def _eight_bit(context, value, options):
  if "delay" in options:
    options["delay"] = _whole("int8full: delay", options["delay"], 0)
  return ranges.eight_bit(**options)


_MASKS = ("on", "scope", "last", "first")
# Name -> (transform, default value, options, help).
_STEPS = {
  "filters": (
    _filters,
    0.5,
    ("greedy", "round_to", "tied"),
    "filters of small L1 norm go, by layer",
  ),
  "slimming": (
    _slimming,
    0.5,
    ("penalty", "least", "round_to"),
    "channels of small norm scales go, over all layers",
  ),
  "fold": (_fold, None, (), "norms into the layers before them"),
  "fresh": (_fresh, None, (), "new weights at the same shapes"),
  "tune": (_tune, None, (), "trained on"),
  "svd": (_low_rank("svd"), 0.25, ("on",), "dense kernels of rank R"),
  "cp": (_low_rank("cp"), 0.5, ("on",), "convolutions of CP rank R"),
  "tucker": (_low_rank("tucker"), 0.5, ("on",), "convolutions by Tucker-2"),
  "vh": (_low_rank("vh"), 0.25, ("on",), "vertical and horizontal filters"),
  "hashed": (_table("hashed"), 0.125, ("on",), "HashedNets, a part of entries"),
  "circulant": (_table("circulant"), 32, ("on",), "circulant blocks"),
  "fastfood": (_table("fastfood"), 1, ("on",), "Adaptive Fastfood"),
  "acdc": (_table("acdc"), 2, ("on",), "ACDC layers"),
  "prune": (_prune, 0.9, _MASKS, "small weights go, once"),
  "gradual": (
    _gradual,
    0.9,
    (*_MASKS, "end", "events"),
    "small weights go, by the cubic schedule",
  ),
  "han": (_han, 1.5, ("on", "rounds"), "|w| below q std goes, in rounds"),
  "random": (_random, 0.9, _MASKS, "random weights go"),
  "share": (_share, 5, ("on", "conv", "start"), "2^b shared values"),
  "int": (_integer, 8, ("on",), "integer weights, trained through it"),
  "int8full": (
    _eight_bit,
    None,
    ("on", "delay"),
    "integer weights and activations",
  ),
  "bwn": (_floats(values.bwn), None, ("on",), "one bit, a scale per filter"),
  "xnor": (_xnor, None, (), "one bit, inputs too"),
  "twn": (_floats(values.ternary), None, ("on", "per_filter"), "ternary"),
  "binary": (
    _floats(binary_connect.binary_connect),
    None,
    ("on",),
    "BinaryConnect, deterministic",
  ),
  "stochastic": (
    _floats(functools.partial(binary_connect.binary_connect, stochastic=True)),
    None,
    ("on",),
    "BinaryConnect, stochastic",
  ),
  "fixed": (None, None, (), "written in fixed widths"),
  "huffman": (None, None, (), "written by Huffman's code"),
}
_CUTS = ("filters", "slimming", "fold")
_FACTORS = ("svd", "cp", "tucker", "vh")
_MASKED = ("prune", "gradual", "han", "random", "fresh", "tune")


def _place(name: str) -> protocol.Kind:
  """The kind of a step, which says what may stand after it."""
  if name in _CUTS:
    return "shape"
  if name in _FACTORS:
    return "factors"
  if name in tables.NAMES:
    return "table"
  if name in _MASKED:
    return "mask"
  return "code" if _STEPS[name][0] is None else "values"


KINDS = {
  name: Kind(make, value, options, name != "fold" and make is not None, text,
             _place(name))
  for name, (make, value, options, text) in _STEPS.items()
}  # fmt: skip
