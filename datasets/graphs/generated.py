"""A generated graph of families, whose relations are what they are by rule.

In each family a couple has children, all but the last generation marry somebody
from outside and have children in turn. The relations, with how many heads and
tails go together:

- `spouse` 1-1 and `sibling` N-N, each its own mirror (symmetry);
- `father_of`, `mother_of` 1-N, and `has_father`, `has_mother` N-1, which say
  the same the other way round (inversion);
- `grandparent_of` N-N, a parent's parent (composition).

Held out is what one of these patterns gives back from facts that stay in train:
a marriage or a pair of siblings one way, a parent one way, the grandparents of
all of a group of siblings (of all, so that no sibling's and no spouse's fact
gives them away).
"""

import itertools

import numpy as np
from jaxtyping import Bool, Int32

from kd_jax.datasets.graphs.graph import RELATION, Graph

Fact = tuple[str, str, str]
Group = list[Fact]

PATTERNS = {
  "symmetry": ("spouse", "sibling"),
  "inversion": ("father_of", "has_father", "mother_of", "has_mother"),
  "composition": ("grandparent_of",),
}
HELD_OUT = 0.2


def families(seed: int = 0, *, count: int = 12, generations: int = 4) -> Graph:
  """Generates the graph.

  Args:
    seed: draws how many children there are, 2 to 4, and what is held out.
    count: how many families.
    generations: in each; 3 at least, for grandparents.

  Returns:
    The graph: of what each pattern can give back a tenth is in valid, a tenth
    in test, and all else in train.
  """
  rng = np.random.default_rng(seed)
  train: list[Fact] = []
  groups: dict[str, list[Group]] = {pattern: [] for pattern in PATTERNS}
  for family in range(count):
    _grow(f"f{family}", generations, rng, groups)
  held: dict[str, list[Fact]] = {"valid": [], "test": []}
  for pattern, found in groups.items():
    _divide(pattern, found, rng, train, held)
  relations = tuple(itertools.chain(*PATTERNS.values()))
  entities = tuple(sorted({f[i] for f in train for i in (0, 2)}))
  splits = {
    split: _numbers(sorted(facts), entities, relations)
    for split, facts in {"train": train, **held}.items()
  }
  return Graph("families", entities, relations, **splits)


def by_pattern(
  graph: Graph, triples: Int32[np.ndarray, "n 3"]
) -> dict[str, Bool[np.ndarray, "n"]]:
  """Which triples each pattern gives back.

  Args:
    graph: a graph of families.
    triples: numbers of head, relation and tail.

  Returns:
    A mask by pattern; every triple is in one of them.
  """
  return {
    pattern: np.isin(
      triples[:, RELATION], [graph.relations.index(name) for name in names]
    )
    for pattern, names in PATTERNS.items()
  }


def _grow(family, generations, rng, groups) -> None:
  """One family's facts, in groups that are held out together."""
  serial = itertools.count()

  def person():
    return f"{family}_{next(serial)}"

  couples = [(person(), person(), None)]
  groups["symmetry"].append(_both_ways("spouse", *couples[0][:2]))
  for generation in range(1, generations):
    born = []
    for father, mother, grandparents in couples:
      children = [person() for _ in range(rng.integers(2, 5))]
      _children(groups, father, mother, grandparents, children)
      born += [(child, (father, mother)) for child in children]
    couples = []
    for child, parents in born if generation < generations - 1 else ():
      pair = (child, person())
      groups["symmetry"].append(_both_ways("spouse", *pair))
      # Who marries in is the mother as often as the father.
      father, mother = pair if rng.integers(2) else pair[::-1]
      couples.append((father, mother, parents))


def _children(groups, father, mother, grandparents, children) -> None:
  for child in children:
    for name, parent in (("father", father), ("mother", mother)):
      there, back = (
        (parent, f"{name}_of", child),
        (child, f"has_{name}", parent),
      )
      groups["inversion"].append([there, back])
  for pair in itertools.combinations(children, 2):
    groups["symmetry"].append(_both_ways("sibling", *pair))
  if grandparents:
    pairs = itertools.product(grandparents, children)
    groups["composition"].append([(g, "grandparent_of", c) for g, c in pairs])


def _both_ways(relation, a, b) -> Group:
  return [(a, relation, b), (b, relation, a)]


def _divide(pattern, groups, rng, train, held) -> None:
  """Holds out a share of the groups: one of a pair, all of grandparents."""
  chosen = rng.permutation(len(groups))[: round(HELD_OUT * len(groups))]
  split = {
    int(g): "valid" if i < len(chosen) // 2 else "test"
    for i, g in enumerate(chosen)
  }
  for g, facts in enumerate(groups):
    if g not in split:
      train += facts
    elif pattern == "composition":
      held[split[g]] += facts
    else:
      out = int(rng.integers(2))
      held[split[g]].append(facts[out])
      train.append(facts[1 - out])


def _numbers(facts, entities, relations) -> Int32[np.ndarray, "n 3"]:
  entity = {name: i for i, name in enumerate(entities)}
  relation = {name: i for i, name in enumerate(relations)}
  rows = [(entity[h], relation[r], entity[t]) for h, r, t in facts]
  return np.array(rows, np.int32)
