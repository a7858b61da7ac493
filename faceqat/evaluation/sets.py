"""Opens the evaluation sets of a config, and writes the results on each.

A run's folder has the results on its first set of pairs and on the people kept
out of training; `benchmarks/NAME` has those on each further set, as if it were
the folder of a run, so that `faceqat.compare` reads it too.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from faceqat.data import datasets
from faceqat.data.benchmarks import pairs
from faceqat.data.benchmarks.ijb import TemplateSet, read_ijb
from faceqat.data.benchmarks.pairs import PairSet
from faceqat.data.inspection import check_evaluation_images
from faceqat.evaluators import identification, scores, verification
from faceqat.evaluators.precisions import (
  Results,
  on_pairs,
  on_people,
  on_templates,
)
from faceqat.evaluators.verification import Predict
from faceqat.faces import alignment
from faceqat.faces.fingerprint import Fingerprint, names_template
from faceqat.files import atomic
from faceqat.files.image_size import ImageSize
from faceqat.report import hardest
from faceqat.report.results_tables import (
  benchmarks_table,
  results_json,
  results_table,
)


class EvaluationSets(NamedTuple):
  """What to evaluate on.

  Attributes:
    benchmarks: sets of pairs, at least one.
    people: a labelled source of people kept out of training, or None.
    templates: templates of several images, and pairs of them, or None.
  """

  benchmarks: list[PairSet]
  people: Any
  templates: TemplateSet | None


def open_sets(
  config: ml_collections.ConfigDict,
  image_size: ImageSize,
  trained: ml_collections.ConfigDict | None = None,
  faces: Fingerprint | None = None,
) -> EvaluationSets:
  """Opens all sets, so that what is wrong shows before anything is computed.

  Args:
    config: whose `eval` block names them.
    image_size: height and width of the images given.
    trained: the config of the training whose people are kept out; None for a
      program, which does not say on whom it was trained.
    faces: what the network is for; None: it does not say.

  Raises:
    ValueError: a set is missing, unreadable or of another image size, or a
      value of the block cannot be used.
  """
  _check_settings(config)
  benchmarks = datasets.make_benchmarks(config.eval, image_size=image_size)
  templates = None
  if config.eval.templates:
    named = names_template(faces)
    template = faces.template if named else alignment.usual_template(image_size)
    templates = read_ijb(config.eval.templates, image_size, template)
    pairs.check_kinds(templates.same, config.eval.templates)
    check_evaluation_images(templates.images, templates.name)
  people = None
  if trained and config.eval.identification_images:
    people = _open_people(trained, config)
  return EvaluationSets(benchmarks, people, templates)


def _check_settings(config: ml_collections.ConfigDict):
  """Refuses numbers that an evaluation would fail on in the end."""
  for name in ('batch_size', 'agreement_images'):
    if config.eval[name] < 1:
      raise ValueError(f'eval.{name} is {config.eval[name]}; it is 1 or more')
  images_per_person = config.eval.identification_images
  if not images_per_person:
    return
  if images_per_person < 2:
    raise ValueError(
      f'eval.identification_images is {images_per_person}; give 2 or more, one '
      'for the gallery, or 0 to leave identification out'
    )
  if not 0 <= config.eval.unknown_share < 1:
    raise ValueError(
      f'eval.unknown_share is {config.eval.unknown_share}; give a share of the '
      'people below 1, or 0 to leave the open set out'
    )


def _open_people(
  trained: ml_collections.ConfigDict, config: ml_collections.ConfigDict
):
  """The people kept out of a training; None where there is none to ask."""
  try:
    people = datasets.make_held_out_people(trained.data)
    if people is not None:
      identification.check_probes(
        people.labels, config.eval.identification_images
      )
  except ValueError as error:
    # A run is also evaluated where its training set is not.
    print(f'without rank-1: {error}')
    return None
  return people


def evaluate_sets(
  predicts: Mapping[str, Predict],
  sizes: Mapping[str, int],
  sets: EvaluationSets,
  config: ml_collections.ConfigDict,
  outdir: pathlib.Path,
) -> Results:
  """Runs the same evaluators once a precision; prints, writes and draws.

  Args:
    predicts: by precision; the last is the one that ships.
    sizes: of the precisions' files, in bytes.
    sets: from `open_sets`.
    config: with the `eval` block.
    outdir: a folder that exists.

  Returns:
    The results on the first benchmark, and on the people.
  """
  # It takes a second to import.
  from faceqat.report import figures

  settings = config.eval
  everything = {}
  for pair_set in sets.benchmarks:
    results, cosines = on_pairs(
      predicts, pair_set, batch_size=settings.batch_size
    )
    folder = outdir
    if everything:
      folder = make_folder(outdir / 'benchmarks' / pair_set.name)
    elif sets.people is not None:
      _identify(predicts, sets.people, settings, results, outdir)
    else:
      # That of an earlier evaluation is not of these precisions.
      (outdir / identification.FILE_NAME).unlink(missing_ok=True)
    everything[pair_set.name] = results
    _write_results(results, sizes, folder)
    scores.save(scores.of_pairs(pair_set, cosines), folder)
    # Without the integer matching: its scores are less than 2^-29 from those
    # of `integer`.
    same = np.asarray(pair_set.same, bool)
    curves = {
      precision: (values, same) for precision, values in cosines.items()
    }
    figures.roc_figure(curves, folder / 'roc.png')
    last = list(predicts)[-1]
    figures.pairs_figure(pair_set, cosines[last], folder / 'pairs.png')
    hardest.save(pair_set, cosines[last], last, folder)
    _print_results(pair_set.name, results, folder)
    if not verification.has_folds(pair_set.fold):
      print(
        f'{pair_set.name} is one fold: there are no other pairs to choose a '
        'threshold on, and so no accuracy; give a list of two folds or more'
      )
  if len(everything) > 1:
    print(benchmarks_table(everything))
  if sets.templates is not None:
    _evaluate_templates(predicts, sizes, sets.templates, settings, outdir)
  return next(iter(everything.values()))


def _identify(
  predicts: Mapping[str, Predict],
  people,
  settings: ml_collections.ConfigDict,
  results: Results,
  outdir: pathlib.Path,
):
  """Adds rank-k and TPIR to the results of each precision, and saves curves."""
  found = on_people(
    predicts,
    people,
    images_per_person=settings.identification_images,
    unknown_share=settings.unknown_share,
    seed=settings.identification_seed,
    batch_size=settings.batch_size,
  )
  for precision, answers in found.items():
    results[precision].update(identification.summarize(answers))
  identification.save(found, outdir)


def _evaluate_templates(
  predicts: Mapping[str, Predict],
  sizes: Mapping[str, int],
  templates: TemplateSet,
  settings: ml_collections.ConfigDict,
  outdir: pathlib.Path,
):
  from faceqat.report import figures

  results, found = on_templates(
    predicts,
    templates,
    use_norm=settings.template_norm,
    use_quality=settings.template_quality,
    batch_size=settings.batch_size,
  )
  folder = make_folder(outdir / 'benchmarks' / templates.name)
  _write_results(results, sizes, folder)
  curves = {
    precision: (values, templates.same) for precision, values in found.items()
  }
  figures.roc_figure(curves, folder / 'roc.png')
  _print_results(templates.name, results, folder)


def _write_results(
  results: Results, sizes: Mapping[str, int], folder: pathlib.Path
):
  """Adds the sizes of the files, and writes results.json."""
  for precision, row in results.items():
    row['bytes'] = sizes[precision.removesuffix('_match')]
  text = json.dumps(results_json(results), indent=2)
  atomic.write(folder / 'results.json', f'{text}\n'.encode())


def _print_results(name: str, results: Results, folder: pathlib.Path):
  print(f'{name}:')
  print(results_table(results))
  print(f'curves and hardest pairs as pictures: {folder}')


def make_folder(path: str | os.PathLike) -> pathlib.Path:
  """Made once all inputs are read: a wrong one leaves nothing behind."""
  folder = pathlib.Path(path)
  folder.mkdir(parents=True, exist_ok=True)
  return folder
