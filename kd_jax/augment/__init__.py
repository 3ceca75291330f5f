"""Image augmentation on the device.

Functions of one image take (key, image) and are lifted to a batch by `per_row`,
with one key per row of the global batch (`training.state.row_keys`), so that
four devices draw what one draws. Those that mix the rows of a batch take the
step's key, the rows' places, and the axis over which the batch is spread.
Images are channels last.
"""

from kd_jax.augment.colours import blur as blur
from kd_jax.augment.colours import brightness as brightness
from kd_jax.augment.colours import contrast as contrast
from kd_jax.augment.colours import grey as grey
from kd_jax.augment.colours import hue as hue
from kd_jax.augment.colours import random_blur as random_blur
from kd_jax.augment.colours import random_colours as random_colours
from kd_jax.augment.colours import random_grey as random_grey
from kd_jax.augment.colours import random_solarise as random_solarise
from kd_jax.augment.colours import saturation as saturation
from kd_jax.augment.colours import solarise as solarise
from kd_jax.augment.colours import sometimes as sometimes
from kd_jax.augment.geometry import random_box as random_box
from kd_jax.augment.geometry import random_resized_crop as random_resized_crop
from kd_jax.augment.geometry import resized_crop as resized_crop
from kd_jax.augment.images import normalize as normalize
from kd_jax.augment.images import per_row as per_row
from kd_jax.augment.images import random_crop as random_crop
from kd_jax.augment.images import random_flip as random_flip
from kd_jax.augment.images import random_shift as random_shift
from kd_jax.augment.images import to_float as to_float
from kd_jax.augment.styles import Statistics as Statistics
from kd_jax.augment.styles import mix_statistics as mix_statistics
from kd_jax.augment.styles import restyle as restyle
from kd_jax.augment.styles import shift_style as shift_style
from kd_jax.augment.styles import statistics as statistics
