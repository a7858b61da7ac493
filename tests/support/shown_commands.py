"""Collects the commands that pages, docstrings and notebooks show.

Bash itself reads them, with every program replaced by one that only notes its
words. So variables, loops and continued lines are read as in a user's shell.

In a page, a fenced block without a language or of `bash` holds only commands;
output stands in a block of `text`. In running text and docstrings, a command is
recognised by its first word.
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

from settings import ROOT

_BASH = shutil.which('bash')
_FENCE = re.compile(r'\s*```(\w*)\s*$')
_SPAN = re.compile(r'(?<!`)`([^`\n]+)`(?!`)')
_VARIABLES = r'(?:[A-Z][A-Z0-9_]*=\S* )*'
_IN_TEXT = re.compile(
  _VARIABLES + r'(?:(?:\S*/)?python3? -m|make|pip install|tensorboard|pytest|'
  r'docker|gcloud|scancel|launch/\S+\.sh) '
)
_IN_DOCSTRING = re.compile(
  r'\s+' + _VARIABLES + r'(?:python3? -m|faceqat|launch/\S+) '
)
# Notes its line, words and variables with one write, as the programs of a pipe
# run at the same time.
_NOTE = (
  r'note() { local text name; printf -v text "%s\037" $AT "$@"; text+=$'
  r"'\035'; for name in $(compgen -e); do text+=$name=${!name}$'\037'; done; "
  r"""printf "%s\036" "$text" >> "$NOTES"; }; """
)
# With an empty PATH, programs are only found by their path.
_PROLOGUE = (
  _NOTE + 'command_not_found_handle() { note "$@"; }; '
  "set -eo pipefail; export AT; trap 'AT=$LINENO' DEBUG; "
)
# Programs of the environment that the Makefile runs.
_INSTALLED = tuple(
  f'.venv/bin/{name}' for name in ('python', 'ruff', 'lint-imports', 'mypy')
)
_OWN = ('AT', 'NOTES', 'PATH', 'PWD', 'OLDPWD', 'SHLVL', '_')


@dataclasses.dataclass(frozen=True)
class Shown:
  """A command that the documentation shows.

  Attributes:
    path: of the file, from the root.
    line: where it begins there, or in a notebook 0.
    words: the program and its arguments, after the shell's expansions.
    environment: the variables set for it.
  """

  path: str
  line: int
  words: tuple[str, ...]
  environment: dict[str, str] = dataclasses.field(hash=False)

  def __str__(self):
    return f'{self.path}:{self.line}: {" ".join(self.words)}'


def collect() -> list[Shown]:
  """All commands that are shown, by file and line.

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
  """The commands of a Markdown page; `name` is its file, for messages."""
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
  """The commands in the docstrings of a module."""
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
  """The first and last line of each docstring."""
  documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
  for node in ast.walk(tree):
    if isinstance(node, documented) and ast.get_docstring(node) is not None:
      yield node.body[0].lineno, node.body[0].end_lineno


def _in_text(lines: dict[int, str], name: str) -> list[Shown]:
  """Commands in running text, in backquotes."""
  commands = {}
  for number, line in lines.items():
    found = [span for span in _SPAN.findall(line) if _IN_TEXT.match(span)]
    if found:
      commands[number] = '; '.join(found)
  return _read(commands, name)


def _read(lines: dict[int, str], name: str) -> list[Shown]:
  """Reads lines with bash; they keep their numbers."""
  if not lines:
    return []
  script = [lines.get(number, '') for number in range(1, max(lines) + 1)]
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder, 'checkout')
    _make_checkout(root)
    notes = pathlib.Path(folder, 'notes')
    notes.touch()
    # No newline after the prologue, or line numbers would change.
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
  """Stand-ins for the files that commands run by their path."""
  scripts = [path.relative_to(ROOT) for path in ROOT.glob('launch/*/*.sh')]
  for script in (*scripts, *_INSTALLED):
    path = root / script
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!{_BASH}\n{_NOTE}\nnote {script} "$@"\n')
    path.chmod(0o755)
  (root / '.venv/bin/activate').touch()
