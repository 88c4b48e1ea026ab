// What went wrong: checks that fail, stores that are away, jobs that failed and callbacks that were given up; running the jobs again, and what came
// of that.

import { Rows, element, of, showRefusal, write } from './dom.js';
import { confirmed } from './question.js';
import { counted, duration, moment } from './text.js';

/** Entries of a page of the server's lists. */
const PAGE = 200;
/** Pages of a list that are read: as many jobs as one request runs again. */
const PAGES_MAX = 5;
/** Between two looks, for each page that one takes. */
const LOOK_AFTER_MS = 3000;
/** For running a thousand jobs again. */
const RETRY_MS = 120_000;
/** What is being stored for longer than this waits for something. */
const STORING_MS = 60_000;
/** By how much the clocks of a proxy and of nodes may differ from one another, and the second of which an answer's time is the beginning. */
const CLOCK_SLACK_MS = 2000;

/** Of the picture itself: running its job again makes the same of it. */
const LASTING = ['unsupported_image', 'damaged_image', 'image_truncated', 'image_too_large', 'original_missing'];

const SUBJECTS = { queue: 'The queue', disk: 'The disk', workers: 'The workers', redis: 'Redis', bucket: 'The bucket', clock: 'The clock', background: 'The server', draining: 'The server' };

const rfc3339 = (milliseconds) => new Date(milliseconds).toISOString();
const nameOfStore = ({ backend, access_key: key }) => (key ? `the ${backend} store ${key}` : 'the serve directory');
const shortly = (milliseconds, now) => duration((now - milliseconds) / 1000);

/** A job that may be run again: nothing has done that yet. */
const isOpen = (job) => job.retried_as === undefined;

export class Trouble {
  /** `showJobs(filters)` lists those jobs below; `look()` has the page ask the server again, now. */
  constructor(server, showJobs, look) {
    Object.assign(this, { server, showJobs, look, nextAt: 0, failed: null, waiting: null, givenUp: null, batches: [], error: null });
    this.rows = new Rows(of('issues'), ({ key }) => key, (issue) => new IssueRow(issue));
    this.window = of('window');
    this.window.addEventListener('change', () => this.again());
  }

  /** Another token may reach others. */
  forget() {
    Object.assign(this, { nextAt: 0, failed: null, waiting: null, givenUp: null, batches: [], error: null });
  }

  again() {
    this.nextAt = 0;
    this.look();
  }

  /** Asks the server, unless it was asked just now; more seldom where there is much to read. */
  async refresh() {
    if (performance.now() < this.nextAt) return;
    const since = rfc3339(this.server.now() - 3600_000 * Number(this.window.value));
    const [failed, waiting, givenUp] = await Promise.all([
      this.read('jobs', { state: 'failed', since }),
      this.read('jobs', { waiting_for: 'store' }),
      this.read('deliveries', { state: 'given_up' }),
    ]);
    // Meanwhile another may begin and one may be hidden.
    const live = this.batches.filter((batch) => !batch.isOver);
    const batches = await Promise.all(live.map(({ since, until }) => this.read('jobs', { since, until })));
    Object.assign(this, { since, failed, waiting });
    this.givenUp = { ...givenUp, entries: givenUp.entries.filter(({ last }) => last && last.at >= since) };
    batches.forEach(({ entries }, i) => live[i].settle(entries));
    const pages = [failed, waiting, givenUp, ...batches].reduce((sum, read) => sum + read.pages, 0);
    this.nextAt = performance.now() + LOOK_AFTER_MS * Math.max(1, pages - 2);
  }

  /** The list, as far as it is read: `{entries, isMore, pages}`. */
  async read(list, filters) {
    const read = { entries: [], isMore: true, pages: 0 };
    for (let cursor = ''; read.isMore && read.pages < PAGES_MAX; read.pages += 1) {
      const page = await this.server.call(`${list}?${new URLSearchParams({ ...filters, limit: PAGE, cursor })}`);
      read.entries.push(...page[list]);
      read.isMore = page.next_cursor !== null;
      cursor = page.next_cursor;
    }
    return read;
  }

  /** Shows what is known, with what `/health` said. */
  show(health) {
    const issues = [...this.checks(health), ...this.outages(), ...this.failures(), ...this.batches.map((batch) => this.batch(batch)), ...this.callbacks()];
    this.rows.show(issues);
    of('no-issues').hidden = issues.length > 0 || this.failed === null;
    return issues.filter(({ isTrouble }) => isTrouble).map(({ title }) => title);
  }

