// A typed client: `openapi-typescript` has made pixerve.d.ts of the server's description.
//
// in:  process.env.ORDER: { base, token, picture: base64 }
// out: { state, files, refused, job }
//
// An error may have no body: what is refused for its head alone has none.
import createClient from 'openapi-fetch';
import type { components, paths } from './pixerve.js';

declare const process: { env: Record<string, string>; stdout: { write(text: string): void } };

const { base, token, picture } = JSON.parse(process.env.ORDER ?? '{}') as Record<'base' | 'token' | 'picture', string>;
const client = createClient<paths>({ baseUrl: base });

// What is signed into a token is typed too.
const job: components['schemas']['Job'] = { directHost: true, formats: { jpg: { sizes: [[64]] }, webp: { settings: { quality: 80 } } } };

const upload = (authorization: string) =>
  client.POST('/upload', {
    headers: { authorization },
    body: { file: picture },
    bodySerializer: ({ file }) => {
      const form = new FormData();
      form.append('file', new Blob([Uint8Array.from(atob(file), (char) => char.charCodeAt(0))]), 'picture.jpg');
      return form;
    },
  });

const accepted = await upload(`Bearer ${token}`);
if (!accepted.data) throw new Error(accepted.error?.detail);
const { data: status, error } = await client.GET('/status', { params: { query: { job_id: accepted.data.job_id, wait: 60 } } });
if (!status) throw new Error(error?.detail);
if ('jobs' in status) throw new Error('one job was asked about');

const refused = await upload('Bearer none');
const code: components['schemas']['ProblemCode'] | undefined = refused.error?.code;
process.stdout.write(JSON.stringify({ state: status.state, files: status.files.length, refused: code, job: Object.keys(job) }));
