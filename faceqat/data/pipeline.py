"""From a labelled source to batches, in the order of training or its own."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np

from faceqat.data.augment import Augment
from faceqat.data.contents import Contents, contents
from faceqat.data.sampler import PeopleOrder
from faceqat.data.sources.labelled import Subset
from faceqat.data.sources.name_list import Names
from faceqat.faces import images
from faceqat.fields import check_value, whole_from

# A slot of a batch whose image is damaged is filled by another one; after so
# many damaged ones in a row the data set itself is broken.
_MAX_DAMAGED_IN_A_ROW = 20


def subset(source, indices: Sequence[int]) -> Subset:
  """The images `indices` of a source, with its labels and class names.

  Raises:
    ValueError: an index is outside the source.
  """
  indices = np.asarray(indices, np.int64)
  outside = indices[(indices < 0) | (indices >= len(source))]
  if len(outside):
    raise ValueError(
      f'Index {outside[0]} is outside the source, which has {len(source)} '
      f'images: wanted 0 to {len(source) - 1}'
    )
  return Subset(source, indices)


def split_off(source, num_people: int, seed: int) -> tuple[Subset, Subset]:
  """Keeps whole people out of training, to evaluate on people never seen.

  Args:
    source: a labelled source with K people.
    num_people: how many to hold out, drawn at random.
    seed: of the draw.

  Returns:
    (rest, held_out); labels are made contiguous anew in both.

  Raises:
    ValueError: either part would have fewer than two people.
  """
  total = len(source.class_names)
  if not 2 <= num_people <= total - 2:
    raise ValueError(
      f'num_people is {num_people} of {total}: both parts need at least two'
    )
  order = np.random.default_rng(seed).permutation(total)
  held_people = np.sort(order[:num_people])
  rest_people = np.sort(order[num_people:])
  return only_people(source, rest_people), only_people(source, held_people)


def only_people(source, people: np.ndarray) -> Subset:
  """The images of some people (sorted labels), relabelled 0 .. len-1."""
  labels = np.asarray(source.labels)
  part = Subset(source, np.flatnonzero(np.isin(labels, people)))
  part.labels = np.searchsorted(people, part.labels).astype(np.int32)
  part.class_names = Names(source.class_names[person] for person in people)
  return part


@dataclasses.dataclass
class _Load(grain.transforms.RandomMap):
  """Index -> image, label, draw and how many damaged ones were met."""

  source: Any
  augment: Augment | None
  # None: a damaged image is an error.
  passed_over: images.SkippedImages | None
  keep_person: bool

  def random_map(self, element: int, rng: np.random.Generator):
    index, skipped = element, 0
    others = self._replacements(element, rng)
    while True:
      try:
        example = self.source[index]
        break
      except images.DamagedImageError as error:
        skipped += 1
        if self.passed_over is None:
          raise
        if skipped == _MAX_DAMAGED_IN_A_ROW:
          raise ValueError(
            f'{skipped} images in a row are damaged, the last one: {error}'
          ) from error
        self.passed_over.add(error)
      index = next(others)
    loaded = {
      'image': example['image'],
      'label': np.int32(example['label']),
      'skipped': np.int32(skipped),
    }
    if self.augment is None:
      return loaded
    return {**loaded, 'draw': self.augment.draw(rng)}

  def _replacements(self, index: int, rng: np.random.Generator):
    """Other images, drawn for the slot of `index`."""
    # For the same slot: batches stay full and every other slot keeps its
    # image, on any number of processes.
    if self.keep_person:
      labels = np.asarray(self.source.labels)
      same = np.flatnonzero(labels == labels[index])
      yield from rng.permutation(same[same != index]).tolist()
    while True:
      yield int(rng.integers(len(self.source)))


class TrainIterator:
  """Endless training batches; its position can be saved and restored.

  Attributes:
    num_skipped: how many times a damaged image was met in the batches that
      this process has taken so far.
  """

  def __init__(
    self, iterator, settings: dict[str, int], source, changed_people: str
  ):
    self._iterator = iterator
    self._settings = settings
    self._source = source
    self._changed_people = changed_people
    self.num_skipped = 0

  # Only a position needs it, and some iterators are never asked for theirs.
  @functools.cached_property
  def _contents(self) -> Contents:
    return contents(self._source)

  def __iter__(self) -> 'TrainIterator':
    return self

  def __next__(self) -> dict[str, Any]:
    batch = next(self._iterator)
    self.num_skipped += int(batch.pop('skipped').sum())
    return batch

  def get_state(self) -> dict[str, Any]:
    """The position after the last batch taken: a dict that JSON can hold.

    It is the same on every process but for `num_skipped`, and may be restored
    with another number of processes.
    """
    return {
      **self._settings,
      **self._contents._asdict(),
      'num_skipped': self.num_skipped,
      'position': self._iterator.get_state(),
    }

  def set_state(self, state: dict[str, Any]):
    """Continues from a position: the next batch is the one after it.

    Where images came or went since then, the order is another one.

    Raises:
      ValueError: as `check_state`.
    """
    self.check_state(state)
    self._iterator.set_state(state['position'])
    self.num_skipped = state['num_skipped']

  def check_state(self, state: dict[str, Any]) -> list[str]:
    """Compares a position's data and settings with these.

    Returns:
      A sentence for the user, where there are other images or people.

    Raises:
      ValueError: the position is of another seed or batch size, where it would
        mean other images, or of other people, which `changed_people` refuses.
    """
    for name, value in self._settings.items():
      if state.get(name) != value:
        raise ValueError(
          f'The saved input position has {name} = {state.get(name)}, this run '
          f'has {value}: resume with the same settings, or start anew'
        )
    return self._contents.check(state, self._changed_people)

  def close(self):
    """Stops the reading threads."""
    self._iterator.close()


def make_train_iterator(
  source,
  *,
  batch_size: int,
  seed: int,
  augment: Augment | None,
  skip_damaged: bool,
  num_threads: int,
  skipped: images.SkippedImages | None = None,
  people_per_batch: int = 0,
  changed_people: str = 'refuse',
  process_index: int = 0,
  process_count: int = 1,
) -> TrainIterator:
  """Makes endless shuffled batches; every epoch has its own order.

  Process p of n takes elements p, p + n, ... of each global batch, so a global
  batch has the same images, augmented alike, on any number of processes.

  Args:
    source: a labelled source.
    batch_size: images in a *global* batch.
    seed: of the order and the augmentation, 0 to 2**32 - 1.
    augment: what is drawn for each image, which `augment_batch` then does on
      the device; None: nothing.
    skip_damaged: replace a damaged image by one drawn at random, count and log
      it, instead of raising an error that names it.
    num_threads: threads that read and decode ahead, a batch each.
    skipped: takes damaged images; those that it has are not logged again.
    people_per_batch: P different people, with batch_size / P images of each, as
      `sampler.PeopleOrder` chooses them; 0: every epoch has each image once.
    changed_people: as of `Contents.check`.
    process_index: this process.
    process_count: all processes.

  Returns:
    An iterator over {'image': uint8 [b, H, W, 3], 'label': int32 [b]} and, with
    `augment`, 'draw': an `augment.Draw` of b; b = batch_size / process_count.

  Raises:
    ValueError: the batch does not divide over the processes or the people, or
      the source has fewer images than one batch, or too few people.
  """
  part = _part(process_index, process_count, batch_size)
  order = _order(source, batch_size, people_per_batch, seed)
  passed_over = (skipped or images.SkippedImages()) if skip_damaged else None
  load = _Load(source, augment, passed_over, keep_person=people_per_batch > 0)
  # The random map stands before the slice: its generator then belongs to the
  # global position of an element, whichever process reads it.
  dataset = order.random_map(load)[part].batch(batch_size // process_count)
  # Whole batches are read ahead: decoding and stacking are off the training
  # thread, and at most num_threads batches wait in memory.
  options = grain.ReadOptions(
    num_threads=num_threads, prefetch_buffer_size=num_threads
  )
  return TrainIterator(
    iter(dataset.to_iter_dataset(options)),
    dict(batch_size=batch_size, seed=seed, people_per_batch=people_per_batch),
    source,
    changed_people,
  )


def _part(index: int, count: int, batch_size: int) -> slice:
  """The places in a global batch of one process of several."""
  if batch_size < 1 or batch_size % count:
    raise ValueError(
      f'batch_size is {batch_size}, wanted a positive multiple of {count}, the '
      'number of processes'
    )
  check_value('process_index', index, range(count))
  return slice(index, None, count)


def _order(source, batch_size, people_per_batch, seed) -> grain.MapDataset:
  """Place in the endless stream of images -> index of the image."""
  if people_per_batch:
    order = PeopleOrder(
      source.labels,
      batch_size=batch_size,
      people_per_batch=people_per_batch,
      seed=seed,
    )
    return grain.MapDataset.source(order).seed(seed)
  if len(source) < batch_size:
    raise ValueError(
      f'The source has {len(source)} images, fewer than one batch of '
      f'{batch_size}: use a smaller batch_size'
    )
  return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()


def batches(
  source, batch_size: int, skipped: images.SkippedImages | None = None
) -> Iterator[dict[str, np.ndarray]]:
  """A source in order, once, with a padded last batch.

  Args:
    source: a labelled source.
    batch_size: images in each batch.
    skipped: takes damaged images, which are then left out; None: they raise.

  Yields:
    {'image': uint8 [b, H, W, 3], 'label': int32 [b], '_mask': bool [b]}, all
    of b = batch_size; the padding of the last batch is zero with _mask False.

  Raises:
    ValueError: batch_size is below 1.
  """
  check_value('batch_size', batch_size, whole_from(1))
  return _batches(_examples(source, skipped), batch_size)


def _examples(source, skipped) -> Iterator[dict[str, np.ndarray]]:
  for index in range(len(source)):
    try:
      yield source[index]
    except images.DamagedImageError as error:
      if skipped is None:
        raise
      skipped.add(error)


def _batches(examples, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
  while chunk := list(itertools.islice(examples, batch_size)):
    shape = chunk[0]['image'].shape
    batch = {
      'image': np.zeros((batch_size, *shape), np.uint8),
      'label': np.zeros(batch_size, np.int32),
      '_mask': np.arange(batch_size) < len(chunk),
    }
    for slot, example in enumerate(chunk):
      batch['image'][slot] = example['image']
      batch['label'][slot] = example['label']
    yield batch
