"""The page that compares two photographs: how it is made, and in a browser.

In Chromium the whole way runs, from a file to the answer. Given a crop, the
embeddings are the evaluator's bits. Landmarks are the floats of another runtime
than OpenCV's, and crops differ as far as that moves them.
"""

import json
import time

import command_line
import cv2
import numpy as np
import onnxruntime
import page_folder
import pytest
import real_data
from PIL import Image

import faceqat
from examples.browser import __main__ as command
from examples.browser import build, detector
from faceqat.calibration import packaged_files
from faceqat.evaluators import rate_table
from faceqat.export import onnx_graph, onnx_integer
from faceqat.faces import alignment, detection, photographs
from faceqat.integer import program as integer_program
from faceqat.integer import template_score
from tests.support import browser, browser_page

PHOTOS = real_data.path('data/photos')


@pytest.fixture(scope='module')
def stand_in(tmp_path_factory):
  """A runtime of two files that nobody runs."""
  folder = tmp_path_factory.mktemp('onnxruntime-web')
  (folder / 'dist').mkdir()
  for name in build.RUNTIME_FILES:
    (folder / 'dist' / name).write_bytes(name.encode())
  return folder


@pytest.fixture(scope='module')
def program(tmp_path_factory):
  """The file of a small network, with false-match rates."""
  path = page_folder.write(tmp_path_factory.mktemp('page')) / (
    'program.safetensors'
  )
  table = rate_table.load(packaged_files.rates_path_of('sface_int8'))
  small = integer_program.load(path)
  table = table._replace(program=integer_program.digest(small))
  integer_program.save(rate_table.with_table(small, table), path)
  return path


def test_the_command_writes_a_folder_that_is_whole(
  program, stand_in, tmp_path, capsys
):
  out = tmp_path / 'page'
  command_line.run(command, model=program, runtime=stand_in, out=out)
  assert f'--directory={out}' in capsys.readouterr().out
  wasm = 'ort-wasm-simd-threaded.wasm'
  assert (out / 'onnxruntime' / wasm).read_text() == wasm
  assert (out / 'index.html').read_bytes() == (
    build.PAGE / 'index.html'
  ).read_bytes()
  settings = json.loads((out / 'settings.json').read_text())
  assert settings['size'] == [112, 112]
  assert settings['template'] == alignment.ARCFACE_TEMPLATE.tolist()
  for sample in settings['samples']:
    assert all((out / name).is_file() for name in sample['images'])
  # The .onnx is that of the program, with its rates.
  model = faceqat.load(out / 'network.onnx')
  assert model.digest == faceqat.load(program).digest
  assert model.threshold == pytest.approx(0.4189, abs=1e-4)


def test_a_run_of_drawn_faces_says_that_it_is_one(
  quantized_run, stand_in, tmp_path
):
  run, _ = quantized_run
  build.build(str(run), stand_in, tmp_path)
  settings = json.loads((tmp_path / 'settings.json').read_text())
  assert settings['is_for_drawn']
  assert 'trained on drawn faces' in settings['note']
  # The template of 112 pixels, in crops of the network's size.
  height, width = settings['size']
  assert height == width < 112
  np.testing.assert_allclose(
    settings['template'], alignment.ARCFACE_TEMPLATE * height / 112
  )
  model = faceqat.load(tmp_path / 'network.onnx')
  assert model.digest == faceqat.load(run).digest


def test_what_cannot_be_a_page_is_refused(
  program, stand_in, tmp_path, monkeypatch
):
  with pytest.raises(
    ValueError, match=r'--runtime=.*npm ci --ignore-scripts --prefix'
  ):
    build.build(str(program), tmp_path, tmp_path / 'page')
  network = onnx_graph.to_bytes(
    onnx_integer.to_model(integer_program.load(program))
  )
  (tmp_path / 'network.onnx').write_bytes(network)
  with pytest.raises(ValueError, match=r'network\.onnx.*made of a program'):
    build.build(str(tmp_path / 'network.onnx'), stand_in, tmp_path / 'page')
  others = {k: v for k, v in alignment.TEMPLATES.items() if k != 'arcface'}
  monkeypatch.setattr(alignment, 'TEMPLATES', others)
  with pytest.raises(ValueError, match=r"aligned as 'arcface'.*sphereface"):
    build.build(str(program), stand_in, tmp_path / 'page')
  assert not (tmp_path / 'page').exists()


def test_the_detector_is_opencvs_for_images_of_any_size():
  """Its weights are dequantized here; the other file has them as floats."""
  session = onnxruntime.InferenceSession(detector.to_bytes())
  network = cv2.dnn.readNet(str(detection.packaged_weights()))
  names = [output.name for output in session.get_outputs()]
  for height, width in ((64, 96), (128, 32)):
    blob = np.random.default_rng(0).uniform(0, 255, [1, 3, height, width])
    blob = blob.astype(np.float32)
    network.setInput(blob)
    wanted = network.forward(names)
    for found, array in zip(session.run(names, {'input': blob}), wanted):
      # Sums in another order.
      np.testing.assert_allclose(found, array, rtol=0, atol=1e-4)


