// One job's story: what happened to it, its files and where they are, its callbacks; running it again, cancelling and erasing it.

import { Rows, announce, element, of, show, showRefusal, write } from './dom.js';
import { erase } from './erasure.js';
import { linkTo, nameOf, shortName, showState } from './jobs.js';
import { confirmed } from './question.js';
import { bytes, copy, dimensions, duration, formatName, moment, pretty } from './text.js';
import { Refused } from './transfer.js';
import { addressOf } from './variants.js';

const ENDED = ['completed', 'failed', 'cancelled'];
/** For the answer to a cancellation: work that is under way is stopped first. */
const CANCEL_MS = 30_000;
const PARTS = ['story-acts', 'story-bar', 'story-facts', 'story-happened', 'story-stored', 'story-called', 'story-job'];

export class Story {
  /** `go(filters, job)` shows another job of the same list, or none; `look()` has the page ask the server again, now. */
  constructor(server, go, look) {
    Object.assign(this, { server, go, look, filters: new URLSearchParams(), id: null });
    this.forget();
    this.events = new Rows(of('story-events'), ({ key }) => key, () => new EventRow(this));
    this.files = new Rows(of('story-files'), ({ name }) => name, (file) => new FileRow(file, this.job.hash));
    this.deliveries = new Rows(of('story-deliveries'), ({ id }) => id, () => new DeliveryRow(this));
    of('story-retry').addEventListener('click', () => this.act('story-retry', () => this.retry()));
    of('story-cancel').addEventListener('click', () => this.act('story-cancel', () => this.cancel()));
    of('story-erase').addEventListener('click', () => this.act('story-erase', () => this.erase({ job_id: this.id }, 'this job')));
    of('story-erase-all').addEventListener('click', () => this.act('story-erase-all', () => this.erase({ hash: this.job.hash }, 'every job of these bytes')));
    of('story-copy').addEventListener('click', async () => {
      announce(await copy(this.id).then(() => 'Copied', (error) => `Not copied: ${error.message}`));
    });
  }

  /** Nothing is known of the job yet. */
  forget() {
    Object.assign(this, { job: null, callbacks: null, claim: null, erased: false });
  }

  /** Tells of the job of this id, or of none. */
  open(id, filters) {
    this.filters = filters;
    of('story-close').href = `#watch${filters.size ? `?${filters}` : ''}`;
    if (id === this.id) return;
    this.id = id;
    this.forget();
    of('story').hidden = id === null;
    of('watch-view').classList.toggle('has-story', id !== null);
    if (id === null) return;
    for (const part of PARTS) of(part).hidden = true;
    show('story-note', null);
    showRefusal(of('story-refusal'), null);
    of('story-job').open = false;
    write(of('story-title'), 'Job');
    write(of('story-id'), id);
    of('story-state').hidden = true;
    of('story').scrollTop = 0;
    of('story-title').focus({ preventScroll: true });
    of('story').scrollIntoView({ block: 'nearest' });
  }

  async refresh() {
    const { id } = this;
    if (id === null || this.erased) return;
    const query = new URLSearchParams({ job_id: id });
    try {
      const [job, callbacks, record] = await Promise.all([
        this.server.call(`status?${query}`),
        this.server.call(`deliveries?${query}`).catch((error) => {
          if (!(error instanceof Refused)) throw error;
          return error;
        }),
        this.claim === null ? this.server.call(`failures?${query}`) : null,
      ]);
      if (id !== this.id || this.erased) return;
      Object.assign(this, { job, callbacks });
      if (record?.job_data) this.claim = JSON.parse(record.job_data);
      this.show();
    } catch (error) {
      if (id !== this.id || this.erased) return;
      const isUnknown = error instanceof Refused && ['not_found', 'bad_request'].includes(error.problem.code);
      if (!isUnknown) throw error;
      for (const part of PARTS) of(part).hidden = true;
      showRefusal(of('story-refusal'), error);
    }
  }

  show() {
    const { job } = this;
    for (const part of PARTS) of(part).hidden = false;
    write(of('story-title'), nameOf(job) ?? 'Job');
    of('story-state').hidden = false;
    showState(of('story-state'), job.state);
    const hasEnded = ENDED.includes(job.state);
    this.offer({ 'story-retry': hasEnded && job.state !== 'completed' && job.retried_as === undefined, 'story-cancel': !hasEnded, 'story-erase': true, 'story-erase-all': true });
    of('story-bar').hidden = hasEnded;
    of('story-bar').max = Math.max(1, job.progress.total);
    of('story-bar').value = job.progress.done;

    write(of('story-lane'), job.priority === 0 ? 'realtime' : 'queued');
    write(of('story-attempt'), String(job.attempt));
    write(of('story-progress'), `${job.progress.done} of ${job.progress.total} stored everywhere`);
    write(of('story-hash'), job.hash);
    this.events.show(this.happened());
    this.files.show(job.files);
    show('story-no-files', job.files.length ? null : 'Nothing is stored yet.');
    this.showCallbacks();
    write(of('story-json'), this.claim === null ? '' : pretty(this.claim));
    of('story-job').hidden = this.claim === null;
  }

