"""The records a method hands to the core: Method, Config, Phase, Claim, Case.

A run is a list of phases. A phase is a state, a pure step with a length, and a
product: what later phases, `evaluate` and `load` read. Phases that belong to
one way of doing it (the method, a baseline) share an arm; a phase whose arm is
empty serves all of them (a teacher).
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from kd_jax.errors import UsageError

PyTree = Any
Products = Mapping[str, PyTree]


@dataclasses.dataclass(frozen=True)
class Config:
  """What every method's configuration has; methods subclass it.

  Attributes:
    seed: draws initialisation, order, split and augmentation.
    arms: which of the method's arms run, in this order.
    log_every: steps between two rows of metrics.
    eval_every: steps between two evaluations; 0 evaluates at the end only.
    save_every: steps between two checkpoints; 0 saves between phases only.
  """

  seed: int = 0
  arms: tuple[str, ...] = ()
  log_every: int = 50
  eval_every: int = 0
  save_every: int = 500

  def __post_init__(self):
    """Checks the ranges; a subclass with its own checks calls this one too.

    Raises:
      UsageError: names the first field that is out of range.
    """
    lowest = {"seed": 0, "log_every": 1, "eval_every": 0, "save_every": 0}
    for name, low in lowest.items():
      value = getattr(self, name)
      if value < low:
        raise UsageError(f"{name} is {value}; it must be at least {low}")
    if self.seed >= 2**32:
      raise UsageError(f"seed is {self.seed}; it must be below 2**32")


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Config):
  """What a method that trains networks has beside it.

  Attributes:
    dtype: of the networks' activations, "float32" or "bfloat16". Parameters,
      batch statistics, logits, losses, the optimizer and all sums over devices
      are float32 whatever it is.
    microbatches: a training batch is taken in so many parts, one after the
      other, whose gradients add up: for batches that do not fit. Batch
      statistics and contrasts are then those of a part.
  """

  dtype: str = "float32"
  microbatches: int = 1

  def __post_init__(self):
    """Checks the two fields, too.

    Raises:
      UsageError: names the first field that is wrong.
    """
    super().__post_init__()
    if self.dtype not in ("float32", "bfloat16"):
      raise UsageError(f"dtype is {self.dtype!r}; it is float32 or bfloat16")
    if self.microbatches < 1:
      raise UsageError(
        f"microbatches is {self.microbatches}; it must be at least 1"
      )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """A measure of a phase's product.

  Attributes:
    run: `(product, data, *, axis_name) -> {name: Mean}`, pure. A Mean of
      vectors is one value per seed.
    data: arrays that every device gets whole.
    split: for products that are too large for one device: from the product to a
      tree of bools with its structure, true where the first axis of a leaf is
      divided over the devices, as in `Phase.split`.
  """

  run: Callable[..., PyTree]
  data: PyTree
  split: Callable[[PyTree], PyTree] | None = None


@dataclasses.dataclass(frozen=True)
class Epoch:
  """What a phase computes between stretches of steps.

  Attributes:
    run: `(state, data, *, axis_name) -> (state, {name: array})`, pure; the
      arrays are logged (vectors as lists).
    every: steps between two calls; the first comes before the first step.
    data: arrays that every device gets whole.
    last: whether one comes after the last step, too (to choose among states).
  """

  run: Callable[..., tuple[PyTree, Mapping[str, Any]]]
  every: int
  data: PyTree
  last: bool = False


@dataclasses.dataclass(frozen=True)
class Phase:
  """A stretch of equal steps.

  Attributes:
    name: e.g. "teacher".
    arm: the arm it belongs to, or "" if every arm shares it.
    init: `(products of earlier phases, seed) -> state at step 0`, pure; the
      seed is a traced uint32, so that one program serves every seed.
    step: `(state, data, *, axis_name) -> (state, {name: Mean})`, pure. What it
      closes over must not depend on the seed: one compiled program serves all.
    steps: how many.
    data: arrays for the step, whole on every device (columns to draw from).
    stream: instead of `data`: from the first step to take to an iterator of
      host batches, all of one shape, which are split over the devices.
    product: from the state to what is kept; pure.
    evaluations: measures of the product by name ("test").
    epoch: what happens between stretches of steps.
    fused: whether steps are fused into one dispatch. On the CPU a step that
      trains the compiler's own convolution must not be (see `accel.one_step`);
      one of `backbones.Conv` may.
    batch_size: examples per step, for the rates.
    split: for states that are too large, or hold too many members, for one
      device: from the state to a tree of bools with its structure, true where
      the first axis of a leaf is divided over the devices. The step then sees
      its own rows of these leaves, and says by name (`accel`) what it needs of
      the others'. Such a phase is lifted by shard_map whatever the mode.
    parts: how many parts of what `split` divides a CPU takes side by side (see
      `accel.scan_steps`): members that know nothing of each other and whose
      operations are too small for all cores.
    may_diverge: whether its state may stop being finite and the run go on (one
      that counts what diverges). Otherwise a state that does ends the run,
      whatever the metrics say.
  """

  name: str
  init: Callable[[Products, Any], PyTree]
  step: Callable[..., tuple[PyTree, PyTree]]
  steps: int
  data: PyTree = None
  stream: Callable[[int], Iterator[PyTree]] | None = None
  product: Callable[[PyTree], PyTree] = lambda state: state
  evaluations: Mapping[str, Evaluation] = dataclasses.field(
    default_factory=dict
  )
  epoch: Epoch | None = None
  arm: str = ""
  fused: bool = True
  batch_size: int = 1
  split: Callable[[PyTree], PyTree] | None = None
  parts: int = 1
  may_diverge: bool = False

  @property
  def key(self) -> str:
    """The name its product goes by: "arm.name", or "name" when shared."""
    return f"{self.arm}.{self.name}" if self.arm else self.name


@dataclasses.dataclass(frozen=True)
class WholeRun:
  """A phase that is one pure function, compiled once and run once.

  On the host it may give arrays whose shapes depend on values (a network that
  was cut), and what comes after it is compiled for what it gave.

  Attributes:
    name: e.g. "search".
    arm: the arm it belongs to, or "".
    run: `(products, data, seed) -> (product, {name: array})`, pure. An array
      with one axis is one value per seed.
    data: its arrays.
    steps: how many steps it stands for, for the rates.
    host: whether it is called as it is, with host arrays; the product is then
      a tree of dicts, of arrays, with keys without a dot.
  """

  name: str
  run: Callable[[Products, PyTree, Any], tuple[PyTree, Mapping[str, Any]]]
  data: PyTree = None
  arm: str = ""
  steps: int = 1
  host: bool = False

  @property
  def key(self) -> str:
    """The name its product goes by: "arm.name", or "name" when shared."""
    return f"{self.arm}.{self.name}" if self.arm else self.name


@dataclasses.dataclass(frozen=True)
class Claim:
  """An ordering with a margin: `treatment - baseline > margin`.

  Attributes:
    name: a short name.
    statement: the sentence, the paper's own where `kind` is "paper".
    kind: "paper", "ours" (seen by us alone) or "sanity".
    treatment: (arm, metric).
    baseline: (arm, metric), or a number.
    margin: what the difference must exceed.
    published: the paper's number for it, as text; "" if there is none.
    scale: "published", or "reduced" where the experiment is smaller.
    sign: -1 where smaller is better (the difference is turned around).
  """

  name: str
  statement: str
  kind: Literal["paper", "ours", "sanity"]
  treatment: tuple[str, str]
  baseline: tuple[str, str] | float
  margin: float = 0.0
  published: str = ""
  scale: Literal["published", "reduced"] = "reduced"
  sign: int = 1


@dataclasses.dataclass(frozen=True)
class Peer:
  """The same step in another library, timed in the same process.

  Attributes:
    name: the library and its version, or what the plain statement is.
    make: gives `run(n)`, which takes n of the same steps (the same shapes, the
      same work) and returns when they are done. It may raise ImportError where
      the library is not installed.
  """

  name: str
  make: Callable[[], Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class Answer:
  """A question that `evaluate` answers about a finished run.

  Attributes:
    run: `(run, text) -> text to print`; UsageError for a question that makes no
      sense.
    help: a line that says what is asked and how.
    flag: whether the option takes no value.
  """

  run: Callable[[Any, str], str]
  help: str
  flag: bool = False


@dataclasses.dataclass(frozen=True)
class Case:
  """One row of the benchmark.

  Attributes:
    name: e.g. "train step, ResNet-18, batch 64".
    make: gives a Phase whose step is timed, with its data, on demand.
    flops: model FLOPs of one step by formula; None where a step has none.
    dtype: what the products run in, for the peak.
    accelerator: whether a CPU is too slow for it, and leaves it out.
    peers: the same step in other libraries.
  """

  name: str
  make: Callable[[], Phase]
  flops: Callable[[], float | None] = lambda: None
  dtype: str = "float32"
  accelerator: bool = False
  peers: Sequence[Peer] = ()


@dataclasses.dataclass(frozen=True)
class Method:
  """A paper, as the core sees it.

  Attributes:
    name: the command's word for it.
    title: the paper's title.
    task: a few words.
    presets: configurations by name.
    default: the preset that `train` takes when none is named.
    minutes: minutes that `train` takes by preset, on two CPU cores; as text
      where it takes an accelerator.
    data: the default data set(s) with their licences, in a sentence.
    arms: what each arm is, by name.
    phases: `(config, data, say) -> phases`. `data` maps a role to the user's
      own data and is empty for the configured ones; `say` takes a line of news.
    main: the arm that is the method itself.
    headline: the metrics that the closing table shows, by their column titles.
    claims: what `reproduce` judges.
    reproduce_arms: the arms that `reproduce` runs, for every preset or by the
      preset's name (a preset that is not named takes the default's).
    settings_tried: by arm, how many settings were tried on validation data; or
      that by the preset's name (one for a preset that is not named).
    cases: the benchmark's rows.
    apply: `(config, products) -> (apply, variables)` for `kd_jax.load`.
    plots: `(run) -> {file stem: figure}`, beside the curves that every run has.
    divided: names of the fields that the number of devices must divide.
    seeds_in_run: whether one run holds all seeds (its metrics have an axis);
      its config then has a field `seeds`.
    answers: questions to a finished run by option name ("query" is asked by
      `kd-jax evaluate METHOD --query TEXT` and `run.ask("query", TEXT)`).
    files: `(config) -> {field: path}`, the user's own files and folders among
      its values, as they are written there: a run is theirs by their content,
      and keeps small ones (see `inputs`).
    file_names: which files of such a folder are read; none named are all below
      it.
  """

  name: str
  title: str
  task: str
  presets: Mapping[str, Config]
  phases: Callable[..., Sequence[Phase | WholeRun]]
  arms: Mapping[str, str]
  main: str
  headline: Mapping[str, str]
  default: str = "small"
  minutes: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
  data: str = ""
  claims: Sequence[Claim] = ()
  reproduce_arms: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
  settings_tried: Mapping[str, int] | Mapping[str, Mapping[str, int]] = (
    dataclasses.field(default_factory=dict)
  )
  cases: Sequence[Case] = ()
  apply: Callable[[Any, Products], tuple[Callable[..., Any], PyTree]] | None = (
    None
  )
  plots: Callable[[Any], Mapping[str, Any]] | None = None
  divided: tuple[str, ...] = ()
  seeds_in_run: bool = False
  answers: Mapping[str, Answer] = dataclasses.field(default_factory=dict)
  files: Callable[[Any], Mapping[str, str]] | None = None
  file_names: Collection[str] = ()
