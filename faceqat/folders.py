"""What lies in people's folders, and paths as people write them."""

import os

# What systems and programs leave beside images, in lower case: nobody's
# images, nor a mistake of the user's.
_LITTER = frozenset(
  {
    '$recycle.bin',
    '#recycle',
    '@eadir',
    '__macosx',
    'desktop.ini',
    'ehthumbs.db',
    'icon\r',
    'lost+found',
    'picasa.ini',
    'system volume information',
    'thumbs.db',
  }
)


def visible(folder: str | os.PathLike) -> list[os.DirEntry]:
  """What people put into a folder, sorted by name.

  Without names that start with a dot, and what systems leave there.
  """
  with os.scandir(folder) as entries:
    found = [
      entry
      for entry in entries
      if not entry.name.startswith('.') and entry.name.lower() not in _LITTER
    ]
  return sorted(found, key=lambda entry: entry.name)
