// A seller in the shop of `shop.mjs`, for `shop.rs`.
//
// in:  { playwright, chromium, profile, shop, base, photos: [path], no_photo: path }
// out: what the seller saw
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');
const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  viewport: { width: 1280, height: 900 },
  deviceScaleFactor: 2, // of 200 and 800 pixels for a place of 400, the larger one is right
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
context.setDefaultTimeout(120_000);
const page = await context.newPage();
const seen = { errors: [] };
page.on('pageerror', (error) => seen.errors.push(String(error)));
const uploads = [];
page.on('response', async (answer) => {
  if (answer.url().endsWith('/upload') && answer.request().method() === 'POST' && answer.ok()) uploads.push(answer.json());
});
const status = page.getByRole('status');
const send = async (path, text) => {
  await page.getByLabel('Photo').setInputFiles(path);
  await page.getByRole('button', { name: 'Send' }).click();
  await status.filter({ hasText: text }).waitFor();
  return status.textContent();
};
// The shop is told by a callback, a moment after the page.
const shown = async (other) => {
  for (;;) {
    await page.goto(`${order.shop}/products/lamp`);
    const image = page.getByAltText('the product');
    if (await image.count() && (await image.evaluate((img) => img.decode().then(() => img.currentSrc))) !== other) {
      const photo = await image.evaluate((img) => ({ address: img.currentSrc, natural: [img.width, img.height] }));
      const file = await fetch(photo.address);
      return { ...photo, type: file.headers.get('content-type') };
    }
  }
};

await page.goto(`${order.shop}/products/lamp`);
seen.before = await page.locator('#photo').textContent();
seen.refused = await send(order.no_photo, 'image');
await send(order.photos[0], 'ready');
seen.first = await shown(undefined);
await send(order.photos[1], 'ready');
seen.second = await shown(seen.first.address);
seen.hash = (await uploads[1]).hash;
await context.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
