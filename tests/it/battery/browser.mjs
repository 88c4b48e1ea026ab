// Drives a browser for `browser.rs`: reads what to do from standard input, and writes what came of it to standard output.
//
// in:  { playwright, chromium, profile, base, files: [{ what, path, bytes (base64), kind }], pictures: [{ path, width }] }
// out: { careless: [...], served: [...], pictures: [...], stray: [...] }
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');

// A server as it should not be: each file as the HTML or the script that somebody hid in it. It shows that what is hidden
// is alive, and that a script that runs is noticed.
const asked = [];
const careless = createServer((request, response) => {
  const file = order.files[Number(request.url.slice(1))];
  if (!file) {
    asked.push(request.url);
    response.writeHead(200, { 'content-type': 'text/html' });
    return response.end('<title>nothing</title>');
  }
  const type = file.kind === 'script' ? 'text/javascript; charset=iso-8859-1' : 'text/html; charset=iso-8859-1';
  response.writeHead(200, { 'content-type': type });
  response.end(Buffer.from(file.bytes, 'base64'));
});
await new Promise((resolve) => careless.listen(0, '127.0.0.1', resolve));
const careless_base = `http://127.0.0.1:${careless.address().port}`;

const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  acceptDownloads: true,
  // The machine may be busy with other tests.
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});

context.setDefaultTimeout(120_000);

let signs = [];
// Whatever a script could do that ran.
await context.addInitScript(() => { globalThis.canary = () => console.log('CANARY'); });
context.on('console', (message) => { if (message.text() === 'CANARY') signs.push('script'); });
context.on('dialog', (dialog) => { signs.push('dialog'); dialog.dismiss().catch(() => {}); });
const stray = [];
context.on('request', (request) => {
  if (request.url().includes('canary')) signs.push('request');
  if (!request.url().startsWith(order.base) && !request.url().startsWith(careless_base)) stray.push(request.url());
});

const settle = (page) => page.waitForTimeout(30);
const signs_of = async (work) => {
  signs = [];
  const outcome = await work();
  return { outcome, signs: [...new Set(signs)] };
};

// How it ended: `load` or `error`, or `silence` if neither came.
const embed = (page, how, url) => page.evaluate(async ([how, url]) => {
  if (how === 'worker' || how === 'module worker' || how === 'service worker') {
    return new Promise(async (resolve) => {
      setTimeout(() => resolve('silence'), 500);
      if (how === 'service worker') {
        return navigator.serviceWorker.register(url).then(() => resolve('RAN'), () => resolve('error'));
      }
      try {
        const worker = new Worker(url, { type: how === 'worker' ? 'classic' : 'module' });
        worker.onmessage = () => resolve('RAN');
        worker.onerror = () => resolve('error');
      } catch { resolve('error'); }
    });
  }
  if (how === 'import') return import(url).then(() => 'RAN', () => 'error');
  const element = document.createElement(how);
  if (how === 'script') element.charset = 'iso-8859-1';
  if (how === 'link') Object.assign(element, { rel: 'stylesheet', href: url });
  else if (how === 'object') element.data = url;
  else element.src = url;
  const ended = new Promise((resolve) => {
    setTimeout(() => resolve('silence'), 500);
    element.onload = () => resolve('load');
    element.onerror = () => resolve('error');
  });
  document.body.append(element);
  const outcome = await ended;
  element.remove();
  return outcome;
}, [how, url]);

const results = { careless: [], served: [], pictures: [], stray };
const page = await context.newPage();

for (const [index, file] of order.files.entries()) {
  const url = `${careless_base}/${index}`;
  const seen = await signs_of(async () => {
    if (file.kind === 'script') {
      await page.goto(`${careless_base}/blank`);
      await embed(page, 'script', url);
    } else {
      await page.goto(url).catch(() => {});
    }
    await settle(page);
  });
  results.careless.push({ what: file.what, signs: seen.signs });
}

const WAYS = ['script', 'import', 'iframe', 'object', 'embed', 'img', 'link', 'worker', 'module worker', 'service worker'];
for (const file of order.files) {
  const url = order.base + file.path;
  const one = await signs_of(async () => {
    const answer = await page.goto(url).catch((error) => error.message.split('\n')[0]);
    await settle(page);
    return typeof answer === 'string' ? answer : 'shown';
  });
  results.served.push({ what: file.what, how: 'navigated', outcome: one.outcome, signs: one.signs });
  // From the same origin, where no border helps; scripts and the first of the others from another, too.
  const homes = [['the same', `${order.base}/version`]];
  if (file.kind === 'script' || results.served.length === 1) homes.push(['another', `${careless_base}/blank`]);
  for (const [from, home] of homes) {
    await page.goto(home);
    for (const how of WAYS) {
      const seen = await signs_of(async () => {
        const outcome = await embed(page, how, url);
        if (how === 'iframe' || how === 'object' || how === 'embed') await settle(page);
        return outcome;
      });
      results.served.push({ what: file.what, how: `${how} from ${from}`, ...seen });
    }
  }
}

await page.goto(`${order.base}/version`);
for (const picture of order.pictures) {
  const shown = await page.evaluate(async (path) => {
    const image = new Image();
    const ended = new Promise((resolve) => { image.onload = () => resolve(true); image.onerror = () => resolve(false); });
    image.src = path;
    document.body.append(image);
    if (!await ended) return null;
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const drawing = canvas.getContext('2d');
    drawing.drawImage(image, 0, 0);
    // The middle of each quarter.
    const corners = [[1, 1], [3, 1], [1, 3], [3, 3]];
    const at = ([x, y]) => [...drawing.getImageData(Math.floor(width * x / 4), Math.floor(height * y / 4), 1, 1).data];
    return { width, height, colours: corners.map(at) };
  }, picture);
  results.pictures.push({ path: picture, shown });
}

await context.close();
careless.close();
results.asked = asked;
process.stdout.write(JSON.stringify(results), () => process.exit(0));
