// A guest at the form of `form.php`, without JavaScript, for `form.rs`.
//
// in:  { playwright, chromium, profile, form, photo: path, no_photo: path, cut: path }
// out: what the guest saw
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');
const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  javaScriptEnabled: false,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
context.setDefaultTimeout(120_000);
const page = await context.newPage();
const send = async (path) => {
  await page.goto(order.form);
  await page.getByLabel('Picture').setInputFiles(path);
  await page.getByRole('button', { name: 'Send' }).click();
  await page.waitForURL(/[?]/);
};
const picture = async () => {
  const { width, height } = await page.getByAltText('your picture').boundingBox();
  return [width, height];
};
const seen = {};
await send(order.photo);
seen.picture = await picture();
await send(order.photo);
seen.again = await picture();
await send(order.no_photo);
seen.refused = await page.getByRole('alert').textContent();
await send(order.cut);
seen.failed = await page.getByRole('alert').textContent();
await context.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
