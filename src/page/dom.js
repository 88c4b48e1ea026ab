// What the page is made of: its elements by id, new ones, and lists whose rows stay where they are while they change.

import { copy } from './text.js';
import { Lost, Refused } from './transfer.js';

export const of = (id) => document.getElementById(id);

/** Shows a text in the element of this id, or hides it for want of one. */
export function show(id, text) {
  write(of(id), text ?? '');
  of(id).hidden = !text;
}

/** Puts a text into an element, unless it stands there: a selection in it stays. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Has a screen reader say something once it is done with what it says. */
export const announce = (text) => { of('announce').textContent = text; };

/** Has a button put into the clipboard what `text()` is then, and say for a moment whether that was done. */
export function copies(button, text) {
  const label = button.textContent;
  let timer;
  button.addEventListener('click', async () => {
    const said = await copy(text()).then(() => 'Copied', (error) => `Not copied: ${error.message}`);
    announce(said);
    button.textContent = said;
    clearTimeout(timer);
    timer = setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Shows in `place`, if something went wrong, what; `error` is null if nothing did. What is no refusal and no lost connection is a bug, and thrown. */
export function showRefusal(place, error) {
  if (error === null) {
    place.hidden = true;
    place.replaceChildren();
    return;
  }
  const { title, detail, errors = [], scope } = error instanceof Refused ? error.problem : lost(error);
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter}\u202fs.` : '';
  const needed = scope ? [element('p', {}, 'It takes a token with the scope ', element('code', { textContent: scope }), '.')] : [];
  const named = errors.map((named) => element('li', {}, element('code', { textContent: named.pointer || '/' }), ` ${named.detail}`));
  place.replaceChildren(
    element('p', { className: 'refusal-title', textContent: title }),
    // The details of what it named, one after the other, are all that it says.
    ...(named.length ? [] : [element('p', { textContent: detail + wait })]),
    ...needed,
    ...(named.length ? [element('ul', { className: 'refusal-fields' }, ...named)] : []),
  );
  place.hidden = false;
}

function lost(error) {
  if (!(error instanceof Lost)) throw error;
  return { title: 'The connection was lost', detail: 'No answer came, so nobody knows whether it was done. What is shown says so once the server answers.' };
}

/** A list whose rows stay the same elements for as long as their items are there, so that nothing flickers and no focus is lost. */
export class Rows {
  /** `key(item)` tells items apart, `make(item)` is a new row, with `update(item)` to show what the item has become. */
  constructor(list, key, make) {
    Object.assign(this, { list, key, make, rows: new Map() });
  }

  show(items) {
    const wanted = new Map(items.map((item) => [this.key(item), item]));
    const focused = [...this.rows].find(([, { node }]) => node.contains(document.activeElement));
    for (const [key, { node }] of this.rows) {
      if (wanted.has(key)) continue;
      this.rows.delete(key);
      node.remove();
    }
    let next = this.list.firstChild;
    for (const [key, item] of wanted) {
      const row = this.rows.get(key) ?? this.make(item);
      this.rows.set(key, row);
      row.update(item);
      if (row.node === next) next = next.nextSibling;
      // One that moves loses the focus; all others move around it.
      else if (key === focused?.[0]) next = row.node.nextSibling;
      else this.list.insertBefore(row.node, next);
    }
    // Whoever had the focus in a row that is gone goes on from its list.
    if (focused && !wanted.has(focused[0])) this.list.closest('[aria-labelledby]').querySelector('[tabindex="-1"]')?.focus();
  }
}
