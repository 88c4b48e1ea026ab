// Puts the pieces of the README's section about showing pictures on pages, and looks at those, for `showing.rs`.
//
// in:  { playwright, chromium, profile, workshop, port, base, photo: path }
// out: what was shown, and what was asked for it
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { openAsBlob, readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');
process.chdir(order.workshop);
const piece = (name) => import(`${order.workshop}/${name}`);
const text = (name) => readFileSync(name, 'utf8');
const { sign } = await piece('token.mjs');
const { square } = await piece('list.mjs');
const { picture } = await piece('picture.mjs');
const { privateAddress } = await piece('private.mjs');
const { thumbHashToDataURL } = await piece('thumbhash.js');
const gate = async (command) => (await fetch(`${order.base}/gate/${command}`, { method: 'POST' })).json();
const seen = { errors: [] };

async function done(customer, job) {
  const form = new FormData();
  form.append('file', await openAsBlob(order.photo), 'photo.png');
  const headers = { Authorization: `Bearer ${await sign(customer, job)}` };
  const accepted = await (await fetch(`${order.base}/upload`, { method: 'POST', headers, body: form })).json();
  for (;;) {
    const status = await (await fetch(`${order.base}/status?job_id=${accepted.job_id}&wait=60`)).json();
    if (status.state === 'completed') return status;
    if (status.state === undefined || status.state === 'failed') throw new Error(JSON.stringify([accepted, status]));
  }
}
seen.job = await done('seller', { preset: 'product', ref: 'lamp', subDir: 'products/lamp' });
const secret = await done('alice', { directHost: true, private: true, unique: true, formats: { webp: { sizes: [[400, 0]] } } });

const alt = 'A "lamp" & <more>';
const { job_id: id, files, placeholder: { color, thumbhash } } = seen.job;
const element = await picture(seen.job, '100vw', alt);
const placed = text('placeholder.html').replace('COLOR', color).replace('THUMBHASH', thumbhash).replace('PICTURE', element);
const whole = '<style>img { display: block; width: 100%; height: auto }</style>';
const pages = {
  '/list': whole + square(files, '100vw', alt),
  '/picture': whole + element,
  '/manifest': `${whole}<main></main><script>${text('manifest.js')}
    showPicture(document.querySelector("main"), ${JSON.stringify(id)}, "100vw", ${JSON.stringify(alt)})</script>`,
  '/image': whole + text('image.html').replaceAll('JOB_ID', id),
  '/placeholder': `<style>${text('photo.css')}</style>${placed}<script type="module" src="/placeholder.js"></script>`,
};
const addresses = {};
const app = createServer(async ({ url }, response) => {
  if (url.endsWith('.js')) return response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(text(url.slice(1)));
  const body = url === '/private' ? `<img src="${addresses.shown}" alt="">` : pages[url];
  if (!body) return response.writeHead(404).end();
  const head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>body { margin: 0 }</style>';
  return response.writeHead(200, { 'Content-Type': 'text/html' }).end(`<!doctype html>${head}${body}`);
});
await new Promise((resolve) => app.listen(order.port, '127.0.0.1', resolve));

const browser = await chromium.launch({
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
const open = async (options) => {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') seen.errors.push(message.text()); });
  const visit = (path) => page.goto(`http://localhost:${order.port}${path}`);
  const shown = async () => {
    await page.waitForFunction(() => document.querySelector('img')?.complete && document.querySelector('img').naturalWidth > 0);
    return page.evaluate(() => document.querySelector('img').currentSrc);
  };
  return { context, page, visit, shown };
};

// Each way, at three widths and two densities. Squares are half as wide as the others.
seen.ways = {};
for (const way of ['list', 'picture', 'manifest', 'image']) {
  seen.ways[way] = [];
  for (const full of [400, 800, 1600]) {
    for (const deviceScaleFactor of [1, 2]) {
      const width = way === 'list' ? full / 2 : full;
      const { context, page, visit, shown } = await open({ viewport: { width, height: 600 }, deviceScaleFactor });
      await gate('seen');
      await visit(`/${way}`);
      const address = await shown();
      // Whatever else it may load has been asked for by then.
      await page.evaluate(async () => {
        for (let frame = 0; frame < 10; frame += 1) await new Promise((resolve) => { requestAnimationFrame(resolve); });
      });
      const said = await page.evaluate(() => document.querySelector('img').alt);
      seen.ways[way].push({ wanted: width * deviceScaleFactor, address, asked: (await gate('seen')).seen, said });
      await context.close();
    }
  }
}

// What stands in its place, with a script and without.
const width = 400;
const look = async (page) => (await page.locator('.photo').screenshot()).toString('base64');
const held = async (number) => { while ((await gate('seen')).waiting < number) await new Promise((resolve) => { setTimeout(resolve, 20); }); };
await gate('hold?after=0');
const plain = await open({ viewport: { width, height: 600 }, javaScriptEnabled: false });
await plain.page.goto(`http://localhost:${order.port}/placeholder`, { waitUntil: 'commit' });
await held(1);
seen.colour = await look(plain.page);
await gate('release');
await plain.context.close();
await gate('hold?after=0');
const { context, page, shown, visit } = await open({ viewport: { width, height: 600 } });
await page.goto(`http://localhost:${order.port}/placeholder`, { waitUntil: 'commit' });
await held(1);
await page.waitForFunction(() => document.querySelector('.photo').style.background.includes('url('));
seen.placeholder = await look(page);
await gate('release');
await shown();
await page.waitForFunction(() => document.querySelector('.photo').style.background === 'none');
seen.picture = await look(page);
await gate('seen');
await visit('/placeholder');
await shown();
await page.waitForFunction(() => document.querySelector('.photo').style.background === 'none');
seen.asked_again = (await gate('seen')).seen;
await context.close();
seen.drawn_bytes = thumbHashToDataURL(Buffer.from(thumbhash, 'base64')).length;

// A private one, by the same address for five minutes.
const { now } = Date;
const period = Math.floor(now() / 300_000) * 300_000;
const addressAt = async (time) => {
  Date.now = () => time;
  const address = await privateAddress('alice', secret.files[0]);
  Date.now = now;
  return address;
};
addresses.shown = await addressAt(period);
seen.later = [await addressAt(period + 299_999), await addressAt(period + 300_000)].map((address) => address === addresses.shown);
const viewer = await open({});
await gate('seen');
await viewer.visit('/private');
seen.private = { address: await viewer.shown(), width: await viewer.page.evaluate(() => document.querySelector('img').naturalWidth) };
await viewer.visit('/private');
await viewer.shown();
seen.private.asked = (await gate('seen')).seen;
seen.private.without = (await fetch(addresses.shown.split('?')[0])).status;
await browser.close();
app.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