  checks(health) {
    const failing = Object.entries(health?.checks ?? {}).filter(([, { status }]) => status !== 'ok');
    const issues = failing.map(([name, { detail }]) => ({ key: `check ${name}`, isTrouble: true, title: `${SUBJECTS[name] ?? name} needs attention`, detail }));
    if (health?.paused) issues.push({ key: 'paused', isTrouble: true, title: 'The server is paused', detail: 'It answers, and takes nothing in, makes nothing and calls nobody.' });
    return issues;
  }

  outages() {
    const now = this.server.now();
    const stores = new Map();
    const unnamed = [];
    for (const job of this.waiting?.entries ?? []) {
      const outages = job.waiting_for ?? [];
      for (const outage of outages) {
        const key = `store ${nameOfStore(outage)} ${outage.reason}`;
        const store = stores.get(key) ?? { key, outage, jobs: 0, since: outage.since };
        store.jobs += 1;
        if (outage.since < store.since) store.since = outage.since;
        stores.set(key, store);
      }
      if (!outages.length && now - Date.parse(job.started_at) > STORING_MS) unnamed.push(job);
    }
    const isMore = this.waiting?.isMore ?? false;
    const issues = [...stores.values()].map(({ key, outage, jobs, since }) => ({
      key,
      isTrouble: true,
      title: `${counted(jobs, 'job', isMore)} ${jobs === 1 ? 'waits' : 'wait'} for ${nameOfStore(outage)}`,
      detail: `It ${outage.reason === 'refused' ? 'refuses what it is sent' : 'can’t be reached'}, since ${moment(new Date(since))}, ${shortly(Date.parse(since), now)} ago. They go on by themselves as soon as it takes files again.`,
      acts: [this.showing({ waiting_for: 'store', ...(outage.access_key ? { store: outage.access_key } : {}) })],
    }));
    if (unnamed.length) {
      issues.push({
        key: 'storing',
        isTrouble: true,
        title: `${counted(unnamed.length, 'job', isMore)} ${unnamed.length === 1 ? 'is' : 'are'} made, and not stored for over a minute`,
        detail: 'Their stores are slow, or another node that works on them can’t reach one.',
        acts: [this.showing({ waiting_for: 'store' })],
      });
    }
    return issues;
  }

  failures() {
    const groups = new Map();
    for (const job of (this.failed?.entries ?? []).filter(isOpen)) {
      const group = groups.get(job.error_code) ?? { code: job.error_code, newest: job, jobs: 0 };
      group.jobs += 1;
      groups.set(job.error_code, group);
    }
    const isMore = this.failed?.isMore ?? false;
    const sorted = [...groups.values()].sort((one, other) => other.jobs - one.jobs || String(one.code).localeCompare(other.code));
    return sorted.map((group) => ({
      key: `failed ${group.code}`,
      isTrouble: true,
      title: `${counted(group.jobs, 'job', isMore)} failed: ${group.code ?? 'unknown'}`,
      detail: `The last ${shortly(Date.parse(group.newest.finished_at), this.server.now())} ago: ${group.newest.error}`,
      acts: [
        this.showing({ state: 'failed', since: this.since, ...(group.code ? { error_code: group.code } : {}) }),
        ...(group.code ? [{ label: isMore || group.jobs > 1 ? `Retry all ${group.jobs.toLocaleString('en')}${isMore ? '+' : ''}` : 'Retry it', isMain: !LASTING.includes(group.code), run: () => this.retry(group, isMore) }] : []),
      ],
    }));
  }

  showing(filters) {
    return { label: 'Show', run: () => this.showJobs(filters) };
  }

  /** Runs a group of failed jobs again. */
  async retry({ code, jobs }, isMore) {
    const since = this.since;
    const isSure = await confirmed({
      title: `Retry ${counted(jobs, 'job', isMore)}?`,
      lines: [
        `All that failed with ${code} in the ${this.window.selectedOptions[0].textContent} and have not been run again since. Each becomes a new job on the same bytes, behind what is new, and calls back as the old one did.`,
        ...(isMore ? ['A thousand are run again at once, the oldest first; then ask again.'] : []),
      ],
      yes: `Retry ${jobs === 1 && !isMore ? 'it' : 'them'}`,
      no: 'Not now',
    });
    if (!isSure) return;
    // Whom they run again, where all of those are known.
    const old = isMore ? null : new Set(this.failed.entries.filter((job) => job.error_code === code && isOpen(job)).map(({ job_id: id }) => id));
    const askedAt = performance.now();
    // By the clock of whoever answered: what is known of it from before is late by as much as that answer was.
    let answeredAt = this.server.now();
    const hear = (headers) => { answeredAt = Date.parse(headers.get('Date')) || answeredAt; };
    const { count, skipped } = await this.server.call('retry', { method: 'POST', body: { state: 'failed', error: [code], since }, withinMs: RETRY_MS, hear });
    const from = answeredAt - (performance.now() - askedAt) - CLOCK_SLACK_MS;
    this.batches.unshift(new Batch({ code, count, skipped, old, since: rfc3339(from), until: rfc3339(answeredAt + CLOCK_SLACK_MS) }));
    this.again();
  }

