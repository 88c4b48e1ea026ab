// Whose token is used: one that the demo signs for each job, or one that a person has pasted.

import { Refused, ask, problemOf } from './transfer.js';

/** The claims of a token, without asking whether its signature is good: the server does that. */
export function claimsOf(token) {
  const parts = token.split('.');
  if (parts.length !== 3) throw new Error('A token has three parts, with a dot between each two.');
  let claims;
  try {
    const binary = atob(parts[1].replaceAll('-', '+').replaceAll('_', '/'));
    claims = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(binary, (c) => c.charCodeAt(0))));
  } catch {
    throw new Error('The middle part of this token can’t be read. Was it copied whole?');
  }
  if (claims === null || typeof claims !== 'object') throw new Error('The middle part of this token holds no claims.');
  return claims;
}

/** What is wrong with the claims, in words; none if nothing shows from here. */
export function objection(claims) {
  if (claims.job === null || typeof claims.job !== 'object') return 'This token carries no job, so nothing can be uploaded with it.';
  if (typeof claims.exp === 'number' && claims.exp * 1000 < Date.now()) return `This token has expired at ${time(claims.exp)}.`;
  return null;
}

/** Whose it is, and until when. */
export function described(claims) {
  const until = typeof claims.exp === 'number' ? `, until ${time(claims.exp)}` : '';
  const scope = typeof claims.scope === 'string' && claims.scope ? ` It also allows “${claims.scope}”, which uploads don’t need.` : '';
  return `Token of ${claims.sub ?? 'nobody'}${until}.${scope}`;
}

/** The scopes that a token names, the words of its claim. */
export const scopesOf = (claims) => (typeof claims.scope === 'string' ? claims.scope.split(' ') : []);

/** Whose jobs a token watches, and until when. */
export function reach(claims) {
  const scopes = scopesOf(claims);
  const reached = [['admin', 'everybody’s jobs'], ['manage-user', 'the jobs of its user'], ['manage', 'its own jobs']].find(([scope]) => scopes.includes(scope));
  const until = typeof claims.exp === 'number' ? `, until ${time(claims.exp)}` : '';
  return `Token of ${claims.sub ?? 'nobody'}${until}: ${reached?.[1] ?? 'it names no scope'}.`;
}

function time(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return date.toLocaleString('en', isToday ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
}

/** A token of the demo's for this job; the job that the demo suggests, if none is given. Null where there is no demo. */
export async function demoToken(job) {
  return demo(job === undefined ? {} : { job: JSON.stringify(job) });
}

/** One that watches the demo's jobs; null where there is no demo. */
export const demoManager = () => demo({ scope: 'manage' });

async function demo(parameters) {
  const answer = await ask(`demo-token?${new URLSearchParams(parameters)}`, { cache: 'no-store' });
  if (answer.ok) return answer.json();
  const problem = await problemOf(answer);
  if (problem.code === 'not_found' || problem.code === 'not_local') return null;
  throw new Refused(problem);
}
