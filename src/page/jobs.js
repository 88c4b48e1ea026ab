// The list of jobs: which of them, page by page, the newest first.

import { Rows, element, of, show, showRefusal, write } from './dom.js';
import { erase } from './erasure.js';
import { duration } from './text.js';
import { Refused } from './transfer.js';

/** Jobs of a page. */
const PAGE = 50;
/** Filters by the names of the server's parameters; each has a field. */
const FILTERS = ['state', 'waiting_for', 'error_code', 'store', 'since', 'until', 'sub', 'user'];
/** Those whose fields are times of the person's own clock. */
const TIMES = ['since', 'until'];

/** What to call a job: by its caller's word for it, by the name of its picture as far as files tell, or by its id. */
export function nameOf(job) {
  const [file] = job.files;
  const stem = file && /^(.*?)(?:_\d+_\d+_)?\.\w+$/.exec(shortName(file.name, job.hash))?.[1];
  return job.ref ?? (stem || null);
}

/** A file's name without the hash, and what else of its owner, that it begins with. */
export const shortName = (name, hash) => (name.startsWith(`${hash}_`) ? name.slice(hash.length + 1) : name);

/** A state, with what stands for it beside its word. */
export function stateMark(state) {
  const mark = element('span', { className: 'state', textContent: state });
  mark.dataset.state = state;
  return mark;
}

export function showState(mark, state) {
  mark.dataset.state = state;
  write(mark, state);
}

/** `2026-11-30T12:00` of this machine's time zone, as `datetime-local` has it, to the second. */
function local(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 19);
}

const seconds = (time) => Math.floor(new Date(time).getTime() / 1000);

/** The address of a job in this page, in the list that it is shown in. */
export const linkTo = (id, filters = '') => `#watch/${id}${filters ? `?${filters}` : ''}`;

export class JobList {
  /** `go(filters, job)` shows another list, or the same without a job; `look()` has the page ask the server again, now. */
  constructor(server, go, look) {
    Object.assign(this, { server, go, look, filters: new URLSearchParams(), chosen: null });
    this.rows = new Rows(of('job-rows'), ({ job_id: id }) => id, (job) => new JobRow(this, job));
    this.first();
    of('filters').addEventListener('change', () => this.filter());
    of('filters').addEventListener('submit', (event) => {
      event.preventDefault();
      this.filter();
    });
    for (const id of ['all-jobs', 'all-jobs-too']) of(id).addEventListener('click', () => this.go({}));
    of('older').addEventListener('click', () => this.turn([...this.cursors, this.next]));
    of('newer').addEventListener('click', () => this.turn(this.cursors.slice(0, -1)));
    of('erase-sub').addEventListener('click', () => this.eraseOwner());
  }

  /** Goes to the first page. */
  first() {
    Object.assign(this, { cursors: [''], next: null, page: null });
  }

  turn(cursors) {
    Object.assign(this, { cursors, page: null });
    of('jobs-title').focus();
    of('jobs').scrollIntoView({ block: 'start' });
    this.look();
  }

  /** Another token may reach others. */
  forget() {
    this.first();
    this.rows.show([]);
    showRefusal(of('jobs-refusal'), null);
  }

  /** Which owners may be asked for. */
  reaches(scopes) {
    of('filter-user').closest('.field').hidden = !scopes.includes('admin');
    of('filter-sub').closest('.field').hidden = !scopes.some((scope) => ['admin', 'manage-user'].includes(scope));
  }

  /** Lists what these filters, of the page's address, let through. */
  set(filters, chosen) {
    const known = new URLSearchParams(FILTERS.filter((name) => filters.get(name)).map((name) => [name, filters.get(name)]));
    const isOther = known.toString() !== this.filters.toString();
    this.filters = known;
    this.chosen = chosen;
    for (const row of this.rows.rows.values()) row.choose(this);
    if (!isOther) return;
    this.first();
    for (const name of FILTERS) {
      const value = known.get(name) ?? '';
      const field = of(`filter-${name}`);
      field.value = TIMES.includes(name) && value ? local(value) : value;
    }
    const further = FILTERS.slice(1).filter((name) => known.has(name));
    if (further.length) of('further').open = true;
  }

  /** Takes over what the fields say. */
  filter() {
    const filters = {};
    for (const name of FILTERS) {
      const value = of(`filter-${name}`).value.trim();
      const set = this.filters.get(name);
      // Less than a second is lost in the field: what was not touched stays as it was.
      if (TIMES.includes(name) && value) filters[name] = set && seconds(set) === seconds(value) ? set : new Date(value).toISOString();
      else if (value) filters[name] = value;
    }
    this.go(filters);
  }

