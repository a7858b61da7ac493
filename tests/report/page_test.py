"""The page of a run: what it says, and what a browser makes of it."""

import copy
import html.parser
import itertools
import json
import re
import shutil

import browser
import command_line
import pytest
import report_folder

from faceqat.report import __main__ as report
from faceqat.report.page import write_report

SECTIONS = [
  'The network',
  'Training',
  'Verification',
  'Identification',
  'Hardest pairs',
  'Layer by layer',
  'Sizes, speeds and exactness',
  'Config',
]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return report_folder.make_run(tmp_path_factory.mktemp('runs') / 'whole')


@pytest.fixture(scope='module')
def page(run):
  """The file, and its text."""
  path = write_report([str(run)])
  return path, path.read_text()


class _Reader(html.parser.HTMLParser):
  """Headings, identifiers, addresses and the nesting of a page."""

  _VOID = ('meta', 'link', 'img')

  def __init__(self, text):
    super().__init__()
    self.headings, self.ids, self.addresses, self.tags = [], [], [], []
    self._open = []
    self.feed(text)
    self.close()
    assert not self._open, self._open

  def handle_starttag(self, tag, attrs):
    attributes = dict(attrs)
    self.tags.append(tag)
    self.ids += [attributes['id']] if 'id' in attributes else []
    self.addresses += [
      attributes[key] for key in ('href', 'src') if key in attributes
    ]
    if tag not in self._VOID:
      self._open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in self._VOID:
      self.handle_endtag(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag, tag

  def handle_data(self, data):
    if self._open and re.fullmatch('h[1-6]', self._open[-1]):
      self.headings.append((int(self._open[-1][1]), data.strip()))


def words(text):
  """What a reader sees, with single spaces."""
  text = re.sub(r'<style>.*?</style>', '', text, flags=re.DOTALL)
  return ' '.join(html.unescape(re.sub(r'<[^>]*>', ' ', text)).split())


def test_the_page_lies_in_the_folder_and_has_every_section(run, page):
  path, text = page
  assert path == run / 'report.html'
  assert path.stat().st_size < 3_000_000
  read = _Reader(text)
  titles = [title for level, title in read.headings if level == 2]
  assert titles == SECTIONS
  assert read.headings[0] == (1, 'whole')
  levels = [level for level, _ in read.headings]
  assert max(b - a for a, b in itertools.pairwise(levels)) == 1


def test_nothing_is_missing_of_a_whole_run(page):
  _, text = page
  assert 'class="missing"' not in text
  # Loss and rate; ROC, DET, scores; CMC, open set; noise, ranges.
  assert text.count('<svg') == 9
  # Six pairs of either kind.
  assert text.count('<img') == 12


def test_numbers_are_those_of_the_files(run, page):
  seen = words(page[1])
  results = json.loads((run / 'results.json').read_text())
  for name in ('float', 'integer'):
    assert f'{100 * results[name]["accuracy"]:.2f}' in seen
  assert '1.00 MB' in seen
  # A learned step is no parameter of the float network.
  assert 'parameters 216' in seen
  assert '0 of 640' in seen
  assert 'onnx_qdq none 9 640 17 0 1.25' in seen
  assert 'quantization starts (step 30)' in seen
  # The median of 101 to 160.
  assert '130 images/s in the median' in seen
  assert '1. embedding 2.0 37.0 8 -12.8 to 12.7 -3 to 22' in seen
  assert "loss.name 'arcface'" in seen
  assert 'quant.overrides {}' in seen


def test_the_page_needs_nothing_but_itself(page):
  read = _Reader(page[1])
  assert 'script' not in read.tags
  for address in read.addresses:
    assert address.startswith(('#', 'data:')), address
  assert 'url(' not in re.sub(r'url\(#[^)]*\)', '', page[1])


def test_identifiers_are_unique_and_every_reference_has_its_target(page):
  read = _Reader(page[1])
  assert len(set(read.ids)) == len(read.ids)
  used = {a[1:] for a in read.addresses if a.startswith('#')}
  used |= set(re.findall(r'url\(#([^)]*)\)', page[1]))
  assert used <= set(read.ids)


def test_what_a_run_says_is_text_and_never_markup(tmp_path):
  evil = '<script>alert("&")<script>'
  config = copy.deepcopy(report_folder.CONFIG)
  config['data']['path'] = '</style>' + evil
  config['model']['name'] = evil
  pair_set = report_folder.make_pairs(name=evil)
  folder = report_folder.make_run(tmp_path / evil, 0, config, pair_set)
  agreement = report_folder.make_agreement(('stem', evil)).to_json()
  (folder / 'agreement.json').write_text(json.dumps(agreement))
  text = write_report([str(folder)]).read_text()
  read = _Reader(text)
  assert 'script' not in read.tags
  assert text.count('</style>') == 1
  assert read.headings[0] == (1, evil)
  assert text.count('&lt;script&gt;alert') > 10


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
  folder = tmp_path / 'a run'
  folder.mkdir()
  report_folder.write_config(folder, report_folder.CONFIG)
  seen = words(write_report([str(folder)]).read_text())
  for name in ('scores', 'identification', 'hardest'):
    assert f'{folder}/{name}.safetensors' in seen
  assert 'metrics.jsonl' in seen
  assert f"python -m faceqat.evaluate --model='{folder}'" in seen
  assert f"faceqat.convert --model='{folder}' --out='{folder}/ex" in seen


def test_nothing_is_advised_that_a_run_cannot_have(tmp_path):
  data = {**report_folder.CONFIG['data'], 'validation_people': 0}
  config = {**report_folder.CONFIG, 'data': data}
  report_folder.write_config(tmp_path, config)
  seen = words(write_report([str(tmp_path)]).read_text())
  said = 'eval.identification_images), and this run has none. '
  assert not seen.split(said)[1].startswith('python')


def test_results_alone_make_a_page(tmp_path):
  """As an evaluation into a folder of its own leaves them, with NaN."""
  results = {'integer': {'accuracy': 0.5, 'auc': None, 'bytes': 12}}
  (tmp_path / 'results.json').write_text(json.dumps(results))
  seen = words(write_report([str(tmp_path)]).read_text())
  assert 'integer 50.00 - 12' in seen
  assert 'holds no checkpoints' in seen


def test_several_runs_are_compared_first(run, tmp_path):
  other = report_folder.make_run(tmp_path / 'other', seed=1)
  out = tmp_path / 'both.html'
  write_report([str(run), str(other)], str(out))
  text = out.read_text()
  read = _Reader(text)
  titles = [title for level, title in read.headings if level == 2]
  assert titles == ['Comparison', 'whole', 'other']
  assert len(set(read.ids)) == len(read.ids)
  seen = words(text)
  assert 'Differences to whole, float, in points' in seen
  # The precisions that ship, and what intervals are of.
  assert 'whole, integer' in seen
  assert 'other, integer' in seen
  assert '95 % intervals over people' in seen
  comparison = text[: text.index('<article')]
  # ROC, DET, scores, loss, learning rate.
  assert comparison.count('<svg') == 5
  assert 'other, quantized' in comparison


def test_runs_on_other_pairs_are_not_compared(run, tmp_path, monkeypatch):
  # The figures of each are drawn above.
  monkeypatch.setattr('faceqat.report.page._sections', lambda run: [])
  other = tmp_path / 'other'
  report_folder.make_run(other, pair_set=report_folder.make_pairs(100))
  out = tmp_path / 'both.html'
  text = write_report([str(run), str(other)], str(out)).read_text()
  comparison = text[: text.index('<article')]
  assert 'other was evaluated on other pairs than whole' in comparison
  assert 'AUC' in comparison
  assert 'vs whole' not in comparison
  # The curves of the trainings alone.
  assert comparison.count('<svg') == 2


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
  paths = [str(tmp_path / part / 'run') for part in 'ab']
  for path in paths:
    (tmp_path / path).mkdir(parents=True)
    report_folder.write_config(tmp_path / path, report_folder.CONFIG)
  out = write_report(paths, str(tmp_path / 'both.html'))
  titles = [title for _, title in _Reader(out.read_text()).headings]
  assert set(paths) < set(titles)


def test_an_export_elsewhere_can_be_given(run, tmp_path):
  shutil.copy(run / 'results.json', tmp_path)
  path = write_report([str(tmp_path)], exports=[str(run / 'export')])
  assert 'onnx_qdq none 9 640 17 0 1.25' in words(path.read_text())


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['{run}', '{run}/.'], 'a WORKDIR is given twice'),
    (['{run}', '{empty}'], '2 runs go on one page; give --out='),
    (['{run}', '--export=a', '--export=b'], '--export is given 2 times'),
    (['{run}', '--export={empty}'], 'has no exactness.json; give a folder'),
    (['{empty}/none'], 'none is no folder; give the folder of a training run'),
    (['{empty}'], 'has nothing of a run: no results.json'),
  ],
)
def test_wrong_arguments_are_refused_in_one_sentence(
  arguments, message, run, tmp_path
):
  given = [text.format(run=run, empty=tmp_path) for text in arguments]
  with pytest.raises(ValueError, match=re.escape(message)):
    command_line.run(report, *given)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  'name',
  [
    'results.json',
    'agreement.json',
    'export/exactness.json',
    'identification.safetensors',
    'hardest.safetensors',
    'scores.safetensors',
  ],
)
def test_a_damaged_file_is_named(name, run, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(run, folder, ignore=shutil.ignore_patterns('checkpoints'))
  (folder / 'report.html').unlink(missing_ok=True)
  (folder / name).write_bytes(b'[1')
  with pytest.raises(ValueError, match=f'{name} is damaged'):
    write_report([str(folder)])
  assert not (folder / 'report.html').exists()


# What Chromium makes of it.


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
  if browser.find() is None:
    pytest.skip(f'no Chromium here ({", ".join(browser.NAMES)}): install one')
  window = browser.Browser(tmp_path_factory.mktemp('chromium'))
  yield window
  window.close()


def complaints(window):
  """Errors and warnings that the page caused, in the console's words."""
  found = []
  for method, params in window.events:
    if method == 'Log.entryAdded' and params['entry']['level'] != 'info':
      found.append(params['entry']['text'])
    elif method in ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled'):
      found.append(str(params))
  return found


def requests(window):
  return [
    params['request']['url']
    for method, params in window.events
    if method == 'Network.requestWillBeSent'
  ]


@pytest.mark.parametrize('width', [390, 1280])
def test_every_figure_is_shown_and_nothing_is_asked_of_a_network(
  width, page, chromium
):
  path, text = page
  chromium.open(path, width)
  assert complaints(chromium) == []
  first, *others = requests(chromium)
  assert first == path.as_uri()
  assert all(url.startswith('data:') for url in others)
  drawn = chromium.evaluate(
    """[...document.querySelectorAll('figure svg')].map(svg => {
      const curves = svg.querySelectorAll('path');
      const box = svg.getBoundingClientRect();
      return [box.width, box.height, curves.length];
    })"""
  )
  assert len(drawn) == text.count('<svg')
  for shown_width, height, paths in drawn:
    assert shown_width > 300
    assert height > 150
    assert paths > 10
  pictures = chromium.evaluate(
    '[...document.images].map(i => [i.complete, i.naturalWidth, i.width])'
  )
  assert len(pictures) == 12
  assert all(ok and loaded and shown > 50 for ok, loaded, shown in pictures)


def test_on_a_phone_only_tables_and_wide_figures_scroll(page, chromium):
  chromium.open(page[0], 390)
  assert chromium.evaluate('document.documentElement.scrollWidth') == 390
  # Smaller letters than these cannot be read; CSS pixels.
  least = chromium.evaluate(
    """Math.min(...[...document.querySelectorAll('svg text')].map(
      text => parseFloat(getComputedStyle(text).fontSize)
        * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)))"""
  )
  assert least > 8


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_lines_and_letters_stand_out_from_the_paper(scheme, page, chromium):
  chromium.open(page[0], 800, scheme=scheme)
  paper, *colours = chromium.evaluate(
    """[getComputedStyle(document.body).backgroundColor].concat(
      [...document.querySelectorAll('svg text')].map(
        e => getComputedStyle(e).fill),
      [...document.querySelectorAll('p, td, dt, figcaption')].map(
        e => getComputedStyle(e).color),
      [0, 1, 2, 3, 4].map(i => getComputedStyle(document.body)
        .getPropertyValue(`--line-${i}`)))"""
  )
  assert (browser.luminance(paper) > 0.5) == (scheme == 'light')
  assert len(colours) > 200
  for colour in set(colours):
    ratio = browser.contrast(colour, paper)
    # WCAG 2: 4.5 for letters, 3 for parts of a picture.
    assert ratio >= (3 if colour.startswith('#') else 4.5), (colour, ratio)


def test_the_checks_would_see_a_request_and_the_policy_stops_it(
  page, chromium, tmp_path
):
  """Without this, an empty list of complaints might mean nothing."""
  tampered = tmp_path / 'tampered.html'
  foreign = '<img src="https://faces.invalid/x.png"><script>x()</script></body>'
  tampered.write_text(page[1].replace('</body>', foreign))
  chromium.open(tampered, 800)
  found = ' '.join(complaints(chromium))
  assert 'faces.invalid' in found
  assert 'Content Security Policy' in found
  loaded = [
    params['response']['url']
    for method, params in chromium.events
    if method == 'Network.responseReceived'
  ]
  assert not any('faces.invalid' in url for url in loaded)


def test_it_prints_with_no_figure_on_two_pages(page, chromium):
  chromium.open(page[0], 1280)
  assert chromium.pdf().startswith(b'%PDF')
  chromium.call('Emulation.setEmulatedMedia', media='print')
  breaks = chromium.evaluate(
    """[...document.querySelectorAll('figure')].map(
      figure => getComputedStyle(figure).breakInside)"""
  )
  assert set(breaks) == {'avoid'}
  style = "getComputedStyle(document.querySelector('nav'))"
  assert chromium.evaluate(f'{style}.display') == 'none'
