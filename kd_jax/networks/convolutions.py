"""Layers by themselves: is a convolution as fast inside as outside?

A step takes a layer's outputs and both gradients. The timed program fuses its
steps, so that a layer's own row is of a `scan`; beside it stand the same step
dispatched by itself and in a `cond`, and the compiler's own convolution by
itself (of the smallest layer in a loop, too). A second row is of five members,
vmapped. All of it is of one device.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kd_jax import accel, metrics
from kd_jax.backbones.convolution import convolve
from kd_jax.errors import UsageError
from kd_jax.experiment import Case, Peer, Phase
from kd_jax.training.state import State

BATCH, MEMBERS, RATE = 64, 5, 1e-3
Step = Callable[..., tuple[State, dict[str, metrics.Mean]]]


class Layer(NamedTuple):
  """A 3x3 convolution of square images.

  Attributes:
    side: height and width of its inputs.
    inputs: channels.
    outputs: features.
    stride: its step.
    dilation: the distance between its taps.
    groups: of channels.
  """

  side: int
  inputs: int
  outputs: int
  stride: int = 1
  dilation: int = 1
  groups: int = 1

  @property
  def title(self) -> str:
    """As a table names it."""
    kinds = {
      f", stride {self.stride}": self.stride > 1,
      f", dilation {self.dilation}": self.dilation > 1,
      ", depthwise": self.groups == self.inputs > 1,
    }
    apart = "".join(words for words, so in kinds.items() if so)
    size = f"{self.side}x{self.side}"
    return f"{self.inputs} to {self.outputs} at {size}{apart}"


# On a CPU the compiler's own takes seconds for the others in a loop.
SMALL = Layer(16, 32, 32)
LAYERS = (
  SMALL,
  Layer(32, 64, 64),
  Layer(16, 128, 128),
  Layer(8, 256, 256),
  Layer(4, 512, 512),
  Layer(32, 64, 128, stride=2),
  Layer(32, 64, 64, dilation=2),
  Layer(32, 64, 64, groups=64),
)


def make_step(layer: Layer, *, native: bool = False) -> Step:
  """A step of descent in a layer's inputs and kernel.

  Args:
    layer: which.
    native: whether the compiler's own convolution is taken.

  Returns:
    `(state, data, *, axis_name=None) -> (state, metrics)`; it needs no data.
  """

  def loss(params):
    y = convolve(
      params["x"],
      params["kernel"],
      layer.stride,
      layer.dilation,
      layer.dilation,
      layer.groups,
      native=native,
    )
    return 0.5 * jnp.mean(y * y)

  def step(state, data=None, *, axis_name=None):
    del data, axis_name
    value, grads = jax.value_and_grad(loss)(state.params)
    params = jax.tree.map(lambda p, g: p - RATE * g, state.params, grads)
    new = state.replace(step=state.step + 1, params=params)
    return new, {"loss": metrics.mean(value)}

  return step


def create_state(layer: Layer, seed: Any) -> State:
  """Inputs and a kernel, drawn.

  Args:
    layer: which.
    seed: draws them.

  Returns:
    The state at step 0.
  """
  x, kernel = jax.random.split(jax.random.key(seed))
  s = layer
  window = (3, 3, s.inputs // s.groups, s.outputs)
  params = {
    "x": jax.random.normal(x, (BATCH, s.side, s.side, s.inputs)),
    "kernel": 0.1 * jax.random.normal(kernel, window),
  }
  return State.create(seed=seed, params=params, opt_state={}, model_state={})


def layer_case(layer: Layer, members: int = 1) -> Phase:
  """A layer's step as a phase to time.

  Args:
    layer: which.
    members: of a batch that is vmapped; 1 is not.

  Returns:
    The phase; a step's examples are the images of all members.
  """
  step, state = make_step(layer), functools.partial(create_state, layer)

  def init(products, seed):
    return state(seed) if members == 1 else _members(state, seed, members)

  if members > 1:
    step = _over_members(step)
  return Phase(
    name="step",
    init=init,
    step=step,
    steps=1,
    data=None,
    batch_size=members * BATCH,
  )


def _members(state, seed, members):
  """Members of their own seeds, of one step."""
  made = jax.vmap(state)(jnp.asarray(seed, jnp.uint32) + jnp.arange(members))
  return made.replace(step=jnp.int32(0), seed=jnp.uint32(seed))


def _over_members(step):
  """The step of each member's parameters."""

  def every(state, data=None, *, axis_name=None):
    def one(params):
      new, logged = step(state.replace(params=params))
      return new.params, logged

    params, logged = jax.vmap(one)(state.params)
    logged = jax.tree.map(lambda x: x.sum(0), logged)
    return state.replace(step=state.step + 1, params=params), logged

  return every


