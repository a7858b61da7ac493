/** The page: two photographs in, an answer out. */

import { estimateSimilarity, move } from './alignment.js';
import { ONE, defaultRow, rateOfScore, score, template } from './decision.js';
import { paint, readPhotograph } from './photograph.js';

const ORDER = ['first', 'second'];
const SVG = 'http://www.w3.org/2000/svg';
const find = (selector, inside = document) => inside.querySelector(selector);

/** The two sides: their element, and what was found in their photograph. */
export const slots = [...document.querySelectorAll('.slot')].map(
  (element, index) => ({ element, name: ORDER[index], turn: 0, found: null }),
);
/** What the last answer is made of. */
export const answer = {};

let network = null;
let count = 0;
const waiting = new Map();
const worker = new Worker('recogniser.js', { type: 'module' });

worker.addEventListener('error', ({ message }) => {
  fail(`This browser cannot run the page: ${message ?? 'no module workers'}.`);
});
worker.addEventListener('message', ({ data }) => {
  if (data.error) fail(data.error);
  else if (data.settings) begin(data);
  else {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  }
});

function fail(message) {
  const line = find('#loading');
  line.textContent = message;
  line.classList.add('bad');
  for (const resolve of waiting.values()) {
    resolve({ faces: [], whyNot: 'the networks are not loaded' });
  }
  waiting.clear();
}

function begin({ settings, metadata, milliseconds }) {
  const rates = metadata.match_rates;
  network = { settings, table: rates ? JSON.parse(rates) : null };
  const seconds = (milliseconds / 1000).toFixed(1);
  find('#loading').textContent = `Ready: ${settings.name}, loaded in ${seconds} s.`;
  show(find('#note'), settings.note);
  const digest = metadata.program_digest?.replace('program-sha256:', '') ?? '';
  network.facts = {
    network: settings.name,
    program: digest.slice(0, 16),
    rounding: metadata.contract,
    faces: `${settings.size.join(' x ')} pixels, ${settings.alignment}`,
  };
  list(find('#facts'), network.facts);
  for (const sample of settings.samples) addSample(sample);
  show(find('#samples'), ' ', false);
}

/** Shows an element with a text, or hides it where there is none. */
function show(element, text, write = true) {
  element.hidden = !text;
  if (write) element.textContent = text ?? '';
}

function list(element, entries) {
  element.replaceChildren(
    ...Object.entries(entries).flatMap(([name, value]) => {
      const [term, description] = ['dt', 'dd'].map((tag) => {
        return document.createElement(tag);
      });
      term.textContent = name;
      description.textContent = value;
      return [term, description];
    }),
  );
}

function addSample({ label, images }) {
  const button = document.createElement('button');
  button.type = 'button';
  for (const source of images) {
    const image = document.createElement('img');
    image.src = source;
    image.alt = '';
    button.append(image);
  }
  button.append(label);
  button.addEventListener('click', async () => {
    const files = await Promise.all(images.map(fetchFile));
    files.forEach((file, index) => take(slots[index], file, true));
  });
  find('#samples .buttons').append(button);
}

async function fetchFile(source) {
  const blob = await (await fetch(source)).blob();
  return new File([blob], source.split('/').at(-1), { type: blob.type });
}

/** Takes a photograph for a side, and compares when both are there. */
export async function take(slot, file, isDrawn = false) {
  const turn = ++slot.turn;
  slot.found = null;
  find('#answer').hidden = true;
  clear(slot);
  say(slot, `Looking at ${file.name} …`);
  let found;
  try {
    const image = await readPhotograph(file);
    if (turn !== slot.turn) return;
    showPhotograph(slot, file);
    const { width, height } = image;
    found = { ...(await ask(image)), image: { width, height } };
  } catch (error) {
    if (turn === slot.turn) say(slot, `${file.name} ${error.message}`, true);
    return;
  }
  // Another photograph may have been chosen in the meantime.
  if (turn !== slot.turn) return;
  slot.found = { ...found, isDrawn };
  showFound(slot);
  compare();
}

