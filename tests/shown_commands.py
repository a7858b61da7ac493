"""Collects the commands that the pages, docstrings and notebooks show.

Bash itself reads them: every program is one that only notes its words, so that
variables, loops and continued lines become what a reader's shell makes of them.

In a page, a fenced block without a language, or of `bash`, is commands alone;
what they print stands in a block of `text`. In running text, and in docstrings,
a command is what begins as one.
"""

import ast
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[1]
_BASH = shutil.which('bash')
_FENCE = re.compile(r'\s*```(\w*)\s*$')
_SPAN = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')
_VARIABLES = r'(?:[A-Z][A-Z0-9_]*=\S* )*'
_IN_TEXT = re.compile(
  _VARIABLES + r'(?:(?:\S*/)?python3? -m|make|pip install|tensorboard|pytest|'
  r'docker|gcloud|scancel|launch/\S+\.sh) '
)
_IN_DOCSTRING = re.compile(r'\s+' + _VARIABLES + r'(?:python3? -m|launch/\S+) ')
# Notes its line, its words, and the variables that are set for it: at once, as
# the programs of a pipe are started together.
_NOTE = (
  r'note() { local text name; printf -v text "%s\037" $AT "$@"; text+=$'
  r"'\035'; for name in $(compgen -e); do text+=$name=${!name}$'\037'; done; "
  r"""printf "%s\036" "$text" >> "$NOTES"; }; """
)
# PATH is empty, so that no program is found but by its path.
_PROLOGUE = (
  _NOTE + 'command_not_found_handle() { note "$@"; }; '
  "set -eo pipefail; export AT; trap 'AT=$LINENO' DEBUG; "
)
_OWN = ('AT', 'NOTES', 'PATH', 'PWD', 'OLDPWD', 'SHLVL', '_')


@dataclasses.dataclass(frozen=True)
class Shown:
  """A command that somebody is told to type.

  Attributes:
    path: of the file, from the root.
    line: where it begins there, or in a notebook 0.
    words: the program and its arguments, as the shell gives them to it.
    environment: the variables that are set for it.
  """

  path: str
  line: int
  words: tuple[str, ...]
  environment: dict[str, str] = dataclasses.field(hash=False)

  def __str__(self):
    return f'{self.path}:{self.line}: {" ".join(self.words)}'


def collect() -> list[Shown]:
  """All commands that are shown anywhere, by file and line.

  Raises:
    ValueError: names a file with a block that bash cannot read.
  """
  shown = []
  for pattern in ('README.md', 'docs/*.md', 'launch/*/README.md'):
    for path in sorted(ROOT.glob(pattern)):
      shown += in_page(path.read_text(), _name(path))
  for folder in ('faceqat', 'configs', 'benchmarks'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      shown += in_docstrings(path.read_text(), _name(path))
  for path in sorted((ROOT / 'colab').glob('*.ipynb')):
    for cell in json.loads(path.read_text())['cells']:
      text = ''.join(cell['source'])
      if cell['cell_type'] == 'markdown':
        found = in_page(text, _name(path))
        shown += [dataclasses.replace(one, line=0) for one in found]
  return shown


def in_page(text: str, name: str) -> list[Shown]:
  """The commands of a page of Markdown; `name` is the file's, for messages."""
  blocks, spans, language = {}, {}, None
  for number, line in enumerate(text.splitlines(), 1):
    fence = _FENCE.match(line)
    if fence:
      language = fence[1] if language is None else None
    elif language in ('', 'bash'):
      blocks[number] = line
    elif language is None:
      spans[number] = line
  return _read(blocks, name) + _in_text(spans, name)


def in_docstrings(text: str, name: str) -> list[Shown]:
  """The commands of the docstrings of a module."""
  lines, commands, rest = text.splitlines(), {}, {}
  for start, end in _docstrings(ast.parse(text)):
    continued = False
    for number in range(start, end + 1):
      line = lines[number - 1]
      if continued or _IN_DOCSTRING.match(line):
        commands[number] = line
        continued = line.endswith('\\')
      else:
        rest[number] = line
  return _read(commands, name) + _in_text(rest, name)


def _name(path):
  return str(path.relative_to(ROOT))


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, int]]:
  """The first and the last line of each."""
  documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
  for node in ast.walk(tree):
    if isinstance(node, documented) and ast.get_docstring(node) is not None:
      yield node.body[0].lineno, node.body[0].end_lineno


def _in_text(lines: dict[int, str], name: str) -> list[Shown]:
  """Commands in running text, between backquotes."""
  commands = {}
  for number, line in lines.items():
    found = [span for span in _SPAN.findall(line) if _IN_TEXT.match(span)]
    if found:
      commands[number] = '; '.join(found)
  return _read(commands, name)


def _read(lines: dict[int, str], name: str) -> list[Shown]:
  """Lets bash read lines, which keep their numbers."""
  if not lines:
    return []
  script = [lines.get(number, '') for number in range(1, max(lines) + 1)]
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder, 'checkout')
    _make_checkout(root)
    notes = pathlib.Path(folder, 'notes')
    notes.touch()
    # The first line of the commands stays the first line.
    content = _PROLOGUE + '\n'.join(script)
    result = subprocess.run(
      [_BASH, '--noprofile', '--norc', '-c', content, name],
      cwd=root,
      env={'PATH': '/nonexistent', 'NOTES': str(notes)},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      check=False,
    )
    if result.returncode or result.stderr:
      raise ValueError(
        f'bash cannot read the commands of {name}; what they print belongs '
        f'into a block of ```text: {result.stderr.strip()}'
      )
    records = notes.read_text().split('\036')[:-1]
  return [_shown(record, name) for record in records]


def _shown(record: str, name: str) -> Shown:
  words, _, environment = record.partition('\035')
  line, *words = words.split('\037')[:-1]
  pairs = (entry.partition('=') for entry in environment.split('\037')[:-1])
  return Shown(
    name,
    int(line),
    tuple(words),
    {key: value for key, _, value in pairs if key not in _OWN},
  )


def _make_checkout(root: pathlib.Path):
  """Files with the names of those that shown commands run by their path."""
  scripts = [path.relative_to(ROOT) for path in ROOT.glob('launch/*/*.sh')]
  tools = ('python', 'ruff', 'lint-imports')
  for script in (*scripts, *(f'.venv/bin/{name}' for name in tools)):
    path = root / script
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!{_BASH}\n{_NOTE}\nnote {script} "$@"\n')
    path.chmod(0o755)
  (root / '.venv/bin/activate').touch()