def layer_flops(layer: Layer, members: int = 1) -> int:
  """Model operations of a step: forward, and twice as many back.

  Args:
    layer: which.
    members: how many.

  Returns:
    Floating point operations.
  """
  places = math.ceil(layer.side / layer.stride) ** 2 * BATCH * members
  return 3 * 2 * places * 9 * layer.inputs // layer.groups * layer.outputs


class Run:
  """Takes steps, and returns when they are done.

  Attributes:
    state: after the steps so far.
  """

  def __init__(self, program: Callable[[State, int], State], state: State):
    """Keeps what it steps.

    Args:
      program: takes n steps from a state.
      state: where it begins.
    """
    self._program = program
    self.state = state

  def __call__(self, n: int) -> None:
    """Takes n steps."""
    self.state = jax.block_until_ready(self._program(self.state, n))


def alone(layer: Layer, *, native: bool = False) -> Run:
  """A step a dispatch.

  Args:
    layer: which.
    native: whether the compiler's own convolution is taken.

  Returns:
    `run(n)`.
  """
  return _dispatched(make_step(layer, native=native), layer, ours=not native)


def in_cond(layer: Layer) -> Run:
  """A step a dispatch, one branch of a `cond`.

  Args:
    layer: which.

  Returns:
    `run(n)`.
  """
  step = make_step(layer)

  def either(state):
    logged = jax.eval_shape(step, state)[1]
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), logged)
    return jax.lax.cond(state.step >= 0, step, lambda s: (s, nothing), state)

  return _dispatched(either, layer, ours=True)


def _dispatched(step, layer, *, ours):
  """A `Run` of single dispatches, compiled as the suite's or as JAX's."""
  state = jax.jit(functools.partial(create_state, layer))(0)
  lowered = jax.jit(step, donate_argnums=0).lower(state)
  compiled = accel.compiled(lowered) if ours else lowered.compile()

  def program(state, n):
    for _ in range(n):
      state, _ = compiled(state)
    return state

  return Run(program, state)


def native_loop(layer: Layer, members: int = 1) -> Run:
  """Steps of the compiler's own convolution in a loop.

  Args:
    layer: which.
    members: of a batch that is vmapped; 1 is not.

  Returns:
    `run(n)`.
  """
  step = make_step(layer, native=True)
  init = functools.partial(create_state, layer)
  if members > 1:
    step = _over_members(step)
    init = functools.partial(_members, init, members=members)

  @functools.partial(jax.jit, donate_argnums=0)
  def program(state, n):
    return jax.lax.fori_loop(0, n, lambda _, s: step(s)[0], state)

  return Run(program, jax.jit(init)(0))


def _on_one_device(layer: Layer, members: int = 1) -> Phase:
  """`layer_case`, where there is one device: no step is divided here."""
  if (count := jax.device_count()) > 1:
    raise UsageError(
      f"single convolutions are timed on one device; there are {count}"
    )
  return layer_case(layer, members)


def _cases(layer):
  """A layer's two rows."""
  of = functools.partial
  peers = [
    Peer("by itself", of(alone, layer)),
    Peer("in a cond", of(in_cond, layer)),
    Peer("the compiler's, by itself", of(alone, layer, native=True)),
  ]
  likewise = []
  if layer == SMALL:
    peers.append(Peer("the compiler's, in a loop", of(native_loop, layer)))
    loop = of(native_loop, layer, MEMBERS)
    likewise.append(Peer("the compiler's, likewise", loop))
  yield Case(
    name=f"{layer.title}, in a scan",
    make=of(_on_one_device, layer),
    flops=of(layer_flops, layer),
    peers=peers,
  )
  yield Case(
    name=f"{layer.title}, {MEMBERS} members vmapped, in a scan",
    make=of(_on_one_device, layer, MEMBERS),
    flops=of(layer_flops, layer, MEMBERS),
    peers=likewise,
  )


CASES = tuple(case for layer in LAYERS for case in _cases(layer))
