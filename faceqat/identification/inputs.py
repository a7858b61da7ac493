"""Lists and checks the inputs of `identify` before a network runs."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

from faceqat.evaluators.identification_rates import split_gallery
from faceqat.faces import alignment, quality
from faceqat.faces import fingerprint as fingerprints
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files.image_size import height_width, to_text
from faceqat.files.names import plain_name
from faceqat.identification import face_files, gallery, retrieval
from faceqat.identification.answers import UNKNOWN
from faceqat.identification.embedders import Embedder
from faceqat.identification.face_files import Entry, LeftOut, Reader
from faceqat.identification.gallery import Gallery
from faceqat.identification.settings import PathLike, Settings


class Inputs(NamedTuple):
  """All images of an identification, before anything is embedded.

  Attributes:
    saved: a gallery that was loaded.
    enrolled: images to make or to grow a gallery of.
    probes: images to ask for; None where there is only a gallery to make.
    strangers: images to choose a threshold on.
    fingerprint: of the gallery's faces; None where nothing says.
    left_out: files that are no images.
    ambiguous: gets the photographs of the gallery, and those of the probes, in
      which several faces are of similar size, while they are read.
    not_usable: gets, of each photograph, why each of its faces is not usable,
      '' where it is, while they are read.
  """

  saved: Gallery | None
  enrolled: list[Entry]
  probes: list[Entry] | None
  strangers: list[Entry] | None
  fingerprint: Fingerprint | None
  left_out: list[LeftOut]
  ambiguous: tuple[list[pathlib.Path], list[pathlib.Path]]
  not_usable: dict[pathlib.Path, list[str]]


def list_inputs(
  model: PathLike,
  gallery_path: PathLike | None,
  probe_path: PathLike | None,
  settings: Settings,
  embedder: Embedder,
) -> Inputs:
  """Lists all images; paths and settings are those of `identify`.

  Raises:
    ValueError: a folder is missing or is none of people, a gallery is damaged,
      or faces are aligned otherwise than the network's or than each other.
  """
  ambiguous, not_usable = ([], []), {}
  # A person is in a photograph of theirs once.
  choice = 'largest' if settings.faces == 'all' else settings.faces
  enrolling = make_reader(settings, embedder, choice, ambiguous[0], not_usable)
  reader = make_reader(
    settings, embedder, settings.faces, ambiguous[1], not_usable
  )
  listing = _Listing(embedder, settings.photographs)
  saved, probes, strangers = None, None, None
  if settings.held_out:
    enrolled, probes, found = _held_out(model, settings, embedder)
    listing.warn_of_drawn(found, '--held_out')
  elif pathlib.Path(gallery_path).is_file():
    saved, enrolled = gallery.load(gallery_path), []
    listing.take_saved(saved.maker.fingerprint, gallery_path)
  else:
    enrolled = listing.list(gallery_path, face_files.list_people, enrolling)
  # Whoever comes later is compared with those of the gallery.
  listing.compare_with(gallery_path)
  if settings.add:
    enrolled += listing.list(settings.add, face_files.list_people, enrolling)
  if probe_path:
    probes = listing.list(probe_path, face_files.list_probes, reader)
  if settings.calibration:
    strangers = listing.list(
      settings.calibration, face_files.list_people, enrolling
    )
  listing.print_warning()
  inputs = Inputs(
    saved,
    enrolled,
    probes,
    strangers,
    listing.faces,
    listing.left_out,
    ambiguous,
    not_usable,
  )
  _check_people(settings, inputs)
  return inputs


def check_paths(
  gallery_path: PathLike | None, probe_path: PathLike | None, settings: Settings
):
  """Refuses what is missing or empty, before a network is loaded.

  Raises:
    ValueError: names the flag, and what to give.
  """
  people, counts = 'person/image.jpg', {}
  for flag, path, list_them, wanted in (
    ('gallery', gallery_path, face_files.list_people, people),
    ('add', settings.add, face_files.list_people, people),
    ('calibration', settings.calibration, face_files.list_people, people),
    ('probe', probe_path, face_files.list_probes, 'image.jpg'),
  ):
    if not path or (flag == 'gallery' and pathlib.Path(path).is_file()):
      continue
    try:
      entries, left_out = list_them(path, lambda _: [])
    except ValueError as error:
      raise ValueError(f'--{flag}: {error}') from error
    if not entries and not left_out:
      raise ValueError(
        f'--{flag}={path} has no image; give a folder with {wanted} in it'
      )
    counts[flag] = len(entries)
    # A saved gallery is read later.
    if flag == 'calibration' and 'gallery' in counts:
      # How many it takes is said before the work.
      retrieval.check_rate(
        settings.false_positive_rate,
        len(entries),
        len({entry.person for entry in entries}),
        # Of means nothing is known by pairs.
        0 if settings.prototypes else sum(counts.values()) - len(entries),
      )


class _Listing:
  """Lists images, and compares how their faces are aligned.

  Attributes:
    faces: how all of them are to be aligned; None until something says so.
    left_out: files that are no images.
  """

  def __init__(self, embedder: Embedder, photographs: bool):
    self.faces = self._made_for = embedder.fingerprint
    self.left_out: list[LeftOut] = []
    self._photographs = photographs
    self._wanted_by = '--model'
    self._silent: list[str] = []
    self._warnings: list[str] = []
    if not fingerprints.is_stated(self.faces):
      print(fingerprints.unstated('--model'))
    if photographs and not fingerprints.names_template(self.faces):
      size = embedder.image_size
      self.faces = Fingerprint(alignment.usual_template(size), size)
    self._told = fingerprints.names_template(self.faces)

  def list(self, path: PathLike, list_entries: Callable, reader: Reader):
    """The images of a path, whose faces must be aligned as those before."""
    found = self.faces
    if not self._photographs:
      found = _check_faces(path, self.faces, self._wanted_by)
      if not fingerprints.is_stated(found):
        self._silent.append(path)
      if not fingerprints.names_template(self.faces):
        self.faces = found or self.faces
    self.warn_of_drawn(found, path)
    entries, others = list_entries(path, reader)
    self.left_out += others
    return entries

  def take_saved(self, found: Fingerprint | None, path: PathLike):
    """Takes the alignment of a saved gallery, where the network has none."""
    self.warn_of_drawn(found, path)
    if not self._told:
      self.faces = found or self.faces

  def compare_with(self, path: PathLike | None):
    """Takes a path as the standard of alignment, where the network has none."""
    if not self._told:
      self._wanted_by = path

  def warn_of_drawn(self, found: Fingerprint | None, path: PathLike):
    self._warnings += fingerprints.warn_of_drawn(
      found, self._made_for, path, '--model'
    )

  def print_warning(self):
    """Prints the first one, or which faces do not state their alignment."""
    if self._warnings:
      print(self._warnings[0])
    elif self._silent and fingerprints.is_stated(self.faces):
      print(fingerprints.unstated(self._silent[0]))


def _check_people(settings: Settings, inputs: Inputs):
  """Refuses inputs that could not be answered, before anything is embedded."""
  people = {entry.person for entry in inputs.enrolled}
  if inputs.saved:
    people.update(inputs.saved.people)
  if UNKNOWN in people:
    raise ValueError(
      f'a person of the gallery is called {UNKNOWN!r}, the name for people who '
      'are not in it; rename the folder'
    )
  if inputs.probes is not None and not inputs.probes:
    reasons = [entry.reason for entry in inputs.left_out]
    raise ValueError(
      f'no probe can be used: {", ".join([*reasons[:1], "there is no image"])}'
    )
  if inputs.strangers is None:
    return
  own = set(map(plain_name, people))
  shared = sorted(
    {e.person for e in inputs.strangers if plain_name(e.person) in own}
  )
  if shared:
    raise ValueError(
      f'--calibration={settings.calibration} has people of the gallery: '
      f'{", ".join(shared[:5])}{" ..." if shared[5:] else ""}; a threshold for '
      'strangers needs people who are not in it'
    )
  saved = len(inputs.saved.images) if inputs.saved else 0
  retrieval.check_rate(
    settings.false_positive_rate,
    len(inputs.strangers),
    len({entry.person for entry in inputs.strangers}),
    0 if settings.prototypes else saved + len(inputs.enrolled),
  )


def make_reader(
  settings: Settings,
  embedder: Embedder,
  choice: str,
  ambiguous: list[pathlib.Path] | None = None,
  not_usable: dict[pathlib.Path, list[str]] | None = None,
) -> Reader:
  """Reads crops, or photographs, as a network and the settings want them.

  Args:
    settings: of the identification.
    embedder: the network.
    choice: which of several faces, one of `faces.choice.CHOICES`.
    ambiguous: gets the photographs in which several faces are of similar size.
    not_usable: gets why the faces of a photograph are not usable.

  Raises:
    ValueError: a size or template that does not go with the network.
  """
  stored_size = embedder.stored_size
  if settings.stored_size is not None:
    stored_size = settings.stored_size
  if not settings.photographs:
    return face_files.make_crop_reader(embedder.image_size, stored_size)
  judge = None
  if not_usable is not None:

    def judge(path, image, found):
      measured = (quality.measure(image, face) for face in found)
      not_usable[path] = [quality.why_not(x, settings.bars) for x in measured]

  return face_files.make_photograph_reader(
    embedder.template,
    choice,
    embedder.image_size,
    stored_size,
    bgr=embedder.is_bgr,
    detector=settings.detector,
    ambiguous=ambiguous,
    judge=judge,
  )


def _check_faces(path: PathLike, wanted: Fingerprint | None, wanted_by: str):
  """The fingerprint of a folder's faces; an error if it is not that wanted."""
  folder = pathlib.Path(path)
  found = fingerprints.read(folder.parent if folder.is_file() else folder)
  fingerprints.check(found, wanted, path, wanted_by)
  return found


