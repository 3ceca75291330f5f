"""How claims are written: of accuracies, and of other measures."""

from kd_jax.experiment import Claim

ACCURACY, BYTES, GAIN = "test_accuracy", "alpha_bytes", "gain"


def ours(name, statement, treatment, baseline, margin=0.0, **more) -> Claim:
  """A claim, "ours" unless `kind` says "paper"; fields as `Claim`'s."""
  return Claim(
    name=name,
    statement=statement,
    kind=more.pop("kind", "ours"),
    treatment=treatment,
    baseline=baseline,
    margin=margin,
    **more,
  )


def better(name, statement, a, b, margin=0.0, **more) -> Claim:
  """That arm `a` is more accurate on test images than `b`, by a margin."""
  return ours(name, statement, (a, ACCURACY), (b, ACCURACY), margin, **more)
