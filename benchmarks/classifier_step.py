"""A training step of little else than a classifier of many people."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs import common, losses
from faceqat.losses.margin_objective import ShardedMargin
from faceqat.losses.objective import make_objective
from faceqat.losses.regularization import Regularization
from faceqat.quant.spec import Mode
from faceqat.training import sharding
from faceqat.training.optimizer import make_log_decay, make_optimizer
from faceqat.training.train_state import (
  Recipe,
  create_state,
  make_create,
  state_shapes,
  train_step,
)

# Changes of the block `loss`; `whole` has all logits of a device at once.
FORMS = {
  'dense': {},
  'whole': {'sharded': True},
  'blocked': {'sharded': True},
  'sampled': {'sharded': True, 'sample_rate': 0.1},
}
_MODE = Mode(train=True)


class Pixels(nn.Module):
  """A network whose embeddings are the pixels, times one number for each."""

  embedding_size: int

  @nn.compact
  def __call__(self, images, mode):
    del mode
    # Statistics that a training state has.
    self.variable('quant_stats', 'none', jnp.zeros, ())
    scale = self.param('scale', nn.initializers.ones, (self.embedding_size,))
    pixels = images.reshape(len(images), -1)[:, : self.embedding_size]
    return scale * (pixels.astype(jnp.float32) - 128)


@dataclasses.dataclass(frozen=True)
class Task:
  """What is trained, by ArcFace and SGD with momentum.

  Attributes:
    form: a key of `FORMS`.
    people: K.
    dimension: D.
    batch_size: B, of all devices.
    devices: n, the first ones.
    dtype: of the products where the classifier is in parts.
    scale: of the loss.
  """

  form: str
  people: int
  dimension: int
  batch_size: int
  devices: int
  dtype: str = 'float32'
  scale: float = 64.0

  @property
  def mesh(self) -> Mesh:
    devices = jax.devices()[: self.devices]
    return sharding.make_mesh(self.batch_size, devices)

  @functools.cached_property
  def recipe(self) -> Recipe:
    block = losses.arcface()
    block.update(FORMS[self.form], scale=self.scale, margin=0.5)
    if self.form != 'dense':
      block.dtype = self.dtype
    objective = make_objective(block).placed(self.mesh, self.people)
    if isinstance(objective, ShardedMargin) and self.form == 'whole':
      objective = dataclasses.replace(objective, block=self.people)
    settings = common.optimizer()
    settings.update(
      name='sgd', learning_rate=0.1, weight_decay=5e-4, schedule='constant'
    )
    optimizer, schedule = make_optimizer(settings, 1000)
    return Recipe(
      model=Pixels(self.dimension),
      optimizer=optimizer,
      objective=objective,
      regularization=Regularization(0.0, 1.0),
      train_backbone=True,
      micro_batches=1,
      seed=0,
      log_decay=make_log_decay(settings, schedule, 0),
    )

  def initial(self) -> Any:
    """The state before the first step, on the devices."""
    state = create_state(
      self.recipe, num_classes=self.people, image_size=self._image_size
    )
    return sharding.place(state, self.mesh)

  def bytes_at_start(self) -> int:
    """The most that one device holds as the first state is made."""
    create = make_create(self.recipe, self.people, self._image_size)
    # A training compiles it quickly, which takes more on a CPU alone.
    lowered = jax.jit(create.__wrapped__).lower(jax.random.key(0))
    return self.bytes_of(lowered.compile())

  def batch(self, seed: int) -> dict[str, jax.Array]:
    """Noise with labels, on the devices."""
    rng = np.random.default_rng(seed)
    return sharding.shard_batch(
      {
        name: rng.integers(0, high, shape, dtype)
        for name, high, shape, dtype in self._batch_shapes()
      },
      self.mesh,
    )

  @property
  def _image_size(self):
    return 1, -(-self.dimension // 3)

  def _batch_shapes(self):
    images = (self.batch_size, *self._image_size, 3)
    yield 'image', 256, images, np.uint8
    yield 'label', self.people, (self.batch_size,), np.int32

  @functools.cached_property
  def step(self) -> Callable:
    """From a state, which is given away, to the next one and metrics."""
    return jax.jit(
      functools.partial(train_step, recipe=self.recipe, mode=_MODE),
      donate_argnames='state',
    )

  def compiled(self):
    """The step, compiled without arrays."""
    mesh = self.mesh
    shapes = state_shapes(
      self.recipe, num_classes=self.people, image_size=self._image_size
    )
    state = jax.tree_util.tree_map_with_path(
      lambda path, leaf: jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=sharding.placement(path, mesh)
      ),
      shapes,
    )
    split = NamedSharding(mesh, PartitionSpec('data'))
    batch = {
      name: jax.ShapeDtypeStruct(shape, dtype, sharding=split)
      for name, _, shape, dtype in self._batch_shapes()
    }
    return self.step.lower(state, batch).compile()

  @staticmethod
  def bytes_of(compiled) -> int:
    """The most that one device holds in a step, by XLA's analysis."""
    memory = compiled.memory_analysis()
    return (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes
      + memory.temp_size_in_bytes
    )
