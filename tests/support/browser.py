"""A headless Chromium, controlled through a pipe: no driver, no open port.

Source: the Chrome DevTools Protocol; with `--remote-debugging-pipe` the browser
reads messages from file descriptor 3 and writes them to 4, each JSON and a zero
byte.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
_SECONDS = 60
# Moves the ends of two pipes to descriptors 3 and 4, by way of numbers above
# both, and becomes the browser. JAX's threads forbid a fork in this process.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
  """The program's path, or None."""
  return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
  """One page in its own browser.

  Attributes:
    events: (method, params) of all events so far.
  """

  def __init__(self, folder):
    to_browser, self._out = os.pipe()
    self._in, from_browser = os.pipe()
    self.events, self._buffer, self._number = [], b'', 0
    # It is written to as long as the browser runs.
    self._log = open(folder / 'chromium.log', 'wb')  # noqa: SIM115

    self._process = subprocess.Popen(
      [
        sys.executable,
        '-c',
        _START,
        f'{to_browser}',
        f'{from_browser}',
        find(),
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--hide-scrollbars',
        f'--user-data-dir={folder / "profile"}',
        '--remote-debugging-pipe',
        'about:blank',
      ],
      stdout=self._log,
      stderr=self._log,
      pass_fds=(to_browser, from_browser),
    )
    os.close(to_browser)
    os.close(from_browser)
    os.set_blocking(self._in, False)
    self._session = None
    try:
      target = self.call('Target.createTarget', url='about:blank')
      self._session = self.call(
        'Target.attachToTarget', targetId=target['targetId'], flatten=True
      )['sessionId']
      for domain in ('Page', 'Runtime', 'Log', 'Network'):
        self.call(f'{domain}.enable')
    except BaseException:
      self.close()
      raise

  def call(self, method, **params):
    """Sends a command and returns its result."""
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': params}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._out, json.dumps(message).encode() + b'\0')
    while True:
      answer = self._receive()
      if answer.get('id') == self._number:
        assert 'error' not in answer, (method, answer['error'])
        return answer['result']

  def open(self, path, width, height=900, scheme='light'):
    """Shows a file, or an address, at a width, and clears the events."""
    self.events.clear()
    self.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    self.call(
      'Emulation.setEmulatedMedia',
      features=[{'name': 'prefers-color-scheme', 'value': scheme}],
    )
    url = path if isinstance(path, str) else path.resolve().as_uri()
    self.call('Page.navigate', url=url)
    while not any(m == 'Page.loadEventFired' for m, _ in self.events):
      self._receive()

  def evaluate(self, expression):
    """The value of JavaScript, even where the page forbids scripts.

    Of a promise it is what that is kept with.
    """
    answer = self.call(
      'Runtime.evaluate',
      expression=expression,
      returnByValue=True,
      awaitPromise=True,
    )
    assert 'exceptionDetails' not in answer, answer
    return answer['result'].get('value')

  def pdf(self) -> bytes:
    return base64.b64decode(
      self.call(
        'Page.printToPDF',
        preferCSSPageSize=True,
        paperWidth=8.27,
        paperHeight=11.69,
      )['data']
    )

  def close(self):
    with contextlib.suppress(OSError, AssertionError):
      os.write(self._out, b'{"id": 0, "method": "Browser.close"}\0')
    try:
      self._process.wait(10)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    os.close(self._out)
    os.close(self._in)
    self._log.close()

  def _receive(self):
    """The next message; events are also kept."""
    deadline = time.monotonic() + _SECONDS
    while b'\0' not in self._buffer:
      try:
        part = os.read(self._in, 1 << 20)
        assert part, f'Chromium ended; see {self._log.name}'
        self._buffer += part
      except BlockingIOError:
        assert time.monotonic() < deadline, f'no answer; see {self._log.name}'
        time.sleep(0.01)
    line, _, self._buffer = self._buffer.partition(b'\0')
    message = json.loads(line)
    if 'method' in message:
      self.events.append((message['method'], message['params']))
    return message


def luminance(colour):
  """Relative luminance (WCAG 2) of `rgb(r, g, b)` or `#rrggbb`."""
  if colour.startswith('#'):
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
  else:
    parts = [float(x) for x in re.findall(r'[\d.]+', colour)[:3]]
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
    for x in (part / 255 for part in parts)
  ]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
  low, high = sorted((luminance(one), luminance(other)))
  return (high + 0.05) / (low + 0.05)
