"""Who is it? Probes against a gallery of people, by cosine.

  python -m faceqat.identify --gallery=PEOPLE --probe=IMAGE_OR_FOLDER \
    --model=runs/mbv2_int8

`--model` is a training run (`--reading=float`, `fake_quant` or `integer`), the
file of an integer program, or an exported `.tflite` or `.onnx`; integers are
matched in integers. `PEOPLE` is a folder `person/image.jpg` of faces aligned as
the network wants them (or of photographs, with `--photographs`), or a gallery
that `--save_gallery` wrote; `--add=PEOPLE` grows it.

Prints how many answers are right, where the probes lie in folders of people
that the gallery knows, and writes `predictions.csv`, `predictions.txt` and
`contact_sheet.png` to `--out` (in CSV files a name that a spreadsheet would
take for a formula, such as `=1+1`, has a `'` before it). People who are not in
the gallery are told by a threshold: `--threshold`, or one for a stated share of
strangers that it lets through, `--false_positive_rate=0.01
--calibration=STRANGERS`.

  python -m faceqat.identify --held_out=10 --model=runs/mbv2_int8

asks for the people whom the training left out: the first image of each is the
gallery, the next nine are probes. (For a file, `--config` says who they are.)
"""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from absl import flags
from ml_collections import config_flags

from faceqat import command
from faceqat.evaluators.predict import READINGS
from faceqat.faces.choice import CHOICES
from faceqat.files.names import similar
from faceqat.identification import (
  answers,
  embedders,
  enrolment,
  gallery,
  retrieval,
)
from faceqat.identification.enrolment import Faces
from faceqat.identification.face_files import LeftOut
from faceqat.identification.gallery import Gallery
from faceqat.identification.inputs import Inputs, list_inputs
from faceqat.identification.retrieval import Matches
from faceqat.integer import matching
from faceqat.integer.program import CONTRACTS

# Of many pictures that two people share.
_MOST_NAMED = 5


class Known(NamedTuple):
  """A gallery and what comes with it.

  Attributes:
    gallery: of all images.
    pictures: for each image of it, a function that reads the face again; None
      where a saved gallery has no picture.
    left_out: images that were not used.
  """

  gallery: Gallery
  pictures: list[Callable[[], np.ndarray] | None]
  left_out: list[LeftOut]


def search(known: Gallery, faces: Faces, k: int, prototypes: bool) -> Matches:
  """The k nearest people of every face.

  Returns:
    The matches; `rows` are the gallery's images, and labels of people where
    each has one prototype.
  """
  if prototypes:
    templates, labels = known.prototypes(), np.arange(len(known.people))
  else:
    templates, labels = known.templates, known.labels
  probes = known.as_stored(faces.templates)
  return retrieval.find_people(templates, labels, probes, k)


def main():
  args = flags.FLAGS
  _check_flags(args)
  out = pathlib.Path(args.out)
  if out.exists() and not out.is_dir():
    raise ValueError(
      f'--out={out} is a file; give a folder, which is made if there is none'
    )
  embedder = embedders.load(
    args.model, args.reading, step=args.step, contract=args.contract
  )
  if not embedder.checked:
    print(
      f'{args.model} has no digest, as files of others and of earlier versions '
      'have none: it is not checked; python -m faceqat.convert writes one'
    )
  inputs = list_inputs(args, embedder)
  counts = [len(inputs.enrolled), len(inputs.probes or ())]
  # One size of batch, for which the network is compiled once.
  batch_size = min(args.batch_size, max(*counts, 1))
  known = _make_gallery(args, embedder, inputs, batch_size)
  left_out = [*inputs.left_out, *known.left_out]
  people = known.gallery.people
  _warn_of_names({*people, *(entry.person for entry in inputs.probes or ())})
  if args.save_gallery:
    gallery.save(known.gallery, args.save_gallery)
    size = pathlib.Path(args.save_gallery).stat().st_size
    print(
      f'gallery saved: {args.save_gallery}, {len(known.gallery.images):,} '
      f'images of {len(people):,} people, {size:,} bytes'
    )
  if inputs.probes is None:
    answers.write_left_out(left_out, out if left_out else None)
    return
  threshold = _choose_threshold(
    args, embedder, inputs, known, batch_size, left_out
  )
  faces = enrolment.embed(embedder, inputs.probes, batch_size, 'probes')
  left_out += faces.left_out
  if not faces.names:
    raise ValueError(
      f'no probe can be used: {_first_reason(left_out, "there is no image")}'
    )
  _warn_of_images(known.gallery, faces)
  if len(people) == 1:
    print(
      f'warning: the gallery has one person, {people[0]}, who is everybody: '
      'top-1 says nothing; look at the scores, or give a threshold'
    )
  k = min(args.k, len(people))
  if 1 < k < args.k:
    print(f'the gallery has {k} people: the {k} nearest are all of them')
  found = answers.Answers(
    faces.names,
    faces.people,
    people,
    known.gallery.images,
    search(known.gallery, faces, k, args.prototypes),
    threshold,
    args.prototypes,
  )
  out.mkdir(parents=True, exist_ok=True)
  answers.write_left_out(left_out, out)
  answers.write(found, out)
  answers.draw(
    found,
    pictures=faces.pictures,
    gallery_pictures=known.pictures,
    labels=known.gallery.labels,
    title=f'{args.model}, {embedder.reading}',
    max_rows=args.sheet_rows,
    path=out / 'contact_sheet.png',
  )
  answers.show(found, embedder.reading, known.gallery)
  print(f'predictions and contact sheet: {out}')


