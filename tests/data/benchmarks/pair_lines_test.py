import time

import pytest

from faceqat.data.benchmarks import pair_lines


def read(tmp_path, text, encoding='utf-8'):
  path = tmp_path / 'pairs.txt'
  path.write_bytes(text.encode(encoding))
  return pair_lines.read_pair_lines(path)


def pairs_of(lines):
  return [
    (one, other, pair.same, pair.fold)
    for pair in pair_lines.image_pairs(lines)
    for (one,), (other,) in [pair.files]
  ]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
@pytest.mark.parametrize(
  'line',
  [
    'Ann Lee/a 1.JPG\tBob/2.webp\t1',
    'Ann Lee/a 1.JPG  Bob/2.webp 1',
    'Ann Lee/a 1.JPG,Bob/2.webp,1',
    'Ann Lee/a 1.JPG, Bob/2.webp, true',
    '"Ann Lee/a 1.JPG","Bob/2.webp","1"',
    '1\tAnn Lee/a 1.JPG\tBob/2.webp',
    '1 Ann Lee/a 1.JPG Bob/2.webp',
    'True,Ann Lee/a 1.JPG,Bob/2.webp',
  ],
)
def test_a_pair_is_the_same_however_it_is_written(
  line, end, encoding, tmp_path
):
  lines = read(tmp_path, end.join([line, line, '']), encoding)
  assert pairs_of(lines) == [('Ann Lee/a 1.JPG', 'Bob/2.webp', True, None)] * 2


@pytest.mark.parametrize(
  ('line', 'one'),
  [
    ('"Lee, Ann/1.jpg",b.jpg,0', 'Lee, Ann/1.jpg'),
    ('Lee, Ann/1.jpg b.jpg 0', 'Lee, Ann/1.jpg'),
    ('/data/faces/1 0.jpg b.jpg -1', '/data/faces/1 0.jpg'),
    ('C:\\faces\\Ann\\1.jpg\tb.jpg\tfalse', 'C:\\faces\\Ann\\1.jpg'),
  ],
)
def test_names_may_have_what_separates_fields(line, one, tmp_path):
  assert pairs_of(read(tmp_path, line)) == [(one, 'b.jpg', False, None)]


@pytest.mark.parametrize(
  ('header', 'line', 'fold'),
  [
    ('image,other,same', 'a.jpg,b.jpg,1', None),
    ('path1\tpath2\tis_same', 'a.jpg\tb.jpg\t1', None),
    ('label,file1,file2', '1,a.jpg,b.jpg', None),
    # The index of pandas.
    (',file1,file2,label', '0,a.jpg,b.jpg,1.0', None),
    ('image,other,same,fold', 'a.jpg,b.jpg,1,3', 3),
  ],
)
def test_a_first_line_may_name_the_columns(header, line, fold, tmp_path):
  lines = read(tmp_path, f'{header}\n{line}\n')
  assert pair_lines.names_columns(lines)
  assert pairs_of(lines) == [('a.jpg', 'b.jpg', True, fold)]


@pytest.mark.parametrize(
  'line', ['a.jpg b.jpg', 'a.jpg b.jpg 2', 'a.jpg,b.jpg,c.jpg', 'a,b,1', '']
)
def test_other_lines_are_shown_beside_the_forms(line, tmp_path):
  lines = read(tmp_path, f'a.jpg b.jpg 1\n{line}\na.jpg b.jpg 1')
  with pytest.raises(ValueError, match=r'line 2: .*wanted "image other 1"'):
    pairs_of(lines)


@pytest.mark.parametrize(
  ('line', 'fields'),
  [
    ('Ann\t1\t2', ['Ann', '1', '2']),
    ('Ann Lee 1 2', ['Ann Lee', '1', '2']),
    ('Ann Lee  1 Bob  2', ['Ann Lee', '1', 'Bob', '2']),
    ('Agent 007 1 2', ['Agent', '007', '1', '2']),
    ('Ann Lee,1,2,', ['Ann Lee', '1', '2', '']),
  ],
)
def test_names_and_numbers_are_told_apart(line, fields, tmp_path):
  assert read(tmp_path, line)[0].fields == fields


@pytest.mark.parametrize(
  'line',
  [
    'a.jpg ' * 100_000,
    # Each of many lines is short, but all have an end that fits.
    f'{"a.jpg " * 1500}x 1\n' * 20,
    f'{"a 1 " * 2000}x\n' * 20,
    # More than a field of a table may have.
    f'{"a" * 200_000},b',
  ],
  ids=['one', 'images', 'words', 'field'],
)
def test_endless_lines_take_no_endless_time(line, tmp_path):
  start = time.process_time()
  with pytest.raises(ValueError, match='line 1'):
    pairs_of(read(tmp_path, line))
  # Patterns that try all pairs of its names would need days.
  assert time.process_time() - start < 5
