// Drives a browser for `docs.rs`: reads the page of the description.
//
// in:  { playwright, chromium, profile, base }
// out: what the page shows, and what it asked of whom
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');
const context = await chromium.launchPersistentContext(order.profile, {
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});
context.setDefaultTimeout(120_000);
const page = await context.newPage();
const seen = { requests: [], errors: [] };
page.on('request', (request) => seen.requests.push(request.url()));
page.on('pageerror', (error) => seen.errors.push(String(error)));
page.on('console', (message) => { if (message.type() === 'error') seen.errors.push(message.text()); });
await page.goto(`${order.base}/docs#schema-Job`);
await page.waitForSelector('main:not([aria-busy])');

seen.shown = await page.evaluate(() => ({
  sections: [...document.querySelectorAll('section')].map((section) => section.id),
  links: [...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href')),
  dangling: [...document.querySelectorAll('a[href^="#"]')].map((link) => link.getAttribute('href')).filter((href) => !document.getElementById(href.slice(1))),
  // The one that the address names.
  job: document.querySelector('#schema-Job').getBoundingClientRect().top < innerHeight,
  upload: document.querySelector('#upload').innerText,
}));
const visible = () => page.evaluate(() => [...document.querySelectorAll('section:not([hidden])')].map((section) => section.id));
await page.fill('#find', 'job_ended');
seen.found = await visible();
await page.fill('#find', '');
seen.all = (await visible()).length;
await page.setViewportSize({ width: 360, height: 800 });
seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
// Under a policy that forbids it, a script of the page's own does nothing.
seen.inline = await page.evaluate(() => {
  const script = document.createElement('script');
  script.textContent = 'window.intruder = true';
  document.body.append(script);
  return window.intruder ?? false;
});
await context.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