def _check_flags(args):
  if args.save_gallery:
    folder = pathlib.Path(args.save_gallery).parent
    if not folder.is_dir():
      raise ValueError(
        f'--save_gallery={args.save_gallery}: there is no folder {folder}; '
        'make it'
      )
  if args.held_out:
    if args.gallery or args.probe:
      raise ValueError(
        '--held_out takes its own gallery and probes; leave --gallery and '
        '--probe out'
      )
    if args.held_out < 2:
      raise ValueError(
        f'--held_out={args.held_out}: give 2 or more images a person, one for '
        'the gallery'
      )
  elif not args.gallery:
    raise ValueError(
      'give --gallery, a folder with one folder for each person or a saved '
      'gallery, or --held_out'
    )
  elif not args.probe and not args.save_gallery:
    raise ValueError('give --probe, whom to ask for, or --save_gallery')
  if (args.false_positive_rate is None) != (args.calibration is None):
    raise ValueError(
      '--false_positive_rate and --calibration go together: the rate, and a '
      'folder of people who are not in the gallery, on whom it is kept'
    )
  if args.threshold is not None:
    if args.calibration is not None:
      raise ValueError('give --threshold or --false_positive_rate, not both')
    if not -1 <= args.threshold <= 1:
      raise ValueError(
        f'--threshold={args.threshold:g}: a cosine is between -1 and 1'
      )


def _make_gallery(args, embedder, inputs: Inputs, batch_size: int) -> Known:
  """The gallery that was loaded or that is made, with what is added."""
  maker = None
  if inputs.saved or args.save_gallery:
    maker = gallery.Maker(
      embedder.reading, embedder.digest(batch_size), inputs.fingerprint
    )
  if inputs.saved:
    gallery.check_maker(inputs.saved, maker, args.gallery)
  faces = enrolment.embed(embedder, inputs.enrolled, batch_size, 'gallery')
  known = inputs.saved
  if known is None:
    if not faces.names:
      reasons = [*inputs.left_out, *faces.left_out]
      raise ValueError(
        'the gallery is empty: '
        f'{_first_reason(reasons, "there is no image in a folder of a person")}'
      )
    size = faces.templates.shape[1]
    integer = np.issubdtype(faces.templates.dtype, np.integer)
    known = gallery.empty(size, integer, args.int8, maker)
  elif args.int8:
    known = known.to_int8()
  if faces.names:
    known, twice = known.grown(
      faces.templates, faces.people, faces.names, faces.digests
    )
    if twice:
      print(
        f'{len(twice):,} images are in the gallery already and not added '
        f'again, the first one {twice[0]}'
      )
  for one, other in known.shared_pictures()[:_MOST_NAMED]:
    print(
      f'warning: {known.images[one]} and {known.images[other]} are one '
      f'picture, in the gallery as {known.people[known.labels[one]]!r} and as '
      f'{known.people[known.labels[other]]!r}; remove the wrong one'
    )
  # By the pixels: an image that was there already has its picture again.
  of_digest = {d.tobytes(): p for d, p in zip(faces.digests, faces.pictures)}
  pictures = [of_digest.get(digest.tobytes()) for digest in known.digests]
  return Known(known, pictures, faces.left_out)


