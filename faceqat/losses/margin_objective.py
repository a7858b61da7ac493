"""Margin losses with their class weights, on one device or over a mesh."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from faceqat.losses import blocked_softmax, margin, sampled_classes
from faceqat.losses.margin import Margins, margin_loss
from faceqat.losses.objective_base import Objective
from faceqat.losses.sharded_softmax import sharded_margin_loss

# Up to so many classes, those in parts begin with the class weights of all in
# one array, from which they are taken; beyond, that would hold several times as
# much as a training.
AS_MARGIN = 2**18


@dataclasses.dataclass(frozen=True)
class Margin(Objective):
  """Classification by cosines: softmax, ArcFace, CosFace, or all at once.

  Attributes:
    name: of the loss, a key of `margin.LOSSES`.
    scale: s.
    margin: m; of the combined margin m1, m2, m3.
    label_smoothing: see `softmax.cross_entropy`.
  """

  name: str
  scale: float
  margin: Margins
  label_smoothing: Annotated[float, '[0, 1)']

  def __post_init__(self):
    super().__post_init__()
    # Each margin function checks its own margin; nothing is computed.
    jax.eval_shape(
      lambda cosine: margin.LOSSES[self.name](cosine, self.margin),
      jax.ShapeDtypeStruct((), jnp.float32),
    )

  def initial(self, key, dimension, classes):
    """Class weights [D, K]."""
    return {'weights': 0.01 * jax.random.normal(key, (dimension, classes))}

  def __call__(self, params, state, embeddings, batch):
    """Losses [B] in nats, and `accuracy` [B] of the margin-free logits."""
    losses, hits = margin_loss(
      self.name,
      embeddings,
      params['weights'],
      batch['label'],
      scale=self.scale,
      margin=self.margin,
      label_smoothing=self.label_smoothing,
    )
    return losses, {'accuracy': hits}, state

  @property
  def validation(self) -> 'Margin':
    """Neither margin nor smoothing."""
    return Margin('softmax', self.scale, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class ShardedMargin(Objective):
  """The same loss, with its classes split over the devices of a mesh.

  Its parameters are `rows` [K', D], one class a row: K' is the next multiple of
  the number of devices, and the last rows are padding, always 0. Its state is
  empty, or where classes are sampled `log_decay` [] and `decayed` [K'], by
  which weight decay is caught up (`training/sampling.py`).

  Attributes:
    margin: the loss.
    sample_rate: share of the classes that a step compares a batch with, beside
      the batch's own.
    dtype: of the class weights, of what the optimiser keeps of them, and of
      products; see `blocked_softmax.Settings`.
    mesh, classes: of the training; see `placed`.
    block: classes whose logits are there at a time.
  """

  margin: Margin
  sample_rate: float
  dtype: str
  mesh: Mesh | None = None
  classes: int = 0
  # 1 MB of logits for each 64 images, which a core's cache holds.
  block: int = 4096

  @property
  def samples(self) -> bool:
    return self.sample_rate < 1

  def placed(self, mesh, classes):
    """Raises a ValueError where a device would have no class."""
    if classes < mesh.size:
      raise ValueError(
        f'loss.sharded splits {classes} people over {mesh.size} devices, and '
        'some would have none; give loss.sharded=False, or fewer devices'
      )
    return dataclasses.replace(self, mesh=mesh, classes=classes)

  def initial(self, key, dimension, classes):
    """The class weights of `Margin`, one class a row, and padding.

    Those of more than `AS_MARGIN` classes are others, drawn alike.
    """
    if classes > AS_MARGIN:
      return {'rows': self._initial_in_blocks(key, dimension, classes)}
    weights = self.margin.initial(key, dimension, classes)['weights']
    rows = weights.T.astype(self.dtype)
    return {'rows': jnp.pad(rows, ((0, -classes % self.mesh.size), (0, 0)))}

  def _initial_in_blocks(self, key, dimension, classes):
    """Of each class by its number, wherever it lies."""
    (axis,) = self.mesh.axis_names
    share = -(-classes // self.mesh.size)
    size = min(self.block, share)

    def draw(number):
      return 0.01 * jax.random.normal(
        jax.random.fold_in(key, number), (dimension,)
      )

    def part():
      first = jax.lax.axis_index(axis) * share

      def add(block, rows):
        # The last block begins where it just fits.
        start = jnp.minimum(block * size, share - size)
        numbers = first + start + jnp.arange(size)
        drawn = jnp.where(
          (numbers < classes)[:, None], jax.vmap(draw)(numbers), 0
        )
        return jax.lax.dynamic_update_slice(
          rows, drawn.astype(self.dtype), (start, 0)
        )

      rows = jnp.zeros((share, dimension), self.dtype)
      return jax.lax.fori_loop(0, -(-share // size), add, rows)

    return jax.shard_map(
      part,
      mesh=self.mesh,
      in_specs=(),
      out_specs=PartitionSpec(axis),
      check_vma=False,
    )()

  def initial_state(self, dimension, classes):
    """Nothing is decayed yet."""
    if not self.samples:
      return {}
    rows = classes + -classes % self.mesh.size
    return {'decayed': jnp.zeros(rows), 'log_decay': jnp.zeros(())}

  def sample(self, params, step, labels, seed):
    """The classes of the batch, and of the others about `sample_rate`."""
    if not self.samples:
      return None
    return sampled_classes.choose_classes(
      self.mesh,
      self.sample_rate,
      seed,
      step,
      labels,
      self._counts(params),
      len(params['rows']) // self.mesh.size,
    )

  def __call__(self, params, state, embeddings, batch):
    """As `Margin`; `counts` in the state: of a sample."""
    loss, labels = self.margin, batch['label']
    # A validation has batches of any size.
    padding = -len(labels) % self.mesh.size
    losses, hits = sharded_margin_loss(
      blocked_softmax.Settings(
        loss.name,
        loss.scale,
        loss.margin,
        loss.label_smoothing,
        self.dtype,
        self.block,
      ),
      self.mesh,
      jnp.pad(embeddings, ((0, padding), (0, 0))),
      params['rows'],
      jnp.pad(labels, (0, padding)),
      state['counts'] if 'counts' in state else self._counts(params),
    )
    count = len(labels)
    return losses[:count], {'accuracy': hits[:count]}, state

  @property
  def validation(self) -> 'ShardedMargin':
    """Neither margin nor smoothing, and all classes."""
    return dataclasses.replace(
      self, margin=self.margin.validation, sample_rate=1.0
    )

  def _counts(self, params):
    """Rows of each device that are classes, [n] int32."""
    devices = self.mesh.size
    share = len(params['rows']) // devices
    return jnp.clip(self.classes - share * jnp.arange(devices), 0, share)
