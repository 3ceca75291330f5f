"""What several recipes share."""

from collections.abc import Mapping
from typing import Any

Recipe = Mapping[str, Mapping[str, Any]]
# Methods with a queue of keys and two layers of head, and MoCo's first version,
# which has one layer.
QUEUED = ("moco_v2", "moco_v2plus", "moco_notebook")
V1 = {"projector": "128 bias", "temperature": 0.07}


def changed(recipe: Recipe, **by_arm: Mapping[str, Any]) -> Recipe:
  """A recipe with some values of some arms changed.

  Args:
    recipe: it.
    **by_arm: what is new, or of another value.

  Returns:
    The recipe that has both.
  """
  found = {arm: dict(values) for arm, values in recipe.items()}
  for arm, values in by_arm.items():
    found[arm] = {**found.get(arm, {}), **values}
  return found