  /** Shows which acts there are; one that holds the focus hands it on before it goes. */
  offer(acts) {
    for (const [id, isThere] of Object.entries(acts)) {
      if (!isThere && document.activeElement === of(id)) of('story-title').focus();
      of(id).hidden = !isThere;
    }
  }

  /** What happened, in its order. */
  happened() {
    const { job } = this;
    const events = [{ key: 'accepted', at: job.created_at, said: 'Accepted' }];
    if (job.retry_of) events.push({ key: 'retry_of', said: 'Runs again what ended as', job: job.retry_of });
    if (job.started_at) events.push({ key: 'begun', at: job.started_at, said: job.attempt > 1 ? `Begun for the ${ordinal(job.attempt)} time` : 'Begun' });
    if (job.error && !ENDED.includes(job.state)) {
      events.push({ key: 'tried', said: `The last attempt failed, and it is tried again: ${job.error}`, code: job.error_code, isTrouble: true });
    }
    for (const { backend, access_key: key, since, reason } of job.waiting_for ?? []) {
      const store = key ? `the ${backend} store ${key}` : 'the serve directory';
      events.push({ key: `store ${store}`, at: since, said: `Waits for ${store}, which ${reason === 'refused' ? 'refuses what it is sent' : 'can’t be reached'}`, isTrouble: true });
    }
    if (ENDED.includes(job.state)) {
      const seconds = (new Date(job.finished_at) - new Date(job.created_at)) / 1000;
      const took = seconds < 10 ? `${seconds.toFixed(1)}\u202fs` : duration(seconds);
      const isFailed = job.state === 'failed';
      events.push({ key: 'ended', at: job.finished_at, said: isFailed ? `Failed after ${took}: ${job.error}` : `${job.state === 'completed' ? 'Completed' : 'Cancelled'} after ${took}`, code: isFailed ? job.error_code : null, isTrouble: isFailed });
    }
    if (job.retried_as) events.push({ key: 'retried_as', said: 'Run again as', job: job.retried_as });
    return events;
  }

  showCallbacks() {
    const { callback } = this.job;
    const isRefused = this.callbacks instanceof Refused;
    showRefusal(of('story-callbacks-refusal'), isRefused ? this.callbacks : null);
    const { deliveries } = isRefused ? { deliveries: [] } : this.callbacks;
    this.deliveries.show(deliveries);
    const words = { none: 'The job asks for none, or for none of how it ended.', pending: 'One will tell of its end.' };
    show('story-callback', deliveries.length ? null : words[callback.state] ?? `The one of its end: ${callback.state.replace('_', ' ')}.`);
  }

  async act(id, run) {
    const button = of(id);
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    show('story-note', null);
    showRefusal(of('story-refusal'), null);
    try {
      await run();
    } catch (error) {
      this.erased = false;
      show('story-note', null);
      showRefusal(of('story-refusal'), error);
    }
    button.setAttribute('aria-disabled', 'false');
    this.look();
  }

  async retry() {
    const { job_id: id } = await this.server.call(`retry?${new URLSearchParams({ job_id: this.id })}`, { method: 'POST' });
    this.go(Object.fromEntries(this.filters), id);
    show('story-note', 'This is the job that runs it again.');
  }

  async cancel() {
    const isSure = await confirmed({
      title: 'Cancel this job?',
      lines: [`It is stopped for good, with ${this.job.progress.done} of ${this.job.progress.total} files stored. Those stay where they are.`],
      yes: 'Cancel the job',
      no: 'Let it go on',
      isFinal: true,
    });
    if (!isSure) return;
    const { id } = this;
    await this.server.call(`cancel?${new URLSearchParams({ job_id: id })}`, { method: 'DELETE', withinMs: CANCEL_MS });
    if (id === this.id) show('story-note', 'It is cancelled.');
  }

  async erase(query, what) {
    const { id } = this;
    const tell = (text) => { if (id === this.id) show('story-note', text); };
    const outcome = await erase(this.server, query, what, (text) => {
      // From the order on nothing is known of it any more.
      this.erased = true;
      tell(text);
    });
    if (outcome === null || id !== this.id) return;
    for (const part of PARTS) of(part).hidden = true;
    of('story-state').hidden = true;
    write(of('story-title'), outcome.isDone ? 'Erased' : 'Not all of it could be erased');
    tell(outcome.text);
    of('story-title').focus();
  }

