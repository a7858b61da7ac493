"""A gallery: templates of people, that is saved, loaded and grown.

A template stands for an image: the sum of its embedding and of its mirror
image's. Its length plays no part in a cosine, so it may be scaled: floats are
kept as unit vectors, integers as they are (exact, int16), and either may be
kept in int8, each template scaled to a largest element of 127. What is stored
is searched, so a saved gallery gives the answers that it gave before.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence

import numpy as np
import safetensors.numpy

from faceqat.faces import fingerprint as fingerprints
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files import array_file, atomic, strict_json
from faceqat.integer import template_score

# The digest of version 1 leaves out the maker; up to version 2 a maker's
# precision is called `reading`.
FORMAT_VERSION = 3
# Bytes of the digest of an image: enough that no two images share one.
DIGEST_BYTES = 16

_KEY = 'faceqat_gallery'
_TYPES = ('float32', 'int16', 'int8')
# Prototypes sum unit vectors with so many fractional bits.
_UNIT_BITS = 20
_INT8_REACH = 127
_AGAIN = 'or make the gallery again from its images'


@dataclasses.dataclass(frozen=True)
class Maker:
  """The origin of templates; only those of one maker can be compared.

  Attributes:
    precision: 'float', 'fake_quant' or 'integer'.
    model: digest of what the network computes.
    fingerprint: of the faces; None where nothing says how they are aligned.
  """

  precision: str
  model: str
  fingerprint: Fingerprint | None


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
  """Templates of people.

  Attributes:
    templates: [N, D], float32 unit vectors, or int16 or int8.
    labels: int32 [N], 0 .. K-1.
    people: K names.
    images: N names of images.
    digests: uint8 [N, 16], of the pixels: an image is known under any name.
    maker: of the templates.
  """

  templates: np.ndarray
  labels: np.ndarray
  people: tuple[str, ...]
  images: tuple[str, ...]
  digests: np.ndarray
  maker: Maker

  @property
  def integer(self) -> bool:
    """Whether it is searched in integers."""
    return np.issubdtype(self.templates.dtype, np.integer)

  def as_stored(self, templates: np.ndarray) -> np.ndarray:
    """Templates [M, D] in this gallery's type, to be compared with its own."""
    exact = exact_templates(templates)
    if self.templates.dtype == np.int8:
      return to_int8(exact)
    return exact

  def to_int8(self) -> 'Gallery':
    """The same people, one byte a number; scores move by about 0.001."""
    return dataclasses.replace(self, templates=to_int8(self.templates))

  def grown(
    self,
    templates: np.ndarray,
    people: Sequence[str],
    images: Sequence[str],
    digests: np.ndarray,
  ) -> tuple['Gallery', list[str]]:
    """Adds M images, with templates [M, D] as `verification.embed` gives them.

    Returns:
      A new gallery, and the names of images that were there already, under
      their person's name, and are not added again.
    """
    known = {
      (self.people[label], digest.tobytes())
      for label, digest in zip(self.labels, self.digests)
    }
    new, twice = [], []
    for i, (person, digest) in enumerate(zip(people, digests)):
      key = (person, digest.tobytes())
      (twice if key in known else new).append(i)
      known.add(key)
    names = list(self.people)
    names += sorted({people[i] for i in new} - set(names))
    label_of = {name: label for label, name in enumerate(names)}
    labels = np.array([label_of[people[i]] for i in new], np.int32)
    gallery = dataclasses.replace(
      self,
      templates=np.concatenate(
        [self.templates, self.as_stored(templates[np.array(new, int)])]
      ),
      labels=np.concatenate([self.labels, labels]),
      people=tuple(names),
      images=(*self.images, *(images[i] for i in new)),
      digests=np.concatenate([self.digests, digests[np.array(new, int)]]),
    )
    return gallery, [images[i] for i in twice]

  def shared_pictures(self) -> list[tuple[int, int]]:
    """Rows of images that are one picture, of two people."""
    first_of, found = {}, []
    for row, digest in enumerate(self.digests):
      first = first_of.setdefault(digest.tobytes(), row)
      if self.labels[first] != self.labels[row]:
        found.append((first, row))
    return found

  def prototypes(self) -> np.ndarray:
    """One template a person [K, D]: the mean of their unit vectors.

    In integers: each template, divided by its length, is rounded to multiples
    of 2^-20; the sum of a person's is scaled until its largest element is the
    largest that templates have (510, or 127 in int8), and rounded to the
    nearest, halves away from zero. No float takes part.
    """
    if self.integer:
      unit = _integer_unit(self.templates)
    else:
      unit = self.templates.astype(np.float64)
    sums = np.zeros([len(self.people), unit.shape[1]], unit.dtype)
    np.add.at(sums, self.labels, unit)
    if not self.integer:
      return exact_templates(sums)
    if self.templates.dtype == np.int8:
      return _scaled(sums, _INT8_REACH).astype(np.int8)
    return _scaled(sums, template_score.REACH).astype(np.int16)


