"""Face recognition that runs in integers.

>>> import faceqat
>>> faceqat.load  # doctest: +ELLIPSIS
<function load at ...>

What stands here is imported when it is first used, so that `import faceqat`
takes milliseconds, and a program runs without what only a training needs.
docs/python.md shows each function.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from faceqat.api.decision import Decision as Decision
  from faceqat.api.decision import Rate as Rate
  from faceqat.api.loading import Face as Face
  from faceqat.api.loading import Model as Model
  from faceqat.api.loading import load as load
  from faceqat.api.people import Gallery as Gallery
  from faceqat.api.people import Match as Match

# Where each name is defined. None of them is that of a module of this folder,
# which an import would put in its place.
_MODULES = {
  'Decision': 'api.decision',
  'Face': 'api.loading',
  'Gallery': 'api.people',
  'Match': 'api.people',
  'Model': 'api.loading',
  'Rate': 'api.decision',
  'load': 'api.loading',
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'{__name__}.{_MODULES[name]}')
  return getattr(module, name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULES})