def _held_out(
  model: PathLike, settings: Settings, embedder: Embedder
) -> tuple[list[Entry], list[Entry], Fingerprint | None]:
  """Gallery and probes of people kept out of a training; their alignment."""
  # Sets for training, which other probes do not need.
  from faceqat.data import datasets, stated_faces

  config = settings.config
  if config is None:
    if embedder.network is None:
      raise ValueError(
        f'--held_out: {model} does not say on whom it was trained; give '
        '--config=configs/mbv2_int8.py, or the one of its run'
      )
    config = embedder.network.config
  source = datasets.make_held_out_people(config.data)
  if source is None:
    raise ValueError(
      '--held_out: data.validation_people is 0, so nobody was kept out of the '
      'training; give --gallery and --probe'
    )
  size = height_width(config.data.image_size)
  if size != embedder.image_size:
    raise ValueError(
      f'--held_out: data.image_size is {to_text(size)}, and --model takes '
      f'{to_text(embedder.image_size)}; give --config.data.image_size'
    )

  def entry(index: int) -> Entry:
    person = source.class_names[source.labels[index]]
    name = f'{person}/{pathlib.Path(source.name(index)).name}'
    return Entry(name, person, lambda: [source[index]['image']])

  enrolled, probes = (
    [entry(int(index)) for index in part]
    for part in split_gallery(source.labels, settings.held_out)
  )
  found = stated_faces.training_fingerprint(config.data)
  fingerprints.check(found, embedder.fingerprint, '--held_out', '--model')
  return enrolled, probes, found