/** What the worker finds in an image, which it takes for itself. */
function ask(image) {
  const id = ++count;
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, image }, [image.data.buffer]);
  });
}

function say(slot, text, isBad = false) {
  const line = find('.state', slot.element);
  line.textContent = text;
  line.classList.toggle('bad', isBad);
}

function clear({ element }) {
  const image = find('.view img', element);
  if (image.src) URL.revokeObjectURL(image.src);
  image.removeAttribute('src');
  find('.view svg', element).replaceChildren();
  find('.view', element).hidden = true;
  find('.face', element).hidden = true;
}

function showPhotograph({ element, name }, file) {
  const image = find('.view img', element);
  image.src = URL.createObjectURL(file);
  image.alt = `The ${name} photograph, ${file.name}`;
  find('.view', element).hidden = false;
}

function showFound(slot) {
  const { faces, image, whyNot, quality, crop } = slot.found;
  outline(find('.view svg', slot.element), image, faces);
  const others = faces.length - 1;
  const more = others > 0 ? ` of ${faces.length}: the largest is taken` : '';
  const text = whyNot ? `${capital(whyNot)}.` : `Face found${more}.`;
  say(slot, text, Boolean(whyNot));
  if (!crop) return;
  const canvas = find('.crop canvas', slot.element);
  paint(canvas, crop);
  canvas.setAttribute('aria-label', `The face of the ${slot.name} photograph`);
  const matrix = estimateSimilarity(faces[0].landmarks, network.settings.template);
  const landmarks = faces[0].landmarks.map((point) => move(matrix, point));
  outline(find('.crop svg', slot.element), crop, [{ landmarks }]);
  const aside = turn(quality.yaw, 'left', 'right');
  const down = turn(quality.pitch, 'up', 'down');
  list(find('.face dl', slot.element), {
    size: `${quality.size.toFixed(0)} pixels`,
    turned: `${aside}, ${down}`,
    sharpness: quality.sharpness.toFixed(2),
    detector: `${(100 * faces[0].score).toFixed(0)} % sure`,
  });
  find('.face', slot.element).hidden = false;
}

function turn(degrees, below, above) {
  return `${Math.abs(degrees).toFixed(0)}° ${degrees < 0 ? below : above}`;
}

/** Draws boxes and landmarks of faces over an image, the first one bold. */
function outline(svg, { width, height }, faces) {
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const make = (name, attributes) => {
    const shape = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) {
      shape.setAttribute(key, value);
    }
    return shape;
  };
  const unit = Math.max(width, height) / 300;
  svg.replaceChildren(
    ...faces.flatMap(({ box, landmarks }, index) => {
      const [bold, r] = [index ? 1 : 2, box ? 2.5 * unit : 2];
      const points = landmarks.map(([cx, cy]) => make('circle', { cx, cy, r }));
      if (!box) return points;
      const [x, y, w, h] = box;
      const place = { x, y, width: w, height: h, rx: 3 * unit };
      const stroke = { 'stroke-width': bold * unit };
      const dashes = index ? { 'stroke-dasharray': `${4 * unit}` } : {};
      const frame = make('rect', { ...place, ...stroke, ...dashes });
      return index ? [frame] : [frame, ...points];
    }),
  );
}

/** Says whether both photographs show one person, once both are there. */
function compare() {
  if (slots.some(({ found }) => !found)) return;
  const unusable = slots.filter(({ found }) => found.whyNot);
  if (unusable.length) {
    const reasons = unusable.map(({ name, found }) => {
      return `the ${name} photograph: ${found.whyNot}`;
    });
    showAnswer({ same: null, whyNot: reasons.join('; ') });
    return;
  }
  const [a, b] = slots.map(({ found }) => template(...found.embeddings));
  const value = score(a, b);
  const { table, settings } = network;
  if (!table) {
    const whyNot =
      'nobody has measured how often other people reach a score of ' +
      `${settings.name}; evaluate it, and build this page again`;
    showAnswer({ same: null, score: value, whyNot });
    return;
  }
  const row = defaultRow(table);
  showAnswer({
    same: value >= row.threshold_q29,
    score: value,
    threshold: row.threshold,
    rate: rateOfScore(table, value / ONE),
  });
}

