// Try: a picture, a job, an upload, and what comes of it.

import { Comparison } from './comparison.js';
import { announce, copies, of, show } from './dom.js';
import { Embed } from './embed.js';
import { JobForm } from './job.js';
import { bytes, curlLines, dimensions, formatName } from './text.js';
import { drawn } from './thumbhash.js';
import { claimsOf, demoToken, described, objection } from './token.js';
import { Follower, Lost, Refused, Stopped, cancel, upload } from './transfer.js';
import { Variants } from './variants.js';

const comparison = new Comparison();
const form = new JobForm();
const variants = new Variants(of('variants'), (file) => compare(file));
const embed = new Embed();

/** What an upload may be, once the server has said it. */
let limits = null;
/** The picture: `file`, its `url` in this page, `width` and `height` if this browser can show it. */
let picture = null;
/** The token that a person has pasted; none in the demo. */
let ownToken = null;
let hasDemo = false;
/** What is under way, or was last: its `phase` is `signing`, `sending`, `making`, `over` or `broken`. */
let run = null;
/** The job whose files are shown: the last one that was accepted. */
let shownRun = null;

const isBusy = () => run !== null && ['signing', 'sending', 'making'].includes(run.phase);

// The picture.

function take(file) {
  show('file-error', null);
  if (!file) return;
  if (isBusy()) return show('file-error', 'A job is under way. Wait for its end, or cancel it.');
  if (limits && file.size > limits.upload.bytes_max) {
    return show('file-error', `${file.name} has ${bytes(file.size)}, and this server takes ${bytes(limits.upload.bytes_max)} at most.`);
  }
  if (picture) URL.revokeObjectURL(picture.url);
  const url = URL.createObjectURL(file);
  const taken = { file, url, width: 0, height: 0, isShown: false };
  picture = taken;
  run = null;
  showBusy();
  for (const id of ['course', 'results', 'comparing', 'refusal', 'unseen']) of(id).hidden = true;
  show('compared-note', null);
  of('empty').hidden = true;
  of('viewer').hidden = false;
  of('file').setAttribute('aria-label', 'Another picture');
  of('facts').textContent = `${file.name}, ${bytes(file.size)}`;
  const image = new Image();
  image.onload = () => {
    if (picture !== taken) return;
    Object.assign(taken, { width: image.naturalWidth, height: image.naturalHeight, isShown: true });
    comparison.show(url, file.name, taken.width, taken.height);
    of('facts').textContent = `${file.name}, ${dimensions(taken.width, taken.height)}, ${bytes(file.size)}`;
    announce(`${file.name} is chosen.`);
  };
  image.onerror = () => {
    if (picture !== taken) return;
    comparison.clear();
    show('unseen', `This browser can’t show ${kindOf(file)}. What is made of it will be shown.`);
    announce(`${file.name} is chosen. This browser can’t show it.`);
  };
  image.src = url;
}

function kindOf(file) {
  const extension = /\.(\w{1,5})$/.exec(file.name)?.[1];
  return extension ? `${formatName(extension)} files` : 'this file';
}