  async redeliver(delivery) {
    const { count } = await this.server.call('deliveries/redeliver', { method: 'POST', body: { ids: [delivery] } });
    show('story-note', count ? 'The callback is due at once.' : 'The callback is not known any more.');
  }
}

function ordinal(number) {
  const suffix = { one: 'st', two: 'nd', few: 'rd', other: 'th' }[new Intl.PluralRules('en', { type: 'ordinal' }).select(number)];
  return `${number}${suffix}`;
}

class EventRow {
  constructor(story) {
    this.story = story;
    this.said = element('span');
    this.code = element('code', { hidden: true });
    this.link = element('a', { className: 'mono', hidden: true });
    this.time = element('time');
    this.node = element('li', {}, this.time, element('span', { className: 'event-said' }, this.said, ' ', this.code, this.link));
  }

  update({ at = null, said, code = null, job = null, isTrouble = false }) {
    write(this.said, said);
    write(this.code, code ?? '');
    this.code.hidden = code === null;
    this.link.hidden = job === null;
    if (job !== null) {
      write(this.link, job);
      this.link.href = linkTo(job, this.story.filters.toString());
    }
    write(this.time, at === null ? '' : moment(new Date(at)));
    if (at !== null) this.time.dateTime = at;
    this.node.classList.toggle('is-trouble', isTrouble);
  }
}

class FileRow {
  constructor(file, hash) {
    this.hash = hash;
    this.facts = element('span', { className: 'file-facts' });
    this.places = element('ul', { className: 'places' });
    this.rows = new Rows(this.places, ({ location }) => location, () => new PlaceRow());
    this.node = element('li', {}, element('b', { textContent: formatName(file.format) + (file.width ? `, ${dimensions(file.width, file.height)}` : '') }), this.facts, this.places);
  }

  update(file) {
    const kind = { original: ', the original', manifest: ', the manifest' }[file.kind] ?? '';
    const twin = file.same_as ? `, the same as ${shortName(file.same_as, this.hash)}` : '';
    write(this.facts, `${bytes(file.bytes)}${kind}${twin}`);
    this.rows.show(file.stored.map((place) => ({ ...place, url: addressOf({ stored: [place] }) })));
  }
}

class PlaceRow {
  constructor() {
    this.backend = element('span', { className: 'backend' });
    this.link = element('a', { target: '_blank', rel: 'noopener' });
    this.location = element('span');
    this.node = element('li', {}, this.backend, ' ', this.link, this.location);
  }

  update({ backend, location, url }) {
    write(this.backend, backend);
    const isReached = url !== null;
    this.link.hidden = !isReached;
    this.location.hidden = isReached;
    write(isReached ? this.link : this.location, location);
    if (isReached) this.link.href = url;
  }
}

class DeliveryRow {
  constructor(story) {
    this.what = element('b');
    this.state = element('span', { className: 'delivery-state' });
    this.said = element('p', { className: 'delivery-said' });
    this.button = element('button', { type: 'button', className: 'link', textContent: 'Send again' });
    this.refusal = element('div', { className: 'refusal', hidden: true });
    this.refusal.setAttribute('role', 'alert');
    this.button.addEventListener('click', async () => {
      showRefusal(this.refusal, null);
      try {
        await story.redeliver(this.id);
      } catch (error) {
        showRefusal(this.refusal, error);
      }
      story.look();
    });
    this.node = element('li', {}, element('div', { className: 'delivery-line' }, element('span', {}, this.what, ' ', this.state), this.button), this.said, this.refusal);
  }

  update({ id, type, host, state, attempts, next_attempt_at: next, last }) {
    this.id = id;
    write(this.what, type ?? id);
    write(this.state, state.replace('_', ' '));
    this.node.classList.toggle('is-trouble', state === 'given_up');
    const tries = attempts === 1 ? '1 try' : `${attempts} tries`;
    const tried = last === null ? [] : [`${moment(new Date(last.at))} ${last.status ? `answered ${last.status}` : 'not answered'} in ${last.duration_ms}\u202fms${last.error ? `: ${last.error}` : ''}`];
    const due = next === null ? [] : [`the next at ${moment(new Date(next))}`];
    write(this.said, [`To ${host}`, tries, ...tried, ...due].join('; '));
    this.button.setAttribute('aria-label', `Send again: ${type ?? id}`);
  }
}