function showAnswer(given) {
  Object.keys(answer).forEach((key) => delete answer[key]);
  Object.assign(answer, given);
  const section = find('#answer');
  const kind = { true: 'same', false: 'other', null: 'unsure' }[given.same];
  const words = { same: 'The same person', other: 'Not the same person' };
  const noScore = given.score === undefined;
  words.unsure = noScore ? 'Not usable' : 'Undecided';
  section.dataset.kind = kind;
  find('h2', section).textContent = words[kind];
  show(find('.why', section), given.whyNot && `${capital(given.whyNot)}.`);
  find('.scale', section).hidden = noScore || given.threshold === undefined;
  show(find('.numbers', section), numbers(given));
  show(find('.rate', section), given.rate && `${capital(given.rate.words)}.`);
  placeOnScale(section, given);
  const isDrawn = slots.some(({ found }) => found.isDrawn);
  find('.note', section).hidden = !isDrawn || network.settings.is_for_drawn;
  showEmbeddings();
  section.hidden = false;
  section.scrollIntoView({ block: 'nearest' });
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function numbers({ score: value, threshold }) {
  if (value === undefined) return '';
  const shown = `Score ${(value / ONE).toFixed(4)}`;
  return threshold === undefined
    ? `${shown}.`
    : `${shown}; the same person from ${threshold.toFixed(4)} on.`;
}

function placeOnScale(section, { score: value, threshold }) {
  const place = (x) => `${100 * Math.max(0, Math.min(x, 1))}%`;
  find('.score', section).style.left = place((value ?? 0) / ONE);
  find('.threshold', section).style.left = place(threshold ?? 0);
}

/** Draws the integers, and lists what they took. */
function showEmbeddings() {
  const canvases = [...document.querySelectorAll('.embeddings canvas')];
  const isWhole = slots.every(({ found }) => found.embeddings);
  find('.embeddings').hidden = !isWhole;
  if (!isWhole) return;
  const times = (part) => {
    return slots.map(({ found }) => found[part].toFixed(0)).join(' and ');
  };
  list(find('#facts'), {
    ...network.facts,
    detection: `${times('detecting')} ms`,
    'two embeddings': `${times('embedding')} ms`,
  });
  const style = getComputedStyle(document.documentElement);
  const [up, down] = ['--accent', '--other'].map((name) => {
    return style.getPropertyValue(name);
  });
  canvases.forEach((canvas, index) => {
    const values = slots[index].found.embeddings[0];
    const { width, height } = canvas;
    const label = `Embedding of the ${slots[index].name} photograph`;
    canvas.setAttribute('aria-label', `${label}, ${values.length} integers`);
    const context = canvas.getContext('2d');
    context.clearRect(0, 0, width, height);
    values.forEach((value, i) => {
      const step = width / values.length;
      const length = (value * height) / 256;
      context.fillStyle = value < 0 ? down : up;
      const top = height / 2 - Math.max(length, 0);
      context.fillRect(i * step, top, step * 0.8, Math.abs(length));
    });
  });
}

find('#loading').textContent = 'Loading the networks …';
for (const slot of slots) {
  const input = find('input', slot.element);
  input.addEventListener('change', () => {
    if (input.files.length) take(slot, input.files[0]);
    // The same file may be chosen again.
    input.value = '';
  });
  slot.element.addEventListener('dragleave', () => {
    slot.element.classList.remove('over');
  });
  slot.element.addEventListener('dragover', (event) => {
    event.preventDefault();
    slot.element.classList.add('over');
  });
  slot.element.addEventListener('drop', (event) => {
    slot.element.classList.remove('over');
    const [file] = event.dataTransfer.files;
    if (file) take(slot, file);
  });
}
// A file that is dropped beside both sides would replace the page.
for (const name of ['dragover', 'drop']) {
  addEventListener(name, (event) => event.preventDefault());
}
