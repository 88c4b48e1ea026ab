// A person's browser, for the script that comes after this one: what it asks for, and what it is kept from, is noted in `seen`.
//
// in:  { playwright, chromium, profile, base, only: one scene }
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(order.playwright + '/');
const { chromium } = require('playwright-core');

const WAIT = 120_000;
const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  timeout: WAIT,
  viewport: { width: 1440, height: 900 },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
context.setDefaultTimeout(WAIT);
await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: order.base });

const seen = { errors: [], foreign: [], violations: [] };
context.on('request', (request) => {
  const url = request.url();
  if (!url.startsWith('data:') && !url.startsWith('blob:') && !url.startsWith(`${order.base}/`)) seen.foreign.push(url);
});
await context.exposeFunction('tellViolation', (told) => seen.violations.push(told));
await context.addInitScript(() => {
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => window.tellViolation(`${violatedDirective}: ${blockedURI}`));
});

/** Opens the page, at an address of its own. `ready` is there once it has begun. */
async function open(address = '', ready = 'body.ready') {
  const page = await context.newPage();
  page.on('pageerror', (error) => seen.errors.push(error.stack));
  await page.goto(`${order.base}/${address}`);
  await page.waitForSelector(ready);
  return page;
}

const text = (page, selector) => page.locator(selector).evaluate((found) => (found.hidden ? null : found.textContent.replace(/\s+/g, ' ').trim()));
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className);
const unlabelled = (page) => page.evaluate(() => [...document.querySelectorAll('input, select, textarea, button, a')]
  .filter((control) => control.checkVisibility() && !control.labels?.length && !control.getAttribute('aria-label') && !control.textContent.trim()).map((control) => control.id));

/** Plays what comes from a script: its scenes, one after the other, and hands over what was seen. */
async function play(scenes) {
  for (const [name, scene] of Object.entries(scenes)) {
    if (order.only && order.only !== name) continue;
    seen[name] = await scene();
  }
  await context.close();
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
}
