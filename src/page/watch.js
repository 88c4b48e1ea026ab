// Watch: how much there is to do, what went wrong, and which jobs there are, for as long as somebody looks. Also which half of the page is shown.

import { announce, of, show, showRefusal, write } from './dom.js';
import { JobList, linkTo } from './jobs.js';
import { Story } from './story.js';
import { counted, duration, moment } from './text.js';
import { claimsOf, demoManager, reach, scopesOf } from './token.js';
import { Lost, Refused, ask, request } from './transfer.js';
import { Trouble } from './trouble.js';

/** Between two looks. */
const LOOK_AFTER_MS = 3000;
/** The same where the connection broke. */
const LOOK_AFTER_LOSS_MS = 500;
/** Between two times that a screen reader hears how much there is. */
const TELL_AFTER_MS = 15_000;
/** Between two tokens of the demo's. */
const DEMO_AFTER_MS = 60_000;
const LANES = ['realtime', 'queued'];
const STAGES = ['pending', 'making', 'storing'];
const TITLES = { try: 'Try Pixerve', watch: 'Watch Pixerve' };

const server = {
  token: null,
  /** By how much its clock is ahead of this one, in milliseconds. */
  ahead: 0,
  /** The server's time, in milliseconds. */
  now: () => Date.now() + server.ahead,
  call: (path, options) => request(server.token, path, options),
};

const list = new JobList(server, go, look);
const trouble = new Trouble(server, (filters) => {
  go(filters);
  of('jobs-title').focus();
  of('jobs').scrollIntoView({ block: 'start' });
}, look);
const story = new Story(server, go, look);

/** What `/health` said last. */
let health = null;
/** When the server answered last, by this clock. */
let answeredAt = null;
/** Whether the last look found no server. */
let isLost = false;

// Which half, and what of it: `#try`, `#watch`, `#watch?state=failed`, `#watch/<job>?state=failed`.

function place() {
  const [, half, job = null, query = ''] = /^#(try|watch)(?:\/([^?]+))?(?:\?(.*))?$/.exec(location.hash) ?? [];
  return { half, job, filters: new URLSearchParams(query) };
}

let half = null;

function route() {
  const asked = place();
  // An anchor in the page changes nothing else.
  if (asked.half === undefined && half !== null && location.hash !== '') return;
  half = asked.half ?? 'try';
  document.title = TITLES[half];
  for (const name of ['try', 'watch']) {
    of(`${name}-view`).hidden = name !== half;
    of(`${name}-lead`).hidden = name !== half;
    if (name === half) of(`go-${name}`).setAttribute('aria-current', 'page');
    else of(`go-${name}`).removeAttribute('aria-current');
  }
  if (half !== 'watch') return;
  if (server.token === null) useDemo();
  list.set(asked.filters, asked.job);
  const wasOpen = story.id;
  story.open(asked.job, list.filters);
  if (wasOpen !== null && asked.job === null) of('job-rows').querySelector(`a[href*="${CSS.escape(wasOpen)}"]`)?.focus({ preventScroll: false });
  look();
}

function go(filters, job = null) {
  const query = new URLSearchParams(filters).toString();
  history.pushState(null, '', job === null ? `#watch${query ? `?${query}` : ''}` : linkTo(job, query));
  route();
}

addEventListener('hashchange', route);
addEventListener('popstate', route);
of('skip').addEventListener('click', (event) => {
  if (half !== 'watch') return;
  // Its address would take the place of that of the list.
  event.preventDefault();
  of(of('watched').hidden ? 'watch-token' : 'jobs-title').focus();
});

// The token.

/** Watches with this token, or with none; `error` is why the last one was refused. */
function use(text, error = null) {
  let claims = null;
  show('watch-token-error', null);
  if (text) {
    try {
      claims = claimsOf(text);
    } catch (found) {
      show('watch-token-error', found.message);
    }
  }
  server.token = claims && text;
  list.forget();
  trouble.forget();
  story.forget();
  showRefusal(of('watch-refusal'), error);
  of('watched').hidden = claims === null;
  of('watch-view').classList.toggle('is-out', claims === null);
  of('watch-token-entry').hidden = claims !== null;
  of('watch-token-other').hidden = claims === null;
  write(of('watch-token-state'), claims ? reach(claims) : 'Paste a token that may manage jobs: whose jobs are shown, and what can be done, is up to it.');
  if (claims) list.reaches(scopesOf(claims));
  look();
}

of('watch-token').addEventListener('input', ({ target }) => use(target.value.trim()));
of('watch-token-other').addEventListener('click', () => {
  of('watch-token').value = '';
  use('');
  of('watch-token').focus();
});

let askedDemoAt = -Infinity;