  async refresh() {
    const { filters, cursors } = this;
    try {
      const cursor = cursors.at(-1);
      const page = await this.server.call(`jobs?${new URLSearchParams([...filters, ['limit', PAGE], ...(cursor ? [['cursor', cursor]] : [])])}`);
      if (filters !== this.filters || cursors !== this.cursors) return;
      showRefusal(of('jobs-refusal'), null);
      Object.assign(this, { page, next: page.next_cursor });
    } catch (error) {
      const isFilters = error instanceof Refused && ['bad_parameter', 'bad_request', 'not_found'].includes(error.problem.code);
      if (!isFilters) throw error;
      if (filters !== this.filters) return;
      showRefusal(of('jobs-refusal'), error);
      this.page = { jobs: [], next_cursor: null, isRefused: true };
    }
    this.show();
  }

  show() {
    const { jobs, next_cursor: next, isRefused = false } = this.page;
    this.rows.show(jobs);
    const isFiltered = this.filters.size > 0;
    const isFirst = this.cursors.length === 1;
    const isShort = next !== null && jobs.length < PAGE;
    show('no-jobs', jobs.length || isRefused ? null
      : next !== null ? 'None so far. Older jobs have not been looked through yet.'
        : isFiltered || !isFirst ? 'No job is like that.' : 'There are no jobs. What is uploaded appears here.');
    of('all-jobs').hidden = !isFiltered;
    of('all-jobs-too').hidden = !isFiltered || jobs.length > 0 || next !== null;
    // A button that holds the focus hands it on before it goes.
    const turns = { newer: !isFirst, older: next !== null };
    for (const [id, isThere] of Object.entries(turns)) {
      if (!isThere && document.activeElement === of(id)) of('jobs-title').focus();
      of(id).hidden = !isThere;
    }
    write(of('older'), isShort ? 'Look further' : 'Older');
    show('page-number', isFirst ? null : `Page ${this.cursors.length}`);
    const sub = this.filters.get('sub');
    of('erase-sub').hidden = !sub;
    if (sub) write(of('erase-sub'), `Erase all of “${sub}”…`);
  }

  /** Erases whatever the owner has that the list is of. */
  async eraseOwner() {
    const [sub, user] = ['sub', 'user'].map((name) => this.filters.get(name));
    showRefusal(of('jobs-refusal'), null);
    try {
      const outcome = await erase(this.server, user ? { sub, user } : { sub }, `all of “${sub}”`, (text) => show('jobs-note', text));
      if (outcome) show('jobs-note', outcome.text);
      this.look();
    } catch (error) {
      show('jobs-note', null);
      showRefusal(of('jobs-refusal'), error);
    }
  }
}

class JobRow {
  constructor(list, job) {
    this.list = list;
    this.id = job.job_id;
    this.name = element('b');
    this.link = element('a', {}, this.name, element('code', { textContent: job.job_id }));
    this.mark = stateMark(job.state);
    this.files = element('span', { className: 'job-files' });
    this.age = element('time');
    this.note = element('span', { className: 'job-note' });
    this.node = element('li', { className: 'job-row' }, this.mark, this.link, this.files, this.age, this.note);
    this.choose(list);
  }

  choose({ filters, chosen }) {
    const href = linkTo(this.id, filters.toString());
    if (this.link.getAttribute('href') !== href) this.link.href = href;
    const isChosen = this.id === chosen;
    this.node.classList.toggle('chosen', isChosen);
    if (isChosen) this.link.setAttribute('aria-current', 'true');
    else this.link.removeAttribute('aria-current');
  }

  update(job) {
    const accepted = new Date(job.created_at);
    showState(this.mark, job.state);
    write(this.name, nameOf(job) ?? '');
    this.name.hidden = this.name.textContent === '';
    write(this.files, `${job.progress.done} of ${job.progress.total} files`);
    write(this.age, `${duration((this.list.server.now() - accepted) / 1000)} ago`);
    this.age.dateTime = job.created_at;
    this.age.title = accepted.toLocaleString('en');
    write(this.note, noteOf(job));
    this.note.hidden = this.note.textContent === '';
    this.note.classList.toggle('is-trouble', job.state === 'failed' && job.retried_as === undefined);
  }
}

/** What else there is to say in a line. */
function noteOf(job) {
  const said = [];
  if (job.error_code) said.push(job.state === 'pending' ? `${job.error_code}, tried again` : job.error_code);
  for (const { backend, access_key: key } of job.waiting_for ?? []) said.push(`waits for ${key ?? backend}`);
  if (job.retried_as) said.push('run again');
  if (job.retry_of) said.push('runs another again');
  if (job.callback.state === 'given_up') said.push('callback given up');
  return said.join(', ');
}
