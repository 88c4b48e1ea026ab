// The job: a form and its JSON. Whichever is edited, the other one follows; what the form doesn't know stays as it is.

import { element, of } from './dom.js';
import { pretty } from './text.js';

const FORMATS = ['avif', 'webp', 'jpg', 'png'];
/** How else a format may be called in a job. */
const ALIASES = { jpg: ['jpg', 'jpeg'] };
/** Fields of a job that are on or off, by the ids of their boxes. */
const SWITCHES = { keep: 'keepOriginal', unique: 'unique', private: 'private', manifest: 'manifest' };
/** The claim that pointers of errors begin with. */
const CLAIM = '/job';

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** `1600, 800 × 600` as boxes. */
export function parseSizes(text) {
  const pieces = text.replace(/\s*[x×]\s*/gi, 'x').split(/[\s,;]+/).filter(Boolean);
  return pieces.map((piece) => {
    const [, width, by, height] = /^(\d*)(x?)(\d*)$/.exec(piece) ?? [];
    if (width === undefined || (width === '' && height === '')) throw new Error(`“${piece}” is no size; write 800, or 800 × 600.`);
    return by ? [Number(width), Number(height)] : [Number(width)];
  });
}

/** The same backwards; null for what is no list of boxes. */
export function sizesText(sizes) {
  if (sizes === undefined || sizes === null) return '';
  const isBox = (box) => Array.isArray(box) && (box.length === 1 || box.length === 2) && box.every((side) => typeof side === 'number');
  if (!Array.isArray(sizes) || !sizes.every(isBox)) return null;
  return sizes.map((box) => box.join('\u202f×\u202f')).join(', ');
}

/** Where in JSON the value is that a pointer leads to, or what is nearest on the way: its first character and its end. */
export function locate(text, pointer) {
  const keys = pointer.split('/').slice(1).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
  let at = 0;
  const space = () => { while (at < text.length && ' \t\r\n'.includes(text[at])) at += 1; };
  const string = () => {
    const start = at;
    at += 1;
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    at += 1;
    return JSON.parse(text.slice(start, at));
  };
  const items = (close, next) => {
    at += 1;
    for (space(); text[at] !== close; space()) {
      next();
      space();
      if (text[at] === ',') at += 1;
    }
    at += 1;
  };
  // `path`: what is left of the pointer; null beside the way.
  const value = (path, start) => {
    let found = null;
    const inner = (key, from) => {
      const hit = value(path?.[0] === key ? path.slice(1) : null, from);
      found ??= hit;
    };
    if (text[at] === '{') {
      items('}', () => {
        const from = at;
        const key = string();
        space();
        at += 1;
        space();
        inner(key, from);
      });
    } else if (text[at] === '[') {
      let index = 0;
      items(']', () => {
        inner(String(index), at);
        index += 1;
      });
    } else if (text[at] === '"') string();
    else while (at < text.length && !' \t\r\n,]}'.includes(text[at])) at += 1;
    return path === null ? null : (found ?? [start, at]);
  };
  space();
  return value(keys, at);
}

export class JobForm {
  constructor() {
    this.job = {};
    /** Why there is no job right now. */
    this.trouble = null;
    this.isFixed = false;
    /** What was set for formats that are switched off. */
    this.putAside = {};
    this.json = of('json');
    of('form').addEventListener('input', (event) => this.fromForm(event.target));
    this.json.addEventListener('input', () => this.fromJson());
  }

  /** Shows a job. One that is in a token can be read only. */
  set(job, isFixed) {
    this.isFixed = isFixed;
    this.trouble = null;
    this.job = structuredClone(job);
    this.write();
    this.json.readOnly = isFixed;
    of('form').disabled = isFixed;
    this.clearErrors();
    this.fillForm();
  }

  write() {
    this.json.value = pretty(this.job);
    this.json.rows = Math.min(20, Math.max(7, this.json.value.split('\n').length + 1));
  }

  keyOf(format) {
    const formats = isObject(this.job.formats) ? this.job.formats : {};
    return (ALIASES[format] ?? [format]).find((key) => key in formats);
  }

  fillForm() {
    for (const format of FORMATS) {
      const key = this.keyOf(format);
      const options = key === undefined ? null : this.job.formats[key];
      of(`format-${format}`).checked = key !== undefined;
      const quality = of(`quality-${format}`);
      if (quality) {
        quality.value = options?.settings?.quality || '';
        quality.disabled = key === undefined;
      }
      const own = this.row(format).querySelector('.own');
      const sizes = options?.sizes === undefined ? '' : sizesText(options.sizes);
      own.hidden = !sizes;
      own.textContent = sizes ? `in sizes of its own: ${sizes}` : '';
    }
    const sizes = sizesText(this.job.sizes);
    of('sizes').value = sizes ?? '';
    of('sizes').placeholder = sizes === null ? 'see the JSON' : 'as the picture';
    const fit = of('fit');
    fit.value = this.job.fit ?? 'inside';
    if (fit.selectedIndex < 0) fit.value = 'inside';
    for (const [id, key] of Object.entries(SWITCHES)) of(id).checked = this.job[key] === true;
  }

