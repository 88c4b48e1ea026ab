// The list of files: those to come, those that are there, which of them is compared.

import { copies, element } from './dom.js';
import { bytes, dimensions, formatName, saving } from './text.js';

/** What is known of a file by its name: `<hash>_<stem>_<height>_<width>_.<ext>`, or `<hash>_<stem>.<ext>` of the original and the manifest. */
function expected(name) {
  const [, height, width, format] = /_(\d+)_(\d+)_\.(\w+)$/.exec(name) ?? [];
  const extension = name.split('.').pop();
  if (format === undefined) return { format: extension, title: extension === 'json' ? 'Manifest' : 'Original' };
  const sides = [width, height].map(Number);
  const box = sides.every((side) => side === 0) ? 'full size' : sides[0] === sides[1] ? `up to ${sides[0]}` : dimensions(...sides.map((side) => side || 'any'));
  return { format, title: formatName(format), box };
}

/**
 * The address at which a browser gets a file; none if it is private, or in stores alone. Seen from this page: a location begins with the
 * path of `server.public_url`, which the page need not have been reached by.
 */
export function addressOf(file) {
  // A private file is shown to nobody who has no token for it.
  const place = file.stored.find(({ location }) => location.startsWith('/') && isPublic(location));
  return place ? new URL(place.location.slice(place.location.indexOf('/files/') + 1), document.baseURI).href : null;
}

/** Where a page elsewhere gets it: where the server or the store is said to be, else as seen from here; none if nowhere. */
function linkOf(file) {
  const told = file.stored.map(({ url }) => url).find((url) => url && ['http:', 'https:'].includes(new URL(url).protocol));
  return told ?? addressOf(file);
}

function isPublic(location) {
  const [files, others] = ['/files/', '/private/'].map((base) => location.indexOf(base));
  return files >= 0 && (others < 0 || files < others);
}

export class Variants {
  /** `choose(file)` is told which file to compare. */
  constructor(list, choose) {
    Object.assign(this, { list, choose, rows: new Map(), chosen: null, originalBytes: 0 });
  }

  /** Begins with the names of files to come. */
  begin(names, originalBytes) {
    this.rows.clear();
    this.chosen = null;
    this.originalBytes = originalBytes;
    for (const name of names) this.rows.set(name, { ...expected(name), file: null, item: element('li') });
    for (const row of this.rows.values()) this.waiting(row);
    this.list.replaceChildren(...[...this.rows.values()].map(({ item }) => item));
  }

  waiting(row) {
    row.item.className = 'variant waiting';
    row.item.replaceChildren(
      element('span', { className: 'what' }, element('b', { textContent: row.title }), element('span', { textContent: row.box ?? '' })),
      element('span', { className: 'size', textContent: 'to come' }),
      element('span', { className: 'meter' }),
    );
  }

  /** Files that are stored. Those that are shown already are passed over. */
  add(files) {
    for (const file of files) {
      const known = this.rows.get(file.name);
      const row = known ?? { ...expected(file.name), file: null, item: element('li') };
      if (!known) {
        this.rows.set(file.name, row);
        this.list.append(row.item);
      }
      if (row.file) continue;
      row.file = file;
      this.fill(row);
    }
  }

  /** The job has ended: what is not there does not come. */
  close() {
    for (const row of this.rows.values()) {
      if (row.file) continue;
      row.item.className = 'variant missing';
      row.item.querySelector('.size').textContent = 'not made';
    }
  }

  fill(row) {
    const { file, item } = row;
    const url = addressOf(file);
    const isVariant = file.kind === 'variant';
    const title = file.kind === 'original' ? `Original, ${formatName(file.format)}` : row.title;
    const what = element(isVariant && url ? 'button' : 'span', { className: 'what' },
      element('b', { textContent: title }), element('span', { textContent: file.kind === 'manifest' ? 'JSON' : dimensions(file.width, file.height) }));
    if (isVariant && url) {
      what.type = 'button';
      what.setAttribute('aria-pressed', 'false');
      what.title = 'Compare with the original';
      what.addEventListener('click', () => this.select(file.name));
    }
    const share = Math.min(1, file.bytes / this.originalBytes);
    const meter = element('span', { className: 'meter' }, element('i'));
    meter.firstChild.style.setProperty('--share', share.toFixed(4));
    item.className = 'variant';
    item.replaceChildren(
      what,
      element('span', { className: 'size', textContent: bytes(file.bytes) }),
      element('span', { className: 'saving', textContent: isVariant ? saving(file.bytes, this.originalBytes) : '' }),
      meter,
      this.acts(row),
    );
    if (linkOf(file) === null) item.append(element('span', { className: 'elsewhere', textContent: file.stored.map((place) => place.location).join(', ') }));
    row.pick = what;
  }

  acts({ file, title }) {
    const url = linkOf(file);
    if (url === null) return '';
    const name = file.width ? `${title}, ${file.width} by ${file.height}` : title;
    const button = copies(element('button', { type: 'button', className: 'link', textContent: 'Copy URL' }), () => url);
    button.setAttribute('aria-label', `Copy URL of ${name}`);
    const open = element('a', { className: 'link', href: url, target: '_blank', rel: 'noopener', textContent: 'Open' });
    open.setAttribute('aria-label', `Open ${name}`);
    return element('span', { className: 'acts' }, button, open);
  }

  /** Compares this one. */
  select(name) {
    this.chosen = name;
    for (const [other, row] of this.rows) {
      if (row.pick?.hasAttribute('aria-pressed')) row.pick.setAttribute('aria-pressed', String(other === name));
      row.item.classList.toggle('chosen', other === name);
    }
    this.choose(this.rows.get(name).file);
  }

  /** Variants that a browser can load, the largest first; of those of one size in the order of the list. */
  shown() {
    const files = [...this.rows.values()].map(({ file }) => file).filter((file) => file?.kind === 'variant' && addressOf(file));
    return files.sort((a, b) => b.width * b.height - a.width * a.height);
  }

  /** Where to load a file's picture from. A later job may write the same name with other bytes: caches must tell them apart. */
  static pictureOf(file) {
    return `${addressOf(file)}?sha256=${file.sha256.slice(0, 16)}`;
  }
}