  batch(batch) {
    const { completed, live, ended } = batch.tally;
    const told = [
      ...(completed ? [`${completed} completed`] : []), ...(live ? [`${live} under way`] : []), ...(ended ? [`${ended} failed again`] : []),
      ...(batch.skipped ? [`${batch.skipped} could not be run again: their originals are gone, their store is registered no more, or the same bytes are being made`] : []),
    ];
    return {
      key: `batch ${batch.since} ${batch.code}`,
      isTrouble: ended > 0,
      isGood: batch.isOver && ended === 0 && batch.skipped === 0,
      title: batch.count ? `${counted(batch.count, 'job')} run again after ${batch.code}` : `None of the jobs that failed with ${batch.code} was run again`,
      detail: `${told.join(', ') || 'They are being looked for'}.`,
      share: batch.count && !batch.isOver ? (completed + ended) / batch.count : null,
      acts: [
        ...(batch.count ? [this.showing({ since: batch.since, until: batch.until })] : []),
        { label: 'Hide', run: () => { this.batches = this.batches.filter((other) => other !== batch); this.look(); } },
      ],
    };
  }

  callbacks() {
    const { entries = [], isMore = false } = this.givenUp ?? {};
    if (!entries.length) return [];
    const [{ host, last }] = entries;
    return [{
      key: 'callbacks',
      isTrouble: true,
      title: `${counted(entries.length, 'callback', isMore)} given up`,
      detail: `The last to ${host}: ${last.error ?? `it answered ${last.status}`}`,
      acts: [{ label: `Send ${entries.length === 1 && !isMore ? 'it' : 'them'} again`, isMain: true, run: () => this.redeliver(entries) }],
    }];
  }

  async redeliver(entries) {
    await this.server.call('deliveries/redeliver', { method: 'POST', body: { ids: entries.map(({ id }) => id) } });
    this.again();
  }
}

/** Jobs that were run again together, and what became of them. */
class Batch {
  constructor({ code, count, skipped, old, since, until }) {
    Object.assign(this, { code, count, skipped, old, since, until, tally: { completed: 0, live: 0, ended: 0 }, isOver: count === 0 });
  }

  /** Counts those that run others again, among all that were accepted meanwhile. */
  settle(jobs) {
    const own = jobs.filter((job) => job.retry_of !== undefined && (this.old?.has(job.retry_of) ?? true));
    const inState = (...states) => own.filter(({ state }) => states.includes(state)).length;
    this.tally = { completed: inState('completed'), live: inState('pending', 'processing'), ended: inState('failed', 'cancelled') };
    this.isOver = this.tally.live === 0 && own.length >= this.count;
  }
}

class IssueRow {
  constructor({ acts = [] }) {
    this.title = element('h3');
    this.detail = element('p', { className: 'issue-detail' });
    this.bar = element('progress', { max: 1 });
    this.refusal = element('div', { className: 'refusal', hidden: true });
    this.refusal.setAttribute('role', 'alert');
    this.buttons = acts.map(({ isMain }, i) => {
      const button = element('button', { type: 'button', className: isMain ? 'button' : 'button plain' });
      button.addEventListener('click', () => this.act(i));
      return button;
    });
    this.node = element('li', { className: 'issue' },
      element('div', { className: 'issue-said' }, this.title, this.detail, this.bar), element('div', { className: 'issue-acts' }, ...this.buttons), this.refusal);
  }

  update(issue) {
    const { title, detail, isTrouble = false, isGood = false, share = null, acts = [] } = issue;
    this.issue = issue;
    this.node.classList.toggle('is-trouble', isTrouble);
    this.node.classList.toggle('is-good', isGood);
    write(this.title, title);
    write(this.detail, detail ?? '');
    this.bar.hidden = share === null;
    this.bar.value = share ?? 0;
    this.bar.setAttribute('aria-label', title);
    this.buttons.forEach((button, i) => {
      write(button, acts[i].label);
      // Many are called “Show”: of what, is heard with it.
      button.setAttribute('aria-label', `${acts[i].label}: ${title}`);
    });
  }

  async act(i) {
    const button = this.buttons[i];
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    showRefusal(this.refusal, null);
    try {
      await this.issue.acts[i].run();
    } catch (error) {
      showRefusal(this.refusal, error);
    }
    button.setAttribute('aria-disabled', 'false');
  }
}
