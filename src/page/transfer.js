// What goes to the server and comes back: the upload, and how its job fares.

/** The server has said no, and why. */
export class Refused extends Error {
  constructor(problem, retryAfter = null) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** The connection broke. */
export class Lost extends Error {
  constructor(sent, total) {
    super('the connection was lost');
    Object.assign(this, { sent, total });
  }
}

/** The person has stopped it. */
export class Stopped extends Error {}

function problemIn(text, status) {
  try {
    const problem = JSON.parse(text);
    if (typeof problem.detail === 'string') return problem;
  } catch {
    // A proxy's own page, for example.
  }
  return { title: 'The server refused it', detail: `It answered with the status ${status}, and didn’t say why.`, status };
}

/** `fetch`, whose failures are all lost connections. */
export async function ask(url, options) {
  try {
    return await fetch(url, options);
  } catch {
    throw new Lost(0, 0);
  }
}

/** The problem of an answer, with the `scope` that would have done, if that is what was missing. */
export async function problemOf(answer) {
  const problem = problemIn(await textOf(answer), answer.status);
  const scope = /scope="([^"]*)"/.exec(answer.headers.get('WWW-Authenticate') ?? '')?.[1];
  return scope ? { ...problem, scope } : problem;
}

/** The whole of an answer; one that breaks off is a lost connection. */
async function textOf(answer) {
  try {
    return await answer.text();
  } catch {
    throw new Lost(0, 0);
  }
}

/**
 * A request with this token, if there is one, whose `body` goes as JSON: what was answered, as JSON, or null if nothing was.
 * `hear(headers)` has the headers of that.
 */
export async function request(token, path, { method = 'GET', body, withinMs = ANSWER_MS, hear = () => {} } = {}) {
  const headers = {};
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await ask(path, { method, headers, body: JSON.stringify(body), cache: 'no-store', signal: AbortSignal.timeout(withinMs) });
  if (!answer.ok) throw new Refused(await problemOf(answer), answer.headers.get('Retry-After'));
  hear(answer.headers);
  const text = await textOf(answer);
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    throw new Refused(NOT_PIXERVE);
  }
}

const NOT_PIXERVE = { title: 'That was not Pixerve', detail: 'Something between this page and the server answered in its place.' };
/** For an answer: after this the connection is taken for lost. */
const ANSWER_MS = 20_000;

/** Sends a file: `done` is what the server answered, `progress` is told of bytes. */
export function upload(token, file, progress) {
  const request = new XMLHttpRequest();
  let sent = 0;
  const done = new Promise((resolve, reject) => {
    request.upload.addEventListener('progress', ({ loaded, total }) => {
      sent = Math.min(loaded, file.size);
      progress(loaded / total, sent);
    });
    request.addEventListener('load', () => {
      const { status, responseText } = request;
      if (status !== 200) return reject(new Refused(problemIn(responseText, status), request.getResponseHeader('Retry-After')));
      try {
        return resolve(JSON.parse(responseText));
      } catch {
        return reject(new Refused(NOT_PIXERVE));
      }
    });
    request.addEventListener('error', () => reject(new Lost(sent, file.size)));
    request.addEventListener('abort', () => reject(new Stopped()));
    request.open('POST', 'upload');
    request.setRequestHeader('Authorization', `Bearer ${token}`);
    const form = new FormData();
    form.append('file', file, file.name);
    request.send(form);
  });
  return { done, stop: () => request.abort() };
}

export async function cancel(token, jobId) {
  const answer = await ask(`cancel?job_id=${jobId}`, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
  // One that has ended meanwhile is told by its events.
  if (!answer.ok && answer.status !== 409) throw new Refused(await problemOf(answer));
}

/** Between two questions, whatever the answers: a server that is asked by many answers at once. */
const POLL_MS = 700;
const POLL_AFTER_TROUBLE_MS = 2000;
const POLL_WAIT_S = 20;
const ENDED = ['completed', 'failed', 'cancelled'];

/**
 * Tells of a job until it has ended. `hear` has: `status(status)`, `file(file)`, `end(status)`, `lost()` while the server
 * can't be reached, `back()` once it can again, and `gone(detail)` if it doesn't know the job.
 */
export class Follower {
  constructor(jobId, hear) {
    Object.assign(this, { jobId, hear, isOver: false, wake: null });
    this.listen();
  }

  /** By events, which the browser connects again when they are cut. */
  listen() {
    const events = new EventSource(`events?job_id=${this.jobId}`);
    this.events = events;
    const hear = (name, tell) => events.addEventListener(name, ({ data }) => { if (!this.isOver) tell(JSON.parse(data)); });
    hear('status', (status) => this.hear.status(status));
    hear('file', (file) => this.hear.file(file));
    hear('end', (status) => this.end(status));
    events.addEventListener('open', () => this.hear.back());
    events.addEventListener('error', () => {
      if (this.isOver) return;
      if (events.readyState === EventSource.CLOSED) this.poll();
      else this.hear.lost();
    });
  }

  /** By questions, where events are refused: too many streams, or a proxy that knows none. */
  async poll() {
    let etag = null;
    while (!this.isOver) {
      let pause = POLL_MS;
      try {
        const headers = etag ? { 'If-None-Match': etag } : {};
        // The first question is answered at once, the next ones when something has changed.
        const wait = etag ? `&wait=${POLL_WAIT_S}` : '';
        const answer = await fetch(`status?job_id=${this.jobId}${wait}`, { headers, cache: 'no-store' });
        if (this.isOver) return;
        if (answer.status === 404) return this.gone((await problemOf(answer)).detail);
        if (answer.ok || answer.status === 304) this.hear.back();
        if (answer.ok) {
          etag = answer.headers.get('ETag');
          const status = await answer.json();
          if (ENDED.includes(status.state)) return this.end(status);
          this.hear.status(status);
        } else if (answer.status !== 304) {
          pause = 1000 * (Number(answer.headers.get('Retry-After')) || POLL_AFTER_TROUBLE_MS / 1000);
        }
      } catch {
        if (this.isOver) return;
        this.hear.lost();
        pause = POLL_AFTER_TROUBLE_MS;
      }
      await new Promise((resolve) => { this.wake = resolve; setTimeout(resolve, pause); });
    }
  }

  /** Tries again now. */
  retry() {
    if (this.events.readyState === EventSource.CLOSED) return this.wake?.();
    this.events.close();
    return this.listen();
  }

  end(status) {
    this.stop();
    this.hear.end(status);
  }

  gone(detail) {
    this.stop();
    this.hear.gone(detail);
  }

  stop() {
    this.isOver = true;
    this.events.close();
    this.wake?.();
  }
}