/** Asks the demo for a token, where there is one: at first, and when the last, which lasts an hour, is refused. */
async function useDemo() {
  if (performance.now() - askedDemoAt < DEMO_AFTER_MS) return;
  askedDemoAt = performance.now();
  const demo = await demoManager().catch(() => null);
  if (demo !== null && server.token === null && of('watch-token').value === '') use(demo.token);
  document.body.classList.add('watch-ready');
}

// Looking, again and again.

let timer = null;
let isLooking = false;
let isDueAgain = false;

const isWatched = () => half === 'watch' && !document.hidden && server.token !== null;

/** Asks the server now, and then every few seconds, for as long as somebody looks. */
async function look() {
  if (isLooking) {
    isDueAgain = true;
    return;
  }
  clearTimeout(timer);
  if (!isWatched()) return;
  isLooking = true;
  isDueAgain = false;
  const { token } = server;
  let pause = LOOK_AFTER_MS;
  try {
    pause = await refresh();
  } finally {
    isLooking = false;
    // Whatever becomes of one look, another follows.
    timer = setTimeout(look, pause);
  }
  if (isDueAgain || token !== server.token) look();
}

document.addEventListener('visibilitychange', () => look());

/** One look: milliseconds until the next. */
async function refresh() {
  const { token } = server;
  const looks = await Promise.allSettled([refreshHealth(), list.refresh(), trouble.refresh(), story.refresh()]);
  if (token !== server.token) return 0;
  const errors = looks.flatMap(({ status, reason }) => (status === 'rejected' ? [reason] : []));
  const bug = errors.find((error) => !(error instanceof Lost || error instanceof Refused));
  if (bug) {
    // Told where bugs are looked for; what was there stays.
    reportError(bug);
  }
  const refused = errors.find((error) => error instanceof Refused);
  if (refused && ['unauthorized', 'forbidden'].includes(refused.problem.code)) {
    use('', refused);
    if (refused.problem.code === 'unauthorized' && of('watch-token').value === '') await useDemo();
    return 0;
  }
  const wasLost = isLost;
  isLost = errors.some((error) => error instanceof Lost);
  if (!isLost) answeredAt = new Date();
  // Once is nothing: a laptop that changes its network, for example.
  else if (!wasLost) return LOOK_AFTER_LOSS_MS;
  of('watched').classList.toggle('is-stale', isLost);
  show('watch-lost', isLost ? `The server can’t be reached, and is asked again every few seconds.${answeredAt ? ` What is shown is as of ${moment(answeredAt)}.` : ''}` : null);
  showRefusal(of('watch-refusal'), refused ?? null);
  tell(trouble.show(health));
  return refused?.retryAfter ? Math.max(LOOK_AFTER_MS, 1000 * Number(refused.retryAfter)) : LOOK_AFTER_MS;
}

async function refreshHealth() {
  const answer = await ask('health', { cache: 'no-store', signal: AbortSignal.timeout(10_000) });
  // 503 says how it is, too; what is no answer of Pixerve's says nothing.
  const said = await answer.json().catch(() => null);
  if (said?.checks === undefined) throw new Lost(0, 0);
  health = said;
  server.ahead = Date.parse(said.timestamp) - Date.now();
  showLanes(said.checks.queue.lanes);
  write(of('server-state'), `${said.status === 'healthy' ? 'Healthy' : 'Not healthy'}, version ${said.version}, up ${said.uptime.replace(/^(0d )?(0h )?(0m )?/, '')}, ${said.checks.workers.busy} of ${counted(said.checks.workers.workers, 'worker')} busy`);
}

function showLanes(lanes) {
  of('lanes').hidden = lanes === undefined;
  for (const lane of lanes ? LANES : []) {
    const cells = of(`lane-${lane}`).cells;
    const { oldest_pending_seconds: oldest } = lanes[lane];
    STAGES.forEach((stage, i) => {
      write(cells[i + 1], lanes[lane][stage].toLocaleString('en'));
      cells[i + 1].classList.toggle('is-none', lanes[lane][stage] === 0);
    });
    write(cells[4], oldest === null ? 'none' : duration(oldest));
    cells[4].classList.toggle('is-none', oldest === null);
  }
}

let told = '';
let toldAt = -Infinity;

/** Tells a screen reader how much there is and what is wrong, once that is another thing than before and not all the time. */
function tell(titles) {
  const lanes = health?.checks.queue.lanes;
  const sum = (stage) => LANES.reduce((all, lane) => all + lanes[lane][stage], 0);
  const counts = lanes ? `${sum('pending')} waiting, ${sum('making')} being made, ${sum('storing')} being stored. ` : '';
  const text = counts + (titles.length ? `${titles.join('. ')}.` : 'Nothing is wrong.');
  if (text === told || performance.now() - toldAt < TELL_AFTER_MS) return;
  told = text;
  toldAt = performance.now();
  announce(text);
}

use('');
route();
