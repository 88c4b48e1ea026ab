// What is shown as text, and put into the clipboard.

/** Characters of a line of JSON: as many as the panel is wide. */
const LINE = 44;

const THIN = '\u202f';

/** Bytes as people read them: `51 kB`. */
export function bytes(count) {
  if (count < 1000) return `${count}${THIN}bytes`;
  const units = ['kB', 'MB', 'GB'];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)}${THIN}${units[unit]}`;
}

export const dimensions = (width, height) => `${width}${THIN}×${THIN}${height}`;

/** A number of things: `1 job`, `12 jobs`. With `isMore` there are more than were counted. */
export const counted = (count, thing, isMore = false) => `${count.toLocaleString('en')}${isMore ? '+' : ''} ${thing}${count === 1 && !isMore ? '' : 's'}`;

/** How long something takes or is ago, in its largest unit: `12 s`, `4 min`, `3 h`, `2 days`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [unit, length] of [['day', 86_400], ['h', 3600], ['min', 60]]) {
    // Up to two of a unit are told in the smaller one, but for minutes.
    const isTold = whole >= length * (unit === 'min' ? 1 : 2);
    if (isTold) return `${Math.floor(whole / length)}${THIN}${unit}${unit === 'day' ? 's' : ''}`;
  }
  return `${whole}${THIN}s`;
}

/** A moment: the time, with the date if it is another day's. */
export function moment(date) {
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString('en', isToday ? { timeStyle: 'medium' } : { dateStyle: 'medium', timeStyle: 'medium' });
}

/** How much smaller, or larger, a file is than the original. */
export function saving(count, original) {
  const percent = Math.round(100 * (1 - count / original));
  if (percent === 0) return 'the same size';
  // Something is left of every file.
  return percent > 0 ? `${Math.min(percent, 99)}${THIN}% smaller` : `${-percent}${THIN}% larger`;
}

const NAMES = { jpg: 'JPEG', jpeg: 'JPEG', png: 'PNG', webp: 'WebP', avif: 'AVIF', gif: 'GIF', tif: 'TIFF', tiff: 'TIFF', bmp: 'BMP', heic: 'HEIC', heif: 'HEIC' };

/** A format's name, from the extension or word that stands for it. */
export const formatName = (word) => NAMES[word.toLowerCase()] ?? word.toUpperCase();

/** JSON whose short parts stand on one line. `room`: what is left of that line. */
export function pretty(value, indent = '', room = LINE) {
  const short = oneLine(value);
  if (short.length <= room || value === null || typeof value !== 'object') return short;
  const deeper = `${indent}  `;
  const inner = (item, before = '') => before + pretty(item, deeper, LINE - deeper.length - before.length);
  const [open, lines, close] = Array.isArray(value)
    ? ['[', value.map((item) => inner(item)), ']']
    : ['{', Object.entries(value).map(([key, item]) => inner(item, `${JSON.stringify(key)}: `)), '}'];
  return `${open}\n${lines.map((line) => deeper + line).join(',\n')}\n${indent}${close}`;
}

function oneLine(value) {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(oneLine).join(', ')}]`;
  return `{${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${oneLine(item)}`).join(', ')}}`;
}

/** A word of a shell's command line. */
const quoted = (text) => (/^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** What does in a terminal what the page does. */
export function curlLines(token, fileName, url) {
  // `-` alone would be the standard input.
  const path = fileName.startsWith('-') ? `./${fileName}` : fileName;
  // curl itself takes `,` and `;` in a file's name for more than a name.
  const name = /^[\w./-]+$/.test(path) ? path : `"${path.replace(/["\\]/g, '\\$&')}"`;
  return `TOKEN=${token}\ncurl -F ${quoted(`file=@${name}`)} -H "Authorization: Bearer $TOKEN" ${quoted(url)}`;
}

/** Puts text into the clipboard. Without TLS and not on this machine, browsers have the old way only. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement('textarea'), { value: text, className: 'quiet' });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  focused?.focus();
  if (!done) throw new Error('the browser does not let this page copy');
}
