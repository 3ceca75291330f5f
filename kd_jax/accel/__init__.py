"""Devices: placing arrays on them, lifting a step to many, collectives.

A step is a pure function `step(state, data, *, axis_name=None)`. On one device
it is jitted as it is; on several `data_parallel` runs the same body once per
device under the axis name "batch". What crosses devices is said inside the step
by name (`mean`, `sum`, `all_gather`), and each of these is the identity when
`axis_name` is None, so that one body serves both.

State goes in and comes out unstacked: what `data_parallel` returns can be
saved, evaluated and placed on another number of devices as it stands.
"""

from kd_jax.accel.collectives import AXIS as AXIS
from kd_jax.accel.collectives import all_gather as all_gather
from kd_jax.accel.collectives import axis_index as axis_index
from kd_jax.accel.collectives import axis_size as axis_size
from kd_jax.accel.collectives import mean as mean
from kd_jax.accel.collectives import sum as sum
from kd_jax.accel.compiling import compiled as compiled
from kd_jax.accel.fusing import guarded as guarded
from kd_jax.accel.fusing import one_step as one_step
from kd_jax.accel.fusing import scan_steps as scan_steps
from kd_jax.accel.hosts import by_itself as by_itself
from kd_jax.accel.hosts import from_first as from_first
from kd_jax.accel.hosts import is_first as is_first
from kd_jax.accel.hosts import largest as largest
from kd_jax.accel.hosts import several as several
from kd_jax.accel.hosts import to_host as to_host
from kd_jax.accel.hosts import tree_from_first as tree_from_first
from kd_jax.accel.hosts import wait as wait
from kd_jax.accel.lifting import Lifted as Lifted
from kd_jax.accel.lifting import Mode as Mode
from kd_jax.accel.lifting import constrain as constrain
from kd_jax.accel.lifting import data_parallel as data_parallel
from kd_jax.accel.placing import check_replicated as check_replicated
from kd_jax.accel.placing import check_rows as check_rows
from kd_jax.accel.placing import mesh as mesh
from kd_jax.accel.placing import place as place
from kd_jax.accel.placing import prefetch as prefetch
from kd_jax.accel.starting import start as start
from kd_jax.accel.starting import without_cache as without_cache
