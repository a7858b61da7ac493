"""The packages that some runtimes need beside the requirements."""


def how_to_install(extra: str) -> str:
  """What to type for an extra of pyproject.toml, installed or in a checkout."""
  return (
    f'pip install faceqat[{extra}], or in a checkout '
    f'pip install -r requirements-{extra}.txt'
  )
