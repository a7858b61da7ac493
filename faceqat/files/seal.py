"""A digest inside the file that it covers.

It is SHA-256 of every byte, with its own 64 digits taken as zeros: a writer
puts zeros in its place, and `close` replaces them.
"""

import hashlib

BLANK = '0' * 64


def close(content: bytes, mark: str = '') -> bytes:
  """Writes the digest into the first place that has `mark` and zeros.

  Args:
    content: of the file.
    mark: text before the digits, where zeros alone could be something else.
  """
  start = content.index(f'{mark}{BLANK}'.encode()) + len(mark)
  digest = hashlib.sha256(content).hexdigest().encode()
  return content[:start] + digest + content[start + len(digest) :]


def is_whole(content: bytes, digest: str, mark: str = '') -> bool:
  """Whether the content is unchanged since `digest` was written into it."""
  written, blank = f'{mark}{digest}'.encode(), f'{mark}{BLANK}'.encode()
  blank = content.replace(written, blank, 1)
  return hashlib.sha256(blank).hexdigest() == digest
