"""Face recognition that runs in integers.

>>> import faceqat
>>> faceqat.load.__module__
'faceqat.api.loading'

What stands here is imported when it is first used, so that `import faceqat`
takes milliseconds, and a program runs without what only a training needs.
docs/python.md shows each function.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from faceqat.api.decision import Decision, Rate
  from faceqat.api.loading import Face, Model, load
  from faceqat.api.people import Gallery, Match
  from faceqat.calibration.lower import lower
  from faceqat.evaluation.networks import evaluate_network, evaluate_program
  from faceqat.export.roundtrip import export as export_program
  from faceqat.identification.identify import identify as identify_people
  from faceqat.identification.settings import Settings as IdentifySettings
  from faceqat.preparation.crops import CropSettings
  from faceqat.preparation.prepare import Options as PrepareOptions
  from faceqat.preparation.prepare import prepare as prepare_faces
  from faceqat.report.comparison import compare_evaluations, read_evaluation
  from faceqat.training.checkpoint import load_network
  from faceqat.training.loop import train

__all__ = [
  'CropSettings',
  'Decision',
  'Face',
  'Gallery',
  'IdentifySettings',
  'Match',
  'Model',
  'PrepareOptions',
  'Rate',
  'compare_evaluations',
  'evaluate_network',
  'evaluate_program',
  'export_program',
  'identify_people',
  'load',
  'load_network',
  'lower',
  'prepare_faces',
  'read_evaluation',
  'train',
]

# The module of each name, and its name there. None is that of a module in this
# folder, such as a command: an import of it would take the name's place.
_PUBLIC = {
  'CropSettings': ('preparation.crops', 'CropSettings'),
  'Decision': ('api.decision', 'Decision'),
  'Face': ('api.loading', 'Face'),
  'Gallery': ('api.people', 'Gallery'),
  'IdentifySettings': ('identification.settings', 'Settings'),
  'Match': ('api.people', 'Match'),
  'Model': ('api.loading', 'Model'),
  'PrepareOptions': ('preparation.prepare', 'Options'),
  'Rate': ('api.decision', 'Rate'),
  'compare_evaluations': ('report.comparison', 'compare_evaluations'),
  'evaluate_network': ('evaluation.networks', 'evaluate_network'),
  'evaluate_program': ('evaluation.networks', 'evaluate_program'),
  'export_program': ('export.roundtrip', 'export'),
  'identify_people': ('identification.identify', 'identify'),
  'load': ('api.loading', 'load'),
  'load_network': ('training.checkpoint', 'load_network'),
  'lower': ('calibration.lower', 'lower'),
  'prepare_faces': ('preparation.prepare', 'prepare'),
  'read_evaluation': ('report.comparison', 'read_evaluation'),
  'train': ('training.loop', 'train'),
}


# Else a type checker would take any name for a public one.
if not TYPE_CHECKING:

  def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
      raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(f'{__name__}.{module}'), attribute)


def __dir__() -> list[str]:
  return sorted({*globals(), *_PUBLIC})