  row(format) {
    return document.querySelector(`.format[data-format=${format}]`);
  }

  /** Takes over one field of the form. */
  fromForm(field) {
    this.clearErrors();
    const [kind, format] = field.id.split('-');
    try {
      if (kind === 'format') this.switchFormat(format, field.checked);
      else if (kind === 'quality') this.setQuality(format, field);
      else if (kind === 'sizes') this.setOrDelete('sizes', parseSizes(field.value), (sizes) => sizes.length > 0);
      else if (kind === 'fit') this.setOrDelete('fit', field.value, (fit) => fit !== 'inside');
      else if (kind in SWITCHES) this.setOrDelete(SWITCHES[kind], field.checked, Boolean);
    } catch (error) {
      this.trouble = error.message;
      return this.mark(field, of(`${kind}-error`) ?? of(`error-${format}`), error.message);
    }
    this.trouble = null;
    this.write();
    if (kind === 'format') this.fillForm();
    return undefined;
  }

  setOrDelete(key, value, isSaid) {
    if (isSaid(value)) this.job[key] = value;
    else delete this.job[key];
  }

  switchFormat(format, isOn) {
    if (!isObject(this.job.formats)) this.job.formats = {};
    const key = this.keyOf(format);
    if (isOn) {
      this.job.formats[format] = this.putAside[format] ?? {};
    } else {
      this.putAside[format] = this.job.formats[key];
      delete this.job.formats[key];
    }
  }

  setQuality(format, field) {
    if (field.validity.badInput) throw new Error('must be a whole number from 1 to 100');
    const key = this.keyOf(format);
    const options = isObject(this.job.formats[key]) ? this.job.formats[key] : {};
    const { quality, ...others } = isObject(options.settings) ? options.settings : {};
    const settings = field.value === '' ? others : { quality: Number(field.value), ...others };
    const { settings: _, ...rest } = options;
    this.job.formats[key] = Object.keys(settings).length ? { settings, ...rest } : rest;
  }

  fromJson() {
    this.clearErrors();
    try {
      const job = JSON.parse(this.json.value);
      if (!isObject(job)) throw new Error('a job is an object: { ... }');
      this.job = job;
      this.trouble = null;
      this.fillForm();
    } catch (error) {
      this.trouble = `This is not JSON yet: ${error.message}`;
      this.mark(this.json, of('json-error'), this.trouble);
    }
  }

  /** Puts what the server said beside the fields that it named. */
  showErrors(errors) {
    this.clearErrors();
    for (const { pointer, detail } of errors) {
      const [field, place] = this.placeOf(pointer);
      const line = field === this.json ? this.lineOf(pointer) : null;
      this.mark(field, place, detail, pointer, line);
    }
    document.querySelector('#job [aria-invalid=true]:enabled')?.focus();
  }

  /** The field that a pointer names, and where beside it there is room for words. */
  placeOf(pointer) {
    const [top, format, option, setting] = pointer.slice(CLAIM.length + 1).split('/');
    const known = FORMATS.find((name) => (ALIASES[name] ?? [name]).includes(format));
    if (top === 'formats' && format === undefined) return [of('format-avif'), of('formats-error')];
    if (top === 'formats' && known && option === 'settings' && setting === 'quality' && of(`quality-${known}`)) return [of(`quality-${known}`), of(`error-${known}`)];
    if (top === 'formats' && known && option === undefined) return [of(`format-${known}`), of(`error-${known}`)];
    if (top === 'sizes') return [of('sizes'), of('sizes-error')];
    if (top === 'fit') return [of('fit'), of('fit-error')];
    const id = Object.keys(SWITCHES).find((name) => SWITCHES[name] === top);
    if (id) return [of(id), of(`${id}-error`)];
    return [this.json, of('json-error')];
  }

  lineOf(pointer) {
    const found = locate(this.json.value, pointer.slice(CLAIM.length));
    if (found === null) return null;
    return { range: found, number: this.json.value.slice(0, found[0]).split('\n').length };
  }

  mark(field, place, words, pointer, line) {
    field.setAttribute('aria-invalid', 'true');
    const said = element('span', { className: 'said' });
    if (pointer !== undefined) said.append(element('code', { textContent: pointer }), ' ');
    said.append(words);
    if (line) {
      const go = element('button', { type: 'button', className: 'link', textContent: `line ${line.number}` });
      go.addEventListener('click', () => {
        this.json.focus();
        this.json.setSelectionRange(...line.range);
      });
      said.append(' ', go);
    }
    place.append(said);
    place.hidden = false;
  }

  clearErrors() {
    for (const field of document.querySelectorAll('#job [aria-invalid]')) field.removeAttribute('aria-invalid');
    for (const place of document.querySelectorAll('#job .error')) {
      place.replaceChildren();
      place.hidden = true;
    }
  }

  /** How a format's variants are cut out, to cut the original likewise. */
  static shapeOf(job, format) {
    const keys = ALIASES[format] ?? [format];
    const own = keys.map((key) => job.formats?.[key]).find(isObject) ?? {};
    return { fit: own.fit ?? job.fit ?? 'inside', position: own.position ?? job.position ?? '' };
  }
}
