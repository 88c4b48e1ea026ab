// Drives a browser for `pages.rs`: a page of an origin of its own, which works with the server at `base`.
//
// in:  { playwright, chromium, profile, base, port, token, pictures: [base64] }
// out: what each way of uploading was answered, and what the page saw besides
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(order.playwright + '/');
const { chromium } = require('playwright-core');

// As their own documentation has them included.
const LIBRARIES = {
  'uppy.min.js': 'uppy/dist/uppy.min.js',
  'filepond.min.js': 'filepond/dist/filepond.min.js',
  'dropzone-min.js': 'dropzone/dist/dropzone-min.js',
};
const PAGE = '<!doctype html><meta charset="utf-8"><title>a shop</title><input type="file" id="pond"><form id="zone"></form>';
const shop = createServer((request, response) => {
  const library = LIBRARIES[request.url.slice(1)];
  response.writeHead(200, { 'content-type': library ? 'text/javascript' : 'text/html' });
  response.end(library ? readFileSync(`${order.playwright}/node_modules/${library}`) : PAGE);
});
await new Promise((resolve) => shop.listen(order.port, '127.0.0.1', resolve));

const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
context.setDefaultTimeout(120_000);
const page = await context.newPage();
const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
await page.goto(`http://127.0.0.1:${order.port}/`);
for (const library of Object.keys(LIBRARIES)) await page.addScriptTag({ url: `/${library}` });

const results = await page.evaluate(async ({ base, token, pictures }) => {
  const file = (i) => new File([Uint8Array.from(atob(pictures[i]), (c) => c.charCodeAt(0))], `photo ${i}.jpg`, { type: 'image/jpeg' });
  const authorized = { Authorization: `Bearer ${token}` };
  const seen = {};

  const form = new FormData();
  form.append('file', file(0));
  const uploaded = await fetch(`${base}/upload`, { method: 'POST', body: form, headers: authorized });
  seen.fetch = await uploaded.json();

  seen.watched = await new Promise((resolve) => {
    const events = new EventSource(`${base}/events?job_id=${seen.fetch.job_id}`);
    let statuses = 0;
    events.addEventListener('status', () => { statuses += 1; });
    events.addEventListener('end', ({ data }) => {
      // The server closes; the browser comes back, and is told by a 204 not to come again.
      const timer = setInterval(() => {
        if (events.readyState !== EventSource.CLOSED) return;
        clearInterval(timer);
        resolve({ statuses, end: JSON.parse(data), closed: true });
      }, 50);
    });
  });

  const location = seen.watched.end.files[0].stored[0].location;
  const image = new Image();
  image.crossOrigin = 'anonymous';
  await new Promise((resolve, reject) => { image.onload = resolve; image.onerror = reject; image.src = base + location; });
  const canvas = Object.assign(document.createElement('canvas'), { width: 20, height: 20 });
  const drawing = canvas.getContext('2d');
  drawing.drawImage(image, 10, 10, 20, 20, 0, 0, 20, 20);
  try {
    seen.drawn = { tainted: false, pixel: [...drawing.getImageData(5, 5, 1, 1).data], url: canvas.toDataURL().length };
  } catch (error) {
    seen.drawn = { tainted: true, error: String(error) };
  }

  seen.uppy = await new Promise((resolve) => {
    const uppy = new Uppy.Uppy().use(Uppy.XHRUpload, {
      endpoint: `${base}/upload`, fieldName: 'file', headers: { authorization: `Bearer ${token}` }, limit: 4,
    });
    uppy.on('upload-success', (_, response) => resolve(response.body));
    uppy.on('upload-error', (_, error, response) => resolve({ error: String(error), response }));
    uppy.addFile({ name: 'uppy.jpg', type: 'image/jpeg', data: file(1) });
    uppy.upload();
  });

  seen.filepond = await new Promise((resolve) => {
    const pond = FilePond.create(document.querySelector('#pond'), {
      name: 'file',
      server: { process: { url: `${base}/upload`, headers: authorized, onload: (text) => { resolve(JSON.parse(text)); return text; }, onerror: (text) => resolve({ error: text }) } },
    });
    pond.addFile(file(2));
  });

  seen.dropzone = await new Promise((resolve) => {
    const zone = new Dropzone('#zone', { url: `${base}/upload`, headers: authorized });
    zone.on('success', (_, answer) => resolve(answer));
    zone.on('error', (_, error, xhr) => resolve({ error, status: xhr?.status }));
    zone.addFile(file(3));
  });

  seen.limits = await (await fetch(`${base}/limits`)).json();
  const refusal = async (answer) => ({ status: answer.status, code: (await answer.json()).code });
  const post = (headers, blob) => {
    const form = new FormData();
    form.append('file', blob, 'a.jpg');
    return fetch(`${base}/upload`, { method: 'POST', body: form, headers });
  };
  seen.bad_token = await refusal(await post({ Authorization: 'Bearer no.such.token' }, file(0)));
  seen.no_picture = await refusal(await post(authorized, new Blob(['nothing'])));
  seen.nothing_there = await refusal(await fetch(`${base}/status?hash=nothing`));
  seen.register = await fetch(`${base}/register`, { headers: authorized }).then((answer) => answer.status, () => null);
  return seen;
}, order);

results.errors = errors;
await context.close();
shop.close();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