def empty(size: int, integer: bool, int8: bool, maker: Maker) -> Gallery:
  """A gallery to grow, of templates with `size` elements."""
  kind = np.int8 if int8 else np.int16 if integer else np.float32
  return Gallery(
    np.zeros([0, size], kind),
    np.zeros([0], np.int32),
    (),
    (),
    np.zeros([0, DIGEST_BYTES], np.uint8),
    maker,
  )


def digest_image(image: np.ndarray) -> np.ndarray:
  """uint8 [16] of an image's pixels [H, W, 3]."""
  content = hashlib.blake2b(
    np.ascontiguousarray(image).tobytes(), digest_size=DIGEST_BYTES
  ).digest()
  return np.frombuffer(content, np.uint8)


def exact_templates(templates: np.ndarray) -> np.ndarray:
  """Integers [N, D] as int16 (or int8, as they are), floats as unit vectors."""
  if templates.dtype in (np.int8, np.int16):
    return templates
  if np.issubdtype(templates.dtype, np.integer):
    assert np.abs(templates).max(initial=0) <= template_score.REACH
    return templates.astype(np.int16)
  templates = templates.astype(np.float64)
  norms = np.linalg.norm(templates, axis=1, keepdims=True)
  return (templates / np.where(norms > 0, norms, 1)).astype(np.float32)


def to_int8(templates: np.ndarray) -> np.ndarray:
  """Templates [N, D] of any type, each scaled to a largest element of 127."""
  if templates.dtype == np.int8:
    return templates
  if np.issubdtype(templates.dtype, np.integer):
    return _scaled(templates.astype(np.int64), _INT8_REACH).astype(np.int8)
  largest = np.abs(templates).max(axis=1, keepdims=True)
  scale = _INT8_REACH / np.where(largest > 0, largest, 1)
  return np.rint(templates * scale).astype(np.int8)


def save(gallery: Gallery, path: str | os.PathLike):
  """Writes a gallery to one safetensors file, whole or not at all."""
  names = json.dumps({'people': gallery.people, 'images': gallery.images})
  faces = gallery.maker.fingerprint
  arrays = {
    'templates': gallery.templates,
    'labels': gallery.labels,
    'digests': gallery.digests,
    # Beside the arrays, as a header may not be so large.
    'names': np.frombuffer(names.encode(), np.uint8),
  }
  maker = {
    **vars(gallery.maker),
    'fingerprint': faces and fingerprints.to_fields(faces),
  }
  entry = {
    'version': FORMAT_VERSION,
    'sha256': _digest(arrays, maker),
    'maker': maker,
  }
  content = safetensors.numpy.save(arrays, metadata={_KEY: json.dumps(entry)})
  atomic.write(path, content)


def load(path: str | os.PathLike) -> Gallery:
  """Reads a gallery that `save` wrote.

  Raises:
    ValueError: the file is no gallery, damaged, or written by a newer version.
  """
  name = os.fspath(path)
  try:
    arrays, metadata = array_file.read_arrays(name)
    if _KEY not in metadata:
      raise ValueError(f'its header has no {_KEY!r}')
    entry = strict_json.parse(metadata[_KEY], dict)
  except ValueError as error:
    raise ValueError(
      f'{name} is no gallery, or is cut short: {error}; give a file that '
      '--save_gallery wrote, or a folder with one folder for each person'
    ) from error
  version = entry.get('version')
  if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
    raise ValueError(
      f'{name} has gallery format {version!r}; this faceqat reads up to '
      f'{FORMAT_VERSION}: upgrade faceqat, or make the gallery again'
    )
  try:
    maker = entry['maker'] if version > 1 else None
    if entry['sha256'] != _digest(arrays, maker):
      raise ValueError('its SHA-256 does not match')
    precision = entry['maker']['precision' if version > 2 else 'reading']
    return _from_arrays(entry['maker'], str(precision), arrays)
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'{name} is damaged: {error}; copy it again, or make the gallery again'
    ) from error