def _choose_threshold(
  args, embedder, inputs, known: Known, batch_size: int, left_out: list[LeftOut]
):
  """A score to reach; None where everybody is given a name."""
  if args.threshold is not None:
    return retrieval.as_score(args.threshold, known.gallery.integer)
  if inputs.strangers is None:
    return None
  faces = enrolment.embed(embedder, inputs.strangers, batch_size, 'calibration')
  left_out += faces.left_out
  same = _shared_images(known.gallery, faces)
  if same:
    raise ValueError(
      f'--calibration={args.calibration}: {same[0]} is an image of the '
      'gallery; a threshold for strangers needs people who are not in it'
    )
  if not faces.names:
    raise ValueError(
      f'--calibration={args.calibration} has no image that can be used: '
      f'{_first_reason(faces.left_out, "there is none")}'
    )
  best = search(known.gallery, faces, 1, args.prototypes).scores[:, 0]
  threshold = retrieval.choose_threshold(best, args.false_positive_rate)
  shown = f'{float(retrieval.as_cosine(threshold)):.6f}'
  if known.gallery.integer:
    shown += f' ({threshold} of {matching.ONE})'
  print(
    f'threshold {shown}: reached by {np.sum(best >= threshold):,} of '
    f'{len(best):,} images of {len(set(faces.people)):,} strangers'
  )
  return threshold


def _warn_of_names(names: set[str | None]):
  for group in similar(names - {None}):
    print(
      f'warning: {" and ".join(map(repr, group))} are taken for different '
      'people; if they are one, give the folders one name'
    )


def _shared_images(known: Gallery, faces: Faces) -> list[str]:
  there = {digest.tobytes() for digest in known.digests}
  return [
    name
    for name, digest in zip(faces.names, faces.digests)
    if digest.tobytes() in there
  ]


def _warn_of_images(known: Gallery, faces: Faces):
  same = _shared_images(known, faces)
  if same:
    print(
      f'warning: {len(same):,} of {len(faces.names):,} probes are images of '
      f'the gallery, the first one {same[0]}: they find themselves'
    )


def _first_reason(left_out: list[LeftOut], otherwise: str) -> str:
  if not left_out:
    return otherwise
  return (
    f'{len(left_out):,} were left out, the first one as {left_out[0].reason}'
  )


if __name__ == '__main__':
  flags.DEFINE_string('model', None, 'Run folder, program, .tflite or .onnx.')
  flags.DEFINE_string('gallery', None, 'Folder of people, or a saved gallery.')
  flags.DEFINE_string('probe', None, 'Image, or folder of images.')
  flags.DEFINE_string(
    'out', 'identification', 'Folder for predictions and contact sheet.'
  )
  flags.DEFINE_integer('k', 5, 'Answers to each probe.', lower_bound=1)
  flags.DEFINE_bool(
    'prototypes', False, 'One template a person, the mean of all their images.'
  )
  flags.DEFINE_enum(
    'reading', None, READINGS, "Of a run; 'integer' unless another is given."
  )
  flags.DEFINE_string('step', 'latest', "Of a run: 'latest', 'best', a number.")
  flags.DEFINE_enum(
    'contract', CONTRACTS[0], CONTRACTS, 'Whose rounding a run is lowered to.'
  )
  flags.DEFINE_string('save_gallery', None, 'File to write, .safetensors.')
  flags.DEFINE_string('add', None, 'Folder of people to add to the gallery.')
  flags.DEFINE_bool(
    'int8', False, 'Keep templates in int8, and search in integers.'
  )
  flags.DEFINE_float(
    'threshold', None, 'Cosine that a match has to reach; else it is unknown.'
  )
  flags.DEFINE_float(
    'false_positive_rate',
    None,
    'Share of strangers who may be given a name; chooses the threshold.',
  )
  flags.DEFINE_string(
    'calibration', None, 'Folder of people who are not in the gallery.'
  )
  flags.DEFINE_bool(
    'photographs', False, 'Find and align the faces first; crops need not.'
  )
  flags.DEFINE_enum(
    'faces',
    'largest',
    CHOICES,
    'Which of several in a photograph of probes.',
  )
  flags.DEFINE_string(
    'detector', None, 'ONNX file of a YuNet detector, in place of the own one.'
  )
  command.define_size(
    'stored_size',
    "Height and width of crops that are resized to the network's size; by "
    "default those of the run's training.",
  )
  flags.DEFINE_integer(
    'held_out',
    0,
    'In place of --gallery and --probe: at most so many images of each of the '
    'people whom the training left out, the first one in the gallery.',
  )
  config_flags.DEFINE_config_file(
    'config', None, "Whose `data` block says whom --held_out is; a run's own."
  )
  flags.DEFINE_integer(
    'batch_size', 64, 'Images in one call of the network.', lower_bound=1
  )
  flags.DEFINE_integer(
    'sheet_rows', 24, 'Probes on the contact sheet.', lower_bound=1
  )
  flags.mark_flags_as_required(['model'])
  command.run(main)
