"""Opens the evaluation sets of a config, and writes the results on each.

A run's folder has the results on its first set of pairs and on the people kept
out of training; `benchmarks/NAME` has those on each further set, as if it were
the folder of a run, so that `faceqat.compare` reads it too.
"""

import json
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
from faceqat.evaluation import rates
from faceqat.evaluators import identification_rates, scores, verification
from faceqat.evaluators.precisions import (
  Results,
  on_pairs,
  on_people,
  on_templates,
)
from faceqat.evaluators.verification import Predict
from faceqat.faces import alignment
from faceqat.faces.fingerprint import Fingerprint, names_template
from faceqat.fields import check_value
from faceqat.files import atomic, folders
from faceqat.files.image_size import ImageSize
from faceqat.report import hardest
from faceqat.report.results_tables import (
  benchmarks_table,
  results_json,
  results_table,
  summary_table,
)


class EvaluationSets(NamedTuple):
  """The sets to evaluate on.

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
  opened: EvaluationSets | None = None,
) -> EvaluationSets:
  """Opens all sets; what is wrong with one shows before anything is computed.

  Args:
    config: whose `eval` block names them.
    image_size: height and width of the images given.
    trained: the config of the training whose people are kept out; None for a
      program, which does not say on whom it was trained.
    faces: that the network is for; None: it does not say.
    opened: sets of the same config, whose pairs need not be opened again.

  Raises:
    ValueError: a set is missing, unreadable or of another image size, or a
      value of the block cannot be used.
  """
  _check_settings(config.eval)
  if opened is None:
    benchmarks = datasets.make_benchmarks(config.eval, image_size=image_size)
  else:
    benchmarks = opened.benchmarks
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


def _check_settings(settings: ml_collections.ConfigDict):
  """Refuses numbers of an `eval` block, before a long evaluation."""
  for name in ('batch_size', 'agreement_images'):
    check_value(f'eval.{name}', settings[name], '[1, inf)')
  images = settings.identification_images
  if images < 0 or images == 1:
    raise ValueError(
      f'eval.identification_images is {images}; give 2 or more, one for the '
      'gallery, or 0 to leave identification out'
    )
  if images:
    check_value('eval.unknown_share', settings.unknown_share, '[0, 1)')


def _open_people(
  trained: ml_collections.ConfigDict, config: ml_collections.ConfigDict
):
  """The people kept out of a training; None where there is none to ask."""
  try:
    people = datasets.make_held_out_people(trained.data)
    if people is not None:
      identification_rates.check_probes(
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
  full: bool = False,
  digests: Mapping[str, Mapping[str, str]] | None = None,
  groups: Mapping[str, str] | None = None,
) -> Results:
  """Runs the same evaluators once a precision; prints, writes and draws.

  Writes `results.json`, `rates.json`, `groups.json`, `scores.safetensors`,
  `hardest.safetensors`, `identification.safetensors`, `roc.png`, `pairs.png`.

  Args:
    predicts: by precision; the last is the one that ships.
    sizes: of the precisions' files, in bytes.
    sets: from `open_sets`.
    config: with the `eval` block.
    outdir: a folder that exists.
    full: print every figure, in place of those to look at first.
    digests: of the networks whose false-match rates are measured, by precision
      the `network` and `program` of a `MatchTable`.
    groups: of people of the first benchmark, whose errors are measured too.

  Returns:
    The results on the first benchmark, and on the people.
  """
  settings = config.eval
  everything, stated = {}, {}
  for pair_set in sets.benchmarks:
    embedded = {}
    results, cosines = on_pairs(
      predicts, pair_set, batch_size=settings.batch_size, embedded=embedded
    )
    folder = outdir
    if everything:
      folder = folders.make(outdir / 'benchmarks' / pair_set.name)
    elif sets.people is not None:
      _identify(predicts, sets.people, settings, results, outdir)
    else:
      # That of an earlier evaluation is not of these precisions.
      (outdir / identification_rates.FILE_NAME).unlink(missing_ok=True)
    _save_pairs(pair_set, cosines, folder)
    tables = rates.measure(pair_set, embedded, digests or {}, folder, full)
    if not everything:
      stated = tables
      rates.measure_groups(pair_set, embedded, tables, groups, folder)
    elif stated and pair_set.people is not None:
      rates.compare(stated, pair_set, embedded)
    _finish(pair_set.name, pair_set.same, cosines, results, sizes, folder, full)
    everything[pair_set.name] = results
    _say_if_one_fold(pair_set)
  if len(everything) > 1:
    print(benchmarks_table(everything))
  if sets.templates is not None:
    _evaluate_templates(predicts, sizes, sets.templates, settings, outdir, full)
  return next(iter(everything.values()))


def _say_if_one_fold(pair_set: PairSet):
  if not verification.has_folds(pair_set.fold):
    print(
      f'{pair_set.name} is one fold: there are no other pairs to choose a '
      'threshold on, and so no accuracy; give a list of two folds or more'
    )


def _save_pairs(
  pair_set: PairSet, cosines: Mapping[str, np.ndarray], folder: pathlib.Path
):
  """Writes the scores of each precision, and the hardest pairs of the last."""
  # It takes a second to import.
  from faceqat.report import figures

  scores.save(scores.of_pairs(pair_set, cosines), folder)
  last = list(cosines)[-1]
  figures.pairs_figure(pair_set, cosines[last], folder / 'pairs.png')
  hardest.save(pair_set, cosines[last], last, folder)


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
    results[precision].update(identification_rates.summarize(answers))
  identification_rates.save(found, outdir)


def _evaluate_templates(
  predicts: Mapping[str, Predict],
  sizes: Mapping[str, int],
  templates: TemplateSet,
  settings: ml_collections.ConfigDict,
  outdir: pathlib.Path,
  full: bool,
):
  results, found = on_templates(
    predicts,
    templates,
    use_norm=settings.template_norm,
    use_quality=settings.template_quality,
    batch_size=settings.batch_size,
  )
  folder = folders.make(outdir / 'benchmarks' / templates.name)
  _finish(templates.name, templates.same, found, results, sizes, folder, full)


def _finish(
  name: str,
  same: np.ndarray,
  found: Mapping[str, np.ndarray],
  results: Results,
  sizes: Mapping[str, int],
  folder: pathlib.Path,
  full: bool,
):
  """Adds the sizes of the files; writes results.json and roc.png; prints."""
  # Drawing takes seconds to import.
  from faceqat.report import figures

  for precision, row in results.items():
    row['bytes'] = sizes[precision.removesuffix('_match')]
  text = json.dumps(results_json(results), indent=2)
  atomic.write(folder / 'results.json', f'{text}\n'.encode())
  # Without the integer matching: its scores are less than 2^-29 from those of
  # `integer`.
  same = np.asarray(same, bool)
  curves = {precision: (values, same) for precision, values in found.items()}
  figures.roc_figure(curves, folder / 'roc.png')
  print(f'{name}:')
  print(results_table(results) if full else summary_table(results))
  print(f'results.json with every figure, curves, hardest pairs: {folder}')