@pytest.fixture(scope='module')
def runtime():
  if not build.RUNTIME.is_dir():
    pytest.skip('no onnxruntime-web here: docs/browser.md installs it')
  return build.RUNTIME


@pytest.fixture(scope='module')
def window(tmp_path_factory):
  if browser.find() is None:
    pytest.skip(f'no Chromium here ({", ".join(browser.NAMES)}): install one')
  window = browser.Browser(tmp_path_factory.mktemp('chromium'))
  yield window
  window.close()


@pytest.fixture(scope='module')
def page(program, runtime, window, tmp_path_factory):
  """Of the small network, which takes no time."""
  out = tmp_path_factory.mktemp('browser') / 'page'
  build.build(str(program), runtime, out)
  with browser_page.served(out) as address:
    yield browser_page.Page(window, address)


@pytest.fixture(scope='module')
def compared(runtime, window, tmp_path_factory):
  """Of SFace: pairs of images, and the answer with what is behind it."""
  out = tmp_path_factory.mktemp('browser') / 'sface'
  build.build('sface_int8', runtime, out)
  settings = json.loads((out / 'settings.json').read_text())
  found = {}
  with browser_page.served(out) as address:
    page = browser_page.Page(window, address)
    page.open()
    for number, sample in enumerate(settings['samples'][:2]):
      answer = page.sample(number)
      images = [photographs.read_photograph(out / x) for x in sample['images']]
      sides = [page.side(index) for index in range(2)]
      found[sample['label']] = images, sides, answer, page.text('#answer')
    if PHOTOS.exists():
      paths = sorted(PHOTOS.glob('celeba_7207/*'))[:2]
      images = [photographs.read_photograph(path) for path in paths]
      sides = [page.choose(index, path) for index, path in enumerate(paths)]
      answer = page.answer()
      found['photographs'] = images, sides, answer, page.text('#answer')
  return found


@pytest.fixture(scope='module')
def model():
  return faceqat.load('sface_int8')


@pytest.mark.parametrize(
  ('label', 'same'),
  [
    ('One drawn person twice', True),
    ('Two drawn people', False),
    pytest.param('photographs', True, marks=real_data.needs(PHOTOS)),
  ],
)
def test_faces_are_compared_as_in_python(label, same, compared, model):
  images, sides, answer, shown = compared[label]
  templates = []
  for side, image in zip(sides, images):
    found = browser_page.compare(side, image, model)
    # From the crop on every bit is the evaluator's.
    assert found.differing == 0
    # docs/browser.md: over 60 photographs at most 0.02 pixels and 3 steps.
    assert found.landmarks < 0.1
    assert found.crop.max() <= 10
    assert found.crop.mean() < 0.2
    templates.append(found.templates[0])
  score = template_score.score(*templates)
  assert answer['score'] == score
  assert answer['same'] == same == model.verify(*images).same
  rate = model.false_match_rate(score / template_score.ONE)
  assert answer['rate']['words'] == rate.describe()
  assert ('Not the same person' in shown) == (not same)
  assert f'Score {score / template_score.ONE:.4f}' in shown
  assert answer['rate']['words'][1:] in shown
  assert ('These faces are drawn' in shown) == (label != 'photographs')


def test_the_small_form_prints_how_far_the_page_is_from_python(
  page, program, runtime, tmp_path, monkeypatch, capsys
):
  out = tmp_path / 'page'
  build.build(str(program), runtime, out)
  monkeypatch.setattr(
    browser_page.browser, 'Browser', lambda folder: page.window
  )
  monkeypatch.setattr(page.window, 'close', lambda: None)
  command_line.run(browser_page, out / 'samples', page=out, model=program)
  printed = capsys.readouterr().out
  assert 'Ready: program.safetensors' in printed
  assert 'blurred.png: Its face is not usable' in printed
  assert '3 faces' in printed
  assert 'given the crop: 0 of 384' in printed


def test_the_small_form_compares_python_with_itself(program, tmp_path, capsys):
  for name in ('one', 'again'):
    (tmp_path / f'{name}.png').write_bytes(build.draw(name))
  command_line.run(browser_page, tmp_path, model=program)
  printed = capsys.readouterr().out
  assert '2 faces' in printed
  # The integers are those of any processor.
  assert 'given the crop: 0 of 256' in printed


def test_a_face_that_is_not_usable_gives_no_answer(page):
  page.open()
  assert page.sample(2)['same'] is None
  assert 'is not usable: blurred' in page.text('#answer')
  assert 'Score' not in page.text('#answer')


