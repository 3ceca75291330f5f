# %% [markdown]
# # ote: from a file of your own facts to predictions
#
# A knowledge graph is a file with three columns: head, relation, tail. OTE
# (Tang et al., ACL 2020) learns a vector for each entity and orthogonal blocks
# for each relation, and ranks what could stand in a missing place; GC-OTE goes
# on with the context of the graph. It takes about two minutes on two CPU cores.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os

source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q {source}

# %% [markdown]
# ## Your own facts
#
# Here they are families: couples and their children, three facts for each pair
# that belongs together. Any file with three columns, tabs between them, will
# do; names may hold spaces.

# %%
import itertools
import pathlib
import random

given = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo"]
names = [f"{g} {f}" for f in map(chr, range(65, 91)) for g in given]
draw = random.Random(0)
draw.shuffle(names)
facts = []
while len(names) >= 6:
  father, mother, *children = [names.pop() for _ in range(draw.randint(4, 6))]
  couple = (father, mother)
  facts += [(a, "spouse of", b) for a, b in itertools.permutations(couple)]
  for parent, child in itertools.product(couple, children):
    facts += [(parent, "parent of", child), (child, "child of", parent)]
  pairs = itertools.permutations(children, 2)
  facts += [(a, "sibling of", b) for a, b in pairs]
path = pathlib.Path("families.tsv")
path.write_text("".join("\t".join(fact) + "\n" for fact in facts))
print(path.read_text()[:200])

# %% [markdown]
# What the reader makes of it. A tenth of the facts is held out to choose the
# best parameters on, and a tenth to test on; a folder with `train.txt`,
# `valid.txt` and `test.txt` keeps your own split. A line that cannot be right
# is named.

# %%
from kd_jax.datasets import graphs
from kd_jax.datasets.graphs import describe

graph = graphs.load(path)
for label, value in describe.facts(graph).items():
  print(f"{label}: {value}")

# %% [markdown]
# ## Training
#
# The same command as in a terminal (`kd-jax train ote --graph families.tsv`),
# with RotatE beside it. Fields say what is not the default.

# %%
import kd_jax

run = kd_jax.train(
  "ote",
  graph="families.tsv",
  arms=("rotate", "ote", "gc_ote"),
  first__steps=2000,
  first__decay_every=500,
  second__steps=400,
  second__decay_every=100,
  workdir="runs/families",
)
print(run.table())

# %% [markdown]
# ## Predictions
#
# The likeliest answers to a question, and which of them the file says already.
# Tabs stand between the three parts because the names hold spaces. First, a
# fact that was held out: who belongs in its place?

# %%
head, relation, tail = graph.test[0]
asked = f"{graph.entities[head]}\t{graph.relations[relation]}\t?"
print("held out:", graph.entities[tail])
print(run.ask("query", asked))

# %%
print(run.ask("query", f"?\tparent of\t{children[0]}"))

# %% [markdown]
# The model is a function of entities and relations by number, too:

# %%
import numpy as np

apply, variables = kd_jax.load(run.workdir)
scores = np.asarray(apply(variables, (graph.test[:5, 0], graph.test[:5, 1])))
print(scores.shape, [graph.entities[i] for i in scores.argmax(1)])

# %% [markdown]
# ## A map, and the other plots

# %%
from IPython.display import Image, display

for plot in sorted((run.workdir / "plots").glob("*.png")):
  print(plot.stem)
  display(Image(filename=str(plot)))

# %% [markdown]
# ## Real kinship in miniature
#
# 104 people of the Alyawarra, 25 kinship terms: the method's default data, for
# a fraction of the default steps. `kd_jax.reproduce("ote")` judges the paper's
# sentences; the method's README says what was found.

# %%
kinships = kd_jax.train(
  "ote",
  arms=("transe", "rotate", "ote"),
  first__steps=2000,
  first__decay_every=500,
  workdir="runs/kinships",
)
print(kinships.table())
