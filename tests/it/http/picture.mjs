// What a browser makes of a `<picture>`: which file it takes, by how wide the picture is shown and how dense the screen is.
//
// in:  { playwright, chromium, profile, element, thumbhash, views: [{ width, density }] }
// out: { shown: [address], drawn: { width, height, pixels } }
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const order = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(order.playwright + '/');
const { chromium } = require('playwright-core');
const { thumbHashToRGBA } = await import(pathToFileURL(require.resolve('thumbhash')));

const browser = await chromium.launch({
  executablePath: order.chromium,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
const shown = [];
for (const { width, density } of order.views) {
  const context = await browser.newContext({ viewport: { width, height: 600 }, deviceScaleFactor: density });
  const page = await context.newPage();
  await page.setContent(`<!doctype html><style>body { margin: 0 } img { width: 100%; height: auto }</style>${order.element}`);
  await page.waitForFunction(() => document.querySelector('img').complete && document.querySelector('img').naturalWidth > 0);
  shown.push(await page.evaluate(() => document.querySelector('img').currentSrc));
  await context.close();
}
await browser.close();
const { w, h, rgba } = thumbHashToRGBA(Buffer.from(order.thumbhash, 'base64'));
process.stdout.write(JSON.stringify({ shown, drawn: { width: w, height: h, pixels: [...rgba] } }), () => process.exit(0));