def test_what_is_wrong_with_a_photograph_is_said(page, tmp_path):
  page.open()
  (tmp_path / 'one.png').write_bytes(build.draw('one'))
  face = Image.open(tmp_path / 'one.png')
  both = Image.new('RGB', (2 * face.width, face.height))
  for index in range(2):
    both.paste(face, (index * face.width, 0))
  smaller = both.copy()
  smaller.paste('grey', (face.width, 0, *both.size))
  smaller.paste(face.resize((128, 128)), (face.width, 96))
  for name, image in (('both', both), ('smaller', smaller)):
    image.save(tmp_path / f'{name}.png')
  Image.new('RGB', (200, 100), 'grey').save(tmp_path / 'nobody.png')
  Image.new('RGB', (1, 1)).save(tmp_path / 'pixel.png')
  Image.new('1', (7100, 7100)).save(tmp_path / 'large.png')
  (tmp_path / 'text.png').write_text('no image')
  says = {
    'both': 'It shows several faces of similar size: crop it to one of them.',
    'smaller': 'Face found of 2: the largest is taken.',
    'nobody': 'No face is found in it.',
    'pixel': 'No face is found in it.',
    'large': 'large.png is too large (7100 x 7100 pixels, at most 50 million '
    'are taken): make it smaller.',
    'text': 'text.png is no image that this browser can read: save it as JPEG '
    'or PNG.',
  }
  found = {
    name: page.choose(0, tmp_path / f'{name}.png')['state'] for name in says
  }
  assert found == says


def test_a_photograph_may_be_dropped(page):
  page.open()
  page.window.evaluate(
    """fetch('samples/one.png').then(answer => answer.blob()).then(blob => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([blob], 'one.png', {type: blob.type}));
      const event = new DragEvent('drop', {dataTransfer, cancelable: true});
      document.querySelectorAll('.slot')[1].dispatchEvent(event);
    })"""
  )
  state = "document.querySelectorAll('.state')[1].textContent"
  assert page.wait_for(f"!{state}.startsWith('Looking') && {state}") == (
    'Face found.'
  )
  assert page.side(1)['embeddings']
  # Beside both sides it does not replace the page.
  assert not page.window.evaluate(
    "dispatchEvent(new DragEvent('drop', {cancelable: true}))"
  )


def complaints(window):
  """Errors and warnings of the page."""
  return [
    params
    for method, params in window.events
    if method in ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled')
    or (method == 'Log.entryAdded' and params['entry']['level'] != 'info')
  ]


def test_nothing_is_asked_of_others(page, tmp_path):
  """Nor is the browser allowed to."""
  window = page.window
  page.open()
  page.sample(0)
  assert complaints(window) == []
  asked = [
    params['request']['url']
    for method, params in window.events
    if method == 'Network.requestWillBeSent'
  ]
  assert f'{page.address}page.js' in asked
  own = (page.address, 'data:', f'blob:{page.address}')
  assert [url for url in asked if not url.startswith(own)] == []
  window.evaluate("new Image().src = 'https://faces.invalid/x.png'")
  deadline = time.monotonic() + 10
  while not complaints(window) and time.monotonic() < deadline:
    window.evaluate('0')
  assert 'Content Security Policy' in str(complaints(window))


def test_it_fits_a_phone_and_is_used_without_a_mouse(page):
  window = page.window
  page.open(390)
  page.sample(0)
  assert window.evaluate('document.documentElement.scrollWidth') == 390
  names = []
  for _ in range(5):
    for kind in ('keyDown', 'keyUp'):
      window.call(
        'Input.dispatchKeyEvent', type=kind, key='Tab', windowsVirtualKeyCode=9
      )
    names.append(
      window.evaluate(
        '(document.activeElement.labels?.[0] ?? document.activeElement)'
        '.textContent.trim().replace(/\\s+/g, " ")'
      )
    )
  choose = 'Choose a photograph or drop one here'
  assert names[:3] == [choose, choose, 'One drawn person twice']
  tree = window.call('Accessibility.getFullAXTree')['nodes']
  unnamed = [
    node['role']['value']
    for node in tree
    if node.get('role', {}).get('value') in ('button', 'image', 'img', 'link')
    and not node['ignored']
    and not node.get('name', {}).get('value')
  ]
  assert unnamed == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_letters_stand_out_from_the_paper(scheme, page):
  window = page.window
  page.open(scheme=scheme)
  page.sample(1)
  paper, *colours = window.evaluate(
    """[getComputedStyle(document.body).backgroundColor].concat(
      [...document.querySelectorAll('p, h2, dt, dd, button, summary, a')]
        .filter(e => e.offsetParent).map(e => getComputedStyle(e).color))"""
  )
  assert (browser.luminance(paper) > 0.5) == (scheme == 'light')
  assert len(colours) > 20
  for colour in set(colours):
    # WCAG 2.
    assert browser.contrast(colour, paper) >= 4.5, colour


def test_a_page_without_its_network_says_so(program, runtime, window, tmp_path):
  build.build(str(program), runtime, tmp_path)
  (tmp_path / 'network.onnx').unlink()
  with browser_page.served(tmp_path) as address:
    said = browser_page.Page(window, address).open()
  assert 'network.onnx is not there (404)' in said