def check_maker(gallery: Gallery, maker: Maker, path: str):
  """Refuses a gallery whose templates another network or alignment made.

  Raises:
    ValueError: names the file, the difference, and the remedy.
  """
  there = gallery.maker
  try:
    fingerprints.check(there.fingerprint, maker.fingerprint, path, '--model')
  except ValueError as error:
    raise ValueError(
      f'{path} was made of faces that are aligned otherwise than those of '
      f'--model ({there.fingerprint} there, {maker.fingerprint} here): give '
      f'the network that made it, {_AGAIN}'
    ) from error
  if there.precision != maker.precision:
    raise ValueError(
      f'{path} has templates of the precision {there.precision!r}, and --model '
      f'runs in {maker.precision!r}: give --precision={there.precision}, '
      f'{_AGAIN}'
    )
  if there.model != maker.model:
    raise ValueError(
      f'{path} was made by another network ({there.model[:12]}) than --model '
      f'({maker.model[:12]}), whose embeddings cannot be compared: give the '
      f'network that made it, {_AGAIN}'
    )


def _from_arrays(
  maker: dict, precision: str, arrays: dict[str, np.ndarray]
) -> Gallery:
  faces = maker['fingerprint']
  names = strict_json.parse(arrays['names'].tobytes(), dict)
  gallery = Gallery(
    templates=arrays['templates'],
    labels=arrays['labels'],
    people=tuple(names['people']),
    images=tuple(names['images']),
    digests=arrays['digests'],
    maker=Maker(
      precision,
      str(maker['model']),
      Fingerprint(**faces) if faces else None,
    ),
  )
  count = len(gallery.images)
  templates, labels = gallery.templates, gallery.labels
  fits = (
    templates.dtype.name in _TYPES
    and templates.ndim == 2
    and len(templates) == count
    and labels.shape == (count,)
    and labels.dtype == np.int32
    and gallery.digests.shape == (count, DIGEST_BYTES)
    and gallery.digests.dtype == np.uint8
    and all(isinstance(x, str) for x in (*gallery.people, *gallery.images))
    and len(set(gallery.people)) == len(gallery.people)
    # Everybody has an image: whoever has none has no prototype either.
    and np.array_equal(np.unique(labels), np.arange(len(gallery.people)))
    and bool(np.isfinite(templates).all())
  )
  if not fits:
    raise ValueError('its arrays do not fit together')
  return gallery


def _digest(arrays: dict[str, np.ndarray], maker: dict | None) -> str:
  digest = hashlib.sha256()
  if maker is not None:
    digest.update(json.dumps(maker, sort_keys=True).encode())
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    digest.update(f'{name} {array.dtype} {array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _integer_unit(templates: np.ndarray) -> np.ndarray:
  """Templates [N, D] divided by their lengths, int64 of 20 fractional bits."""
  wide = templates.astype(np.int64)
  squares = np.sum(wide * wide, axis=1)
  # 2^16 times the length, cut; squares are below 2^31.
  lengths = [math.isqrt(int(square) << 32) for square in squares]
  lengths = np.maximum(np.array(lengths, np.int64), 1)[:, None]
  return _divided(wide << (16 + _UNIT_BITS), lengths)


def _scaled(values: np.ndarray, reach: int) -> np.ndarray:
  """Integers [N, D], each row scaled until its largest element is `reach`."""
  largest = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1)
  return _divided(values * reach, largest)


def _divided(values: np.ndarray, divisors: np.ndarray) -> np.ndarray:
  """int64 quotients, rounded to the nearest, halves away from zero."""
  size = (2 * np.abs(values) + divisors) // (2 * divisors)
  return np.where(values < 0, -size, size)
