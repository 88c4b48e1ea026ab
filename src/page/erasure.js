// Erasing: what would go, whether it shall, and how far it is.

import { confirmed } from './question.js';
import { counted } from './text.js';
import { Lost } from './transfer.js';

/** Between two looks at an erasure, longer each time. */
const LOOK_AFTER_MS = 500;
const LOOK_AFTER_MAX_MS = 5000;
/** For the answer to an order: the server makes what it can of it within ten seconds. */
const ORDER_MS = 60_000;
/** Places that a question and an outcome name. */
const NAMED_MAX = 3;

/**
 * Erases what `query` names (`{job_id}`, `{hash}`, or `{sub}` with or without `{user}`), called `what`, unless the person thinks better of it:
 * what became of it, in words, or null. `tell(text)` hears how far it is.
 */
export async function erase(server, query, what, tell) {
  const parameters = new URLSearchParams(query);
  const planned = await server.call(`erase?${parameters}&dry_run=true`, { method: 'DELETE' });
  if (!(await confirmed(question(planned, what)))) return null;
  tell('Erasing');
  let erasure = await server.call(`erase?${parameters}`, { method: 'DELETE', withinMs: ORDER_MS });
  for (let pause = LOOK_AFTER_MS; erasure.state === 'running'; pause = Math.min(2 * pause, LOOK_AFTER_MAX_MS)) {
    tell(`Erasing: ${counted(erasure.files.deleted, 'file')} deleted so far.${refusals(erasure)} It goes on without this page, too.`);
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    try {
      erasure = await server.call(`erasures/${erasure.erasure_id}`);
    } catch (error) {
      // The order is written down: it goes on, whoever looks.
      if (!(error instanceof Lost)) throw error;
    }
  }
  return outcome(erasure);
}

function question({ jobs, files, kept = [] }, what) {
  const lines = [`${counted(files.deleted, 'file')} of ${counted(jobs, 'job')} would be deleted, wherever ${files.deleted === 1 ? 'it is' : 'they are'} stored, and with them all that is known of ${jobs === 1 ? 'the job' : 'the jobs'}. Nobody can bring that back.`];
  if (files.kept) lines.push(`${counted(files.kept, 'file')} would stay, because other jobs name the same:`, places(kept));
  return { title: `Erase ${what}?`, lines, yes: 'Erase', no: 'Keep', isFinal: true };
}

const places = (entries) => [
  ...entries.slice(0, NAMED_MAX).map(({ location, job_id: job }) => (location ? `${location} (${job})` : job)),
  ...(entries.length > NAMED_MAX ? [`and ${entries.length - NAMED_MAX} more`] : []),
];

/** What stores refuse to delete, which is tried again for days. */
function refusals({ files, left = [] }) {
  if (!left.length) return '';
  const named = left.slice(0, NAMED_MAX).map(({ backend, location, error }) => `${backend} ${location}: ${error}`);
  return ` ${counted(files.left, 'file')} can’t be deleted: ${named.join('; ')}${left.length > NAMED_MAX ? '; and others' : ''}.`;
}

function outcome(erasure) {
  const { state, jobs, files, versioned = false } = erasure;
  const said = [`${counted(jobs, 'job')} erased, ${counted(files.deleted, 'file')} deleted`];
  if (files.missing) said.push(`${files.missing} gone before`);
  if (files.kept) said.push(`${files.kept} kept for other jobs`);
  const versions = versioned ? ' A store keeps older versions of what is deleted from it; those are for you to delete there.' : '';
  return { isDone: state === 'done', text: `${said.join(', ')}.${refusals(erasure)}${versions}` };
}
