// Puts together what `pieces.rs` has taken from the README, and uses it.
//
// in:  { playwright, chromium, profile, workshop, port, base, photos: [path], subs }
// out: what came of it
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';

const order = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(order.playwright + '/');
const { chromium } = require('playwright-core');
process.chdir(order.workshop);
const piece = (name) => import(`${order.workshop}/${name}`);
const { sign, photoOf } = await piece('token.mjs');
const { receive, photos } = await piece('receiver.mjs');
const { withdraw } = await piece('withdraw.mjs');
const { hash } = await piece('hash.mjs');
const { send } = await piece('send.mjs');
const { Webhook } = createRequire(order.workshop + '/')('standardwebhooks');
const origin = `http://localhost:${order.port}`;
const seen = {};

// The app: its page, its form, the page behind the form, and its receiver.
let told = () => {};
const app = createServer(async (request, response) => {
  const html = (text) => response.writeHead(200, { 'Content-Type': 'text/html' }).end(`<!doctype html>${text}`);
  if (request.url === '/pixerve') {
    await receive(request, response);
    return told();
  }
  if (request.url !== '/form') return html(`<script>${readFileSync('upload.js', 'utf8')}</script>`);
  const token = await sign('guest', { ...photoOf('form'), redirect: `${origin}/back` });
  return html(readFileSync('form.html', 'utf8').replace('TOKEN', token));
});
await new Promise((resolve) => app.listen(order.port, '127.0.0.1', resolve));
const toldOf = async ({ job_id }, product) => {
  while (photos.get(product)?.job_id !== job_id) await new Promise((resolve) => { told = resolve; });
  return photos.get(product);
};
const ended = async ({ job_id }) => (await fetch(`${order.base}/status?job_id=${job_id}&wait=60`)).json();

const browser = await chromium.launch({
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
const page = await (await browser.newContext()).newPage();
await page.goto(origin);
const uploadInPage = async (bytes, job) => page.evaluate(
  ([base64, token]) => upload(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], 'photo.jpg'), token)
    .catch((error) => error.message),
  [bytes.toString('base64'), await sign('alice', job)],
);

// A connection that breaks once the upload has been done, and before its answer is there.
const connected = globalThis.fetch;
globalThis.fetch = async (...request) => {
  seen.requests_of_sent = (seen.requests_of_sent ?? 0) + 1;
  const answer = await connected(...request);
  if (seen.lost) return answer;
  seen.lost = await answer.json();
  throw new TypeError('fetch failed');
};
const sender = await sign('backend', { directHost: true, formats: { jpg: { sizes: [[100]] } } });
const key = crypto.randomUUID();
seen.sent = await send(order.photos[0], sender, key);
globalThis.fetch = connected;
seen.sent_again = await send(order.photos[0], sender, key);
seen.not_sent = await send('shop.json', sender).catch((error) => error.message);

const bytes = order.photos.map((path) => readFileSync(path));
seen.first = await uploadInPage(bytes[0], photoOf('lamp'));
seen.told_of_first = await toldOf(seen.first, 'lamp');
seen.refused = await uploadInPage(Buffer.from('no picture'), photoOf('lamp'));
seen.second = await uploadInPage(bytes[1], photoOf('lamp'));
seen.told_of_second = await toldOf(seen.second, 'lamp');
const files = [seen.told_of_first, seen.told_of_second].flatMap((event) => event.files);
seen.addresses = await Promise.all(files.map(async ({ stored: [{ location }] }) => (await fetch(order.base + location)).status));

const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
const sendForm = async (file) => {
  await plain.goto(`${origin}/form`);
  await plain.setInputFiles('input[type=file]', file);
  await plain.click('button');
  await plain.waitForURL(`${origin}/back?*`);
  return plain.url();
};
seen.form = await sendForm(order.photos[2]);
seen.refused_form = await sendForm({ name: 'a.jpg', mimeType: 'image/jpeg', buffer: Buffer.from('no picture') });
await browser.close();

// The receiver again, empty each time, is told by the calls of two jobs in every order.
const secret = JSON.parse(readFileSync('shop.json', 'utf8')).webhook_secret;
const [old, fresh] = [seen.told_of_first, seen.told_of_second];
const fileOf = (event, n) => ({ type: 'file.stored', hash: event.hash, job_id: event.job_id, ref: event.ref, sequence: n, file: event.files[n] });
const calls = [
  { id: `${old.job_id}_file_0`, event: fileOf(old, 0) },
  { id: old.job_id, event: old },
  { id: `${fresh.job_id}_file_0`, event: fileOf(fresh, 0) },
  { id: fresh.job_id, event: fresh },
];
const call = async (receiver, { id, event }, by = secret) => {
  const body = JSON.stringify(event);
  const now = new Date();
  const request = Object.assign(Readable.from([Buffer.from(body)]), {
    headers: { 'webhook-id': id, 'webhook-timestamp': String(Math.floor(now / 1000)), 'webhook-signature': new Webhook(by).sign(id, now, body) },
  });
  return new Promise((resolve) => {
    let status;
    const response = { writeHead: (code) => { status = code; return response; }, end: () => resolve(status) };
    receiver.receive(request, response);
  });
};
const orders = (list) => (list.length < 2 ? [list] : list.flatMap((one, i) => orders([...list.slice(0, i), ...list.slice(i + 1)]).map((rest) => [one, ...rest])));
seen.orders = 0;
seen.wrong_orders = [];
for (const times of [1, 2]) {
  for (const told of orders(calls)) {
    const receiver = await piece(`receiver.mjs?${(seen.orders += 1)}`);
    const answers = [];
    for (const one of Array(times).fill(told).flat()) answers.push(await call(receiver, one));
    const isRight = answers.every((status) => status === 204)
      && receiver.photos.get('lamp').job_id === fresh.job_id
      && [old, fresh].every(({ job_id, files }) => receiver.jobs.get(job_id).state === 'completed'
        && JSON.stringify(receiver.jobs.get(job_id).files) === JSON.stringify(files));
    if (!isRight) seen.wrong_orders.push({ order: told.map(({ id }) => id), answers });
  }
}
const fresher = await piece('receiver.mjs?twice');
await call(fresher, calls[0]);
await call(fresher, calls[0]);
seen.files_of_a_job_under_way = fresher.jobs.get(old.job_id).files.length;
const unsigned = await fetch(`${origin}/pixerve`, { method: 'POST', body: JSON.stringify(old) });
seen.unsigned = [unsigned.status, await call(fresher, calls[1], `whsec_${Buffer.alloc(32, 7).toString('base64')}`)];

seen.left = await withdraw('alice', 'lamp');
const slow = { ...photoOf('slow'), formats: { avif: { settings: { speed: 1 }, sizes: [[1600], [1500], [1400]], enlarge: true } } };
const form = new FormData();
form.append('file', new Blob([bytes[3]]), 'slow.jpg');
const headers = { Authorization: `Bearer ${await sign('alice', slow)}` };
const accepted = await (await fetch(`${order.base}/upload`, { method: 'POST', headers, body: form })).json();
await withdraw('alice', 'slow');
seen.nothing_to_withdraw = await withdraw('alice', 'vase');
seen.cancelled = await ended(accepted);

seen.hash_of_first = hash(bytes[0], 'alice', 'shop');
seen.hashes = order.subs.map((sub) => hash(bytes[0], sub));
app.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
