"""Lists and checks the inputs of `identify` before a network runs."""

import pathlib
from typing import NamedTuple

from faceqat.data import datasets
from faceqat.evaluators.identification import split_gallery
from faceqat.faces import alignment
from faceqat.faces import fingerprint as fingerprints
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files.image_size import height_width, to_text
from faceqat.files.names import plain_name
from faceqat.identification import face_files, gallery, retrieval
from faceqat.identification.embedders import Embedder
from faceqat.identification.face_files import Entry, LeftOut, Reader
from faceqat.identification.gallery import Gallery
from faceqat.identification.predictions import UNKNOWN


class Inputs(NamedTuple):
  """What is listed before anything is embedded.

  Attributes:
    saved: a gallery that was loaded.
    enrolled: images to make or to grow a gallery of.
    probes: images to ask for; None where there is only a gallery to make.
    strangers: images to choose a threshold on.
    fingerprint: of the gallery's faces; None where nothing says.
    left_out: files that are no images.
  """

  saved: Gallery | None
  enrolled: list[Entry]
  probes: list[Entry] | None
  strangers: list[Entry] | None
  fingerprint: Fingerprint | None
  left_out: list[LeftOut]


def list_inputs(args, embedder: Embedder) -> Inputs:
  """Lists all images that the flags of `identify` ask for.

  Args:
    args: the flags.
    embedder: the network, whose size and alignment the images are to have.

  Raises:
    ValueError: a folder is missing or is none of people, a gallery is damaged,
      or faces are aligned otherwise than the network's or than each other.
  """
  reader = _make_reader(args, embedder, args.faces)
  # A person is in a photograph of theirs once.
  enrolling = reader
  if args.photographs and args.faces == 'all':
    enrolling = _make_reader(args, embedder, 'largest')
  left_out: list[LeftOut] = []

  faces = embedder.fingerprint
  if not fingerprints.is_stated(faces):
    print(fingerprints.unstated('--model'))

  if args.photographs and not fingerprints.names_template(faces):
    size = embedder.image_size
    faces = Fingerprint(alignment.usual_template(size), size)
  silent, warnings = [], []

  def listed(path, list_entries, reader):
    nonlocal faces
    found = faces
    if not args.photographs:
      found = _check_faces(path, faces, wanted_by)
      if not fingerprints.is_stated(found):
        silent.append(path)
      faces = faces if fingerprints.names_template(faces) else found or faces
    warn(found, path)
    entries, others = list_entries(path, reader)
    left_out.extend(others)
    return entries

  def warn(found, path):
    made_for = embedder.fingerprint
    warnings.extend(
      fingerprints.warn_of_drawn(found, made_for, path, '--model')
    )

  told, wanted_by = fingerprints.names_template(faces), '--model'
  saved, probes, strangers = None, None, None
  if args.held_out:
    enrolled, probes, found = _held_out(args, embedder)
    warn(found, '--held_out')
  elif pathlib.Path(args.gallery).is_file():
    saved, enrolled = gallery.load(args.gallery), []
    warn(saved.maker.fingerprint, args.gallery)
    if not told:
      faces = saved.maker.fingerprint or faces
  else:
    enrolled = listed(args.gallery, face_files.list_people, enrolling)
  if not told:
    # Whoever comes later is compared with those of the gallery.
    wanted_by = args.gallery
  if args.add:
    enrolled = enrolled + listed(args.add, face_files.list_people, enrolling)
  if args.probe:
    probes = listed(args.probe, face_files.list_probes, reader)
  if args.calibration:
    strangers = listed(args.calibration, face_files.list_people, enrolling)
  if warnings:
    print(warnings[0])
  elif silent and fingerprints.is_stated(faces):
    print(fingerprints.unstated(silent[0]))
  inputs = Inputs(saved, enrolled, probes, strangers, faces, left_out)
  _check_people(args, inputs)
  return inputs


def _check_people(args, inputs: Inputs):
  """Refuses what would be refused after all has been embedded."""
  people = {entry.person for entry in inputs.enrolled}
  if inputs.saved:
    people.update(inputs.saved.people)
  if UNKNOWN in people:
    raise ValueError(
      f'a person of the gallery is called {UNKNOWN!r}, which is what those are '
      'called whom it does not have; rename the folder'
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
      f'--calibration={args.calibration} has people of the gallery: '
      f'{", ".join(shared[:5])}{" ..." if shared[5:] else ""}; a threshold for '
      'strangers needs people who are not in it'
    )
  retrieval.check_rate(args.false_positive_rate, len(inputs.strangers))


def _make_reader(args, embedder: Embedder, choice: str) -> Reader:
  stored_size = embedder.stored_size
  if args.stored_size is not None:
    stored_size = args.stored_size
  if not args.photographs:
    return face_files.make_crop_reader(embedder.image_size, stored_size)
  faces = embedder.fingerprint
  return face_files.make_photograph_reader(
    faces.template
    if fingerprints.names_template(faces)
    else alignment.usual_template(embedder.image_size),
    choice,
    embedder.image_size,
    stored_size,
    bgr=bool(faces) and faces.channels == 'BGR',
    detector=args.detector,
  )


def _check_faces(path: str, wanted: Fingerprint | None, wanted_by: str):
  """The fingerprint of a folder's faces; an error if it is not that wanted."""
  folder = pathlib.Path(path)
  found = fingerprints.read(folder.parent if folder.is_file() else folder)
  fingerprints.check(found, wanted, path, wanted_by)
  return found


def _held_out(
  args, embedder: Embedder
) -> tuple[list[Entry], list[Entry], Fingerprint | None]:
  """One image of everybody kept out of a training, their others, of what."""
  config = args.config
  if config is None:
    if embedder.network is None:
      raise ValueError(
        f'--held_out: {args.model} does not say on whom it was trained; give '
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
    for part in split_gallery(source.labels, args.held_out)
  )
  found = datasets.training_fingerprint(config.data)
  fingerprints.check(found, embedder.fingerprint, '--held_out', '--model')
  return enrolled, probes, found