of('file').addEventListener('change', ({ target }) => {
  take(target.files[0]);
  // So that the same file can be chosen again.
  target.value = '';
});
const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
for (const name of ['dragenter', 'dragover']) {
  document.addEventListener(name, (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    of('stage').classList.add('awaits');
  });
}
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) of('stage').classList.remove('awaits'); });
document.addEventListener('drop', (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  of('stage').classList.remove('awaits');
  take(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => {
  const [file] = event.clipboardData?.files ?? [];
  if (!file) return;
  event.preventDefault();
  take(file);
});

// The token.

function useOwnToken(text) {
  show('token-error', null);
  ownToken = null;
  if (text === '') return showTokenState();
  try {
    const claims = claimsOf(text);
    const against = objection(claims);
    if (against) throw new Error(against);
    ownToken = { text, claims };
    form.set(claims.job, true);
  } catch (error) {
    show('token-error', error.message);
  }
  return showTokenState();
}

function showTokenState() {
  const suffix = ' Its job can’t be changed here: it is signed.';
  if (ownToken) show('token-state', described(ownToken.claims) + suffix);
  else show('token-state', hasDemo ? 'This server signs the job for you, for an hour.' : 'Paste a token: it says what to make, and who may.');
  of('job').hidden = !hasDemo && !ownToken;
  of('make').hidden = of('job').hidden;
  of('token-own').hidden = !hasDemo;
}

of('token').addEventListener('input', ({ target }) => useOwnToken(target.value.trim()));
of('token-own').addEventListener('click', async ({ currentTarget }) => {
  const entry = of('token-entry');
  entry.hidden = !entry.hidden;
  currentTarget.setAttribute('aria-expanded', String(!entry.hidden));
  currentTarget.textContent = entry.hidden ? 'Use a token of your own' : 'Let the server sign';
  if (!entry.hidden) return of('token').focus();
  of('token').value = '';
  const wasFixed = form.isFixed;
  useOwnToken('');
  if (wasFixed) form.set(form.job, false);
});

// The job under way.

of('panel').addEventListener('submit', (event) => {
  event.preventDefault();
  make();
});
of('again').addEventListener('click', () => {
  if (run.phase === 'making') run.follower.retry();
  else make();
});
of('cancel').addEventListener('click', async () => {
  if (run.phase === 'sending') return run.sending.stop();
  of('cancel').disabled = true;
  try {
    await cancel(run.token, run.jobId);
  } catch (error) {
    note(error instanceof Refused ? error.problem.detail : 'The server can’t be reached, so the job goes on for now.');
  }
  of('cancel').disabled = false;
});

async function make() {
  if (isBusy()) return;
  of('refusal').hidden = true;
  if (!picture) {
    show('file-error', 'Choose a picture first.');
    return of('file').focus();
  }
  if (of('token').value.trim() && !ownToken) return refuse({ title: 'The token can’t be used', detail: of('token-error').textContent });
  if (form.trouble) return refuse({ title: 'The job can’t be read', detail: form.trouble });
  const mine = { phase: 'signing', picture, job: structuredClone(form.job) };
  run = mine;
  course('Preparing', null);
  of('course-title').focus();
  try {
    mine.token = ownToken?.text ?? (await demoToken(mine.job))?.token;
    if (!mine.token) throw new Refused({ title: 'There is no token', detail: 'This server signs no tokens any more; paste one of your own.' });
    form.clearErrors();
    mine.phase = 'sending';
    mine.sending = upload(mine.token, picture.file, (share, sent) => sending(mine, share, sent));
    sending(mine, 0, 0);
    const accepted = await mine.sending.done;
    follow(mine, accepted.job_id, accepted.expected_files);
  } catch (error) {
    stopped(mine, error);
  }
}

function sending(mine, share, sent) {
  if (mine.phase !== 'sending') return;
  const total = bytes(mine.picture.file.size);
  course(share < 1 ? `Uploading ${bytes(sent)} of ${total}` : `Uploaded ${total}; the server is looking at it`, share < 1 ? share : null, { cancel: true });
}

/** Something went wrong before the server had it all, or it said no. */
function stopped(mine, error) {
  mine.phase = 'broken';
  if (error instanceof Refused && ['duplicate_job', 'token_used'].includes(error.problem.code)) {
    mine.remark = error.problem.code === 'token_used'
      ? 'This token was good for one upload. This is the job that it was used for.'
      : 'The server was at work on this very picture already. This is that job.';
    return follow(mine, error.problem.job_id, []);
  }
  if (error instanceof Stopped) return course('Upload cancelled', 0, { again: 'Upload again' });
  if (error instanceof Refused) {
    of('course').hidden = true;
    return refuse(error.problem, error.retryAfter);
  }
  if (!(error instanceof Lost)) throw error;
  const { sent } = error;
  const total = mine.picture.file.size;
  const isWhole = sent >= total;
  course('The connection was lost', sent / total, { again: 'Try again', isTrouble: true });
  note(isWhole
    ? 'The picture was on its way, but no answer came. Try again: if the server is at work on it, its job is shown.'
    : `${bytes(sent)} of ${bytes(total)} had been sent, and nothing was kept. Your picture and job are still here.`);
  announce('The connection was lost.');
  of('again').focus();
  return undefined;
}

function refuse({ title, detail, errors }, retryAfter) {
  showBusy();
  of('refusal-title').textContent = title;
  of('refusal-detail').textContent = detail + (retryAfter ? ` Try again in ${retryAfter}\u202fs.` : '');
  of('refusal-more').hidden = true;
  of('refusal').hidden = false;
  of('make').focus();
  if (!errors) return;
  // Each stands beside its field; together they would only be long.
  of('refusal-detail').textContent = errors.length === 1 ? 'It is marked above, with what is wrong.' : `${errors.length} are marked above, each with what is wrong.`;
  of('refusal-said').textContent = detail;
  of('refusal-more').hidden = false;
  form.showErrors(errors);
}

function follow(mine, jobId, expectedFiles) {
  Object.assign(mine, { phase: 'making', jobId, startedAt: performance.now(), isPicked: false, isLost: false });
  shownRun = mine;
  variants.begin(expectedFiles, mine.picture.file.size);
  comparison.awaitWith(null);
  embed.hide();
  of('results').hidden = false;
  of('curl-line').textContent = curlLines(mine.token, mine.picture.file.name, new URL('upload', document.baseURI).href);
  course('Waiting for its turn', null, { cancel: true });
  announce('Uploaded. The files are being made.');
  mine.follower = new Follower(jobId, {
    status: (status) => { if (run === mine) making(mine, status); },
    file: (file) => { if (run === mine) arrived(mine, [file]); },
    end: (status) => { if (run === mine) ended(mine, status); },
    lost: () => { if (run === mine) lost(mine); },
    back: () => { if (run === mine) back(mine); },
    gone: (detail) => {
      if (run !== mine) return;
      mine.phase = 'over';
      course('The job is gone', 0, { isTrouble: true });
      note(detail);
    },
  });
}

function making(mine, status) {
  mine.status = status;
  arrived(mine, status.files);
  if (mine.isLost) return;
  const { done, total } = status.progress;
  const isWaiting = status.state === 'pending' && done === 0;
  course(isWaiting ? 'Waiting for its turn' : `${done} of ${total} files`, isWaiting ? null : done / total, { cancel: true });
  const outages = status.waiting_for ?? [];
  note(outages.length ? 'A store can’t be reached; its files wait, and go there once it can.' : mine.remark);
}

function arrived(mine, files) {
  variants.add(files);
  if (variants.chosen === null) {
    const [first] = variants.shown();
    if (first) variants.select(first.name);
  }
}

function lost(mine) {
  mine.isLost = true;
  const { done = 0, total = 1 } = mine.status?.progress ?? {};
  course('The connection was lost', done / total, { again: 'Try now', isTrouble: true });
  note('The job goes on without this page, which asks again every few seconds.');
}

function back(mine) {
  if (!mine.isLost) return;
  mine.isLost = false;
  note(mine.remark);
  announce('The connection is back.');
  if (mine.status) making(mine, mine.status);
}

function ended(mine, status) {
  mine.phase = 'over';
  variants.add(status.files);
  variants.close();
  const { done, total } = status.progress;
  const seconds = ((performance.now() - mine.startedAt) / 1000).toFixed(1);
  note(mine.remark);
  if (status.state === 'completed') {
    course(`${total === 1 ? 'One file' : `${total} files`} in ${seconds}\u202fs`, 1);
  } else if (status.state === 'cancelled') {
    course(`Cancelled, with ${done} of ${total} files`, done / total, { again: 'Start again' });
  } else {
    course(`The job failed, with ${done} of ${total} files`, done / total, { again: 'Start again', isTrouble: true });
    note(`${status.error} (${status.error_code})`);
  }
  announce(of('course-title').textContent);
  if (status.placeholder) comparison.awaitWith(drawn(status.placeholder.thumbhash));
  embed.show(status);
  if (!mine.isPicked) {
    const [largest] = variants.shown();
    if (largest) variants.select(largest.name);
  }
}

/** How far it is: `share` of the bar, null for nobody knows. */
function course(title, share, { again = null, cancel: canCancel = false, isTrouble = false } = {}) {
  of('course').hidden = false;
  of('course').classList.toggle('trouble', isTrouble);
  if (of('course-title').textContent !== title) of('course-title').textContent = title;
  of('bar').hidden = run.phase === 'over' && share === 1;
  if (share === null) of('bar').removeAttribute('value');
  else of('bar').value = share;
  // A button that holds the focus hands it on before it goes.
  const held = ['again', 'cancel'].some((id) => of(id) === document.activeElement && !(id === 'again' ? again : canCancel));
  show('again', again);
  of('cancel').hidden = !canCancel;
  if (held) of('course-title').focus();
  showBusy();
}

const showBusy = () => of('make').setAttribute('aria-disabled', String(isBusy()));
const note = (text) => show('course-note', text);

// The comparison.

of('variants').addEventListener('click', ({ target }) => { if (target.closest('button.what')) shownRun.isPicked = true; });

function compare(file) {
  const nameOf = (other) => `${formatName(other.format)}, ${dimensions(other.width, other.height)}`;
  const shown = (other) => ({ url: Variants.pictureOf(other), name: nameOf(other) });
  const isOriginal = shownRun.picture.isShown;
  const reference = variants.shown()[0];
  const before = isOriginal ? { url: shownRun.picture.url, name: 'Original' } : shown(reference);
  const shape = isOriginal ? JobForm.shapeOf(shownRun.job, file.format) : { fit: 'fill', position: '' };
  of('unseen').hidden = true;
  of('comparing').hidden = false;
  comparison.compare(before, shown(file), { ...shape, width: file.width, height: file.height });
  of('viewport').setAttribute('aria-label', `${before.name} on the left, ${nameOf(file)} on the right`);
  const notes = {
    cover: 'The original is cut like the variant, so that the same things lie over each other.',
    fill: isOriginal ? 'The original is stretched like the variant.' : `This browser can’t show the original. On the left is the largest variant, ${nameOf(reference)}.`,
  };
  show('compared-note', notes[shape.fit]);
}
of('after').addEventListener('error', () => show('compared-note', 'This browser can’t show this variant.'));

copies(of('copy-curl'), () => of('curl-line').textContent);

// The beginning.

async function begin() {
  const [answer, demo] = await Promise.all([
    fetch('limits').then((limited) => (limited.ok ? limited.json() : null)).catch(() => null),
    demoToken().catch(() => null),
  ]);
  limits = answer;
  if (limits) {
    const inputs = limits.upload.inputs.map(formatName);
    of('takes').textContent = `${inputs.slice(0, -1).join(', ')} or ${inputs.at(-1)}, up to ${bytes(limits.upload.bytes_max)}`;
  }
  hasDemo = demo !== null;
  of('token-entry').hidden = hasDemo;
  if (hasDemo) form.set(demo.job, false);
  showTokenState();
  document.body.classList.add('ready');
}

begin();
