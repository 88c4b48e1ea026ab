// A question before what can't be taken back.

import { element, of } from './dom.js';

/**
 * Asks it over the page: whether the answer was yes. The button that changes nothing has the focus, and Escape is the same. `lines` are
 * paragraphs, or lists of lines; `yes` and `no` say what they do, and `isFinal` that nothing brings back what yes does.
 */
export function confirmed({ title, lines, yes, no, isFinal = false }) {
  const dialog = of('question');
  of('question-title').textContent = title;
  of('question-text').replaceChildren(...lines.map((line) => (Array.isArray(line)
    ? element('ul', {}, ...line.map((textContent) => element('li', { textContent })))
    : element('p', { textContent: line }))));
  of('question-yes').textContent = yes;
  of('question-yes').classList.toggle('danger', isFinal);
  of('question-no').textContent = no;
  dialog.returnValue = '';
  dialog.showModal();
  of('question-no').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

of('question-no').addEventListener('click', () => of('question').close('no'));
of('question-yes').addEventListener('click', () => of('question').close('yes'));
