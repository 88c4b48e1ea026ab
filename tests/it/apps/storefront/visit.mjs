// A customer in the shop of `store.mjs`, for `storefront.rs`: on three screens, with a cache that is cold and then warm.
//
// in:  { playwright, chromium, profile, shop, base, receipt: path, screenshots: a directory or null }
// out: what was shown, what was asked for it, and what moved
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';

const order = JSON.parse(readFileSync(0, 'utf8'));
const { chromium } = createRequire(order.playwright + '/')('playwright-core');
const gate = async (command) => (await fetch(`${order.base}/gate/${command}`, { method: 'POST' })).json();
const asked = async () => (await gate('seen')).seen;
const pause = () => new Promise((resolve) => { setTimeout(resolve, 20); });
const seen = { errors: [], screens: {}, formats: [] };
if (order.screenshots) mkdirSync(order.screenshots, { recursive: true });

const browser = await chromium.launch({
  executablePath: order.chromium,
  headless: true,
  timeout: 120_000,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-proxy-server'],
});

/** A browser that has seen nothing yet. */
async function open(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(120_000);
  // How far what is shown has moved by itself, and a script of the test that the page's policy doesn't concern.
  await context.addInitScript(() => {
    globalThis.moved = [];
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries()) moved.push([value, ...sources.map(({ node }) => node?.className ?? node?.nodeName)]);
    }).observe({ type: 'layout-shift', buffered: true });
  });
  const page = await context.newPage();
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') seen.errors.push(message.text()); });
  return { context, page };
}
const visit = (page, path, waitUntil = 'load') => page.goto(`${order.shop}${path}`, { waitUntil });
const keep = async (page, name, fullPage = false) => {
  if (order.screenshots) await page.screenshot({ path: `${order.screenshots}/${name}.png`, fullPage });
};
/** Until what the window shows, or all that the page does, has come, and whatever is asked for after that. */
async function settled(page, isAll = true) {
  await page.waitForFunction((all) => {
    const isShown = (image) => image.checkVisibility() && (all || image.getBoundingClientRect().top < innerHeight);
    return document.readyState === 'complete' && [...document.images].filter(isShown).every((image) => image.complete && image.naturalWidth);
  }, isAll);
  await page.evaluate(async () => {
    for (let frame = 0; frame < 10; frame += 1) await new Promise((resolve) => { requestAnimationFrame(resolve); });
  });
}
/** Looks at all of the page, and at all photos of each print. */
async function lookAround(page) {
  await page.evaluate(async () => {
    const drawn = () => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
    for (let y = 0; y < document.body.scrollHeight; y += innerHeight / 2) {
      scrollTo(0, y);
      await drawn();
    }
    for (const strip of document.querySelectorAll('.strip')) {
      for (const photo of strip.children) {
        strip.scrollTo({ left: photo.offsetLeft - strip.offsetLeft, behavior: 'instant' });
        photo.scrollIntoView({ block: 'center', behavior: 'instant' });
        await drawn();
      }
      strip.scrollTo({ left: 0, behavior: 'instant' });
    }
    scrollTo(0, 0);
  });
  await settled(page);
}
const moved = (page) => page.evaluate(() => globalThis.moved);

/** The widest file fills the window, and then shows more than fits in. */
async function lookCloser(page, width, height) {
  await page.getByRole('button', { name: 'Look closer' }).click();
  await page.waitForFunction(() => document.querySelector('dialog img').complete && document.querySelector('dialog img').naturalWidth > 0);
  await settled(page, false);
  await keep(page, `closeup-${width}-all`);
  const wide = () => page.evaluate(() => document.querySelector('dialog .photo').getBoundingClientRect().width);
  const whole = await wide();
  await page.locator('dialog .lens').click({ position: { x: width / 2, y: height / 2 } });
  await keep(page, `closeup-${width}-near`);
  const near = await wide();
  // What was clicked on is where it was, whatever is left of the photo's sides.
  const middle = await page.evaluate(() => {
    const { left, width: wider } = document.querySelector('dialog .photo').getBoundingClientRect();
    return (innerWidth / 2 - left) / wider;
  });
  const shown = await page.evaluate(() => document.querySelector('dialog img').currentSrc);
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  return { shown, asked: await asked(), whole, near, middle, closed: await page.evaluate(() => !document.querySelector('dialog').open) };
}

for (const [width, height, deviceScaleFactor] of [[360, 740, 2], [800, 1000, 1], [1600, 1000, 1]]) {
  const screen = {};
  seen.screens[width] = screen;
  const view = { viewport: { width, height }, deviceScaleFactor };
  // The first three photos of the shelf come at once, the others and those of the detail wait.
  for (const [name, path, passing] of [['shelf', '/', 3], ['detail', '/prints/2', 0]]) {
    const { context, page } = await open(view);
    await asked();
    await gate(`hold?after=${passing}`);
    await visit(page, path, 'commit');
    while ((await gate('seen?keep')).waiting === 0) await pause();
    await page.waitForFunction(() => {
      const places = [...document.querySelectorAll('.photo')];
      return places.length > 0 && places.every(({ style }) => style.background === 'none' || style.background.includes('url('));
    });
    await page.waitForFunction((count) => [...document.images].filter((image) => image.complete && image.naturalWidth).length >= count, passing);
    await keep(page, `${name}-${width}-on-its-way`);
    await gate('release');
    await settled(page, false);
    await keep(page, `${name}-${width}-cold`);
    await lookAround(page);
    const shifts = await moved(page); // before a screenshot of the whole page, for which the window grows
    await keep(page, `${name}-${width}-whole`, true);
    const pictures = await page.evaluate(() => [...document.images].filter((image) => image.checkVisibility()).length);
    screen[name] = { pictures, cold: await asked(), moved: shifts };

    // Again, in another tab.
    const again = await context.newPage();
    await visit(again, path);
    await lookAround(again);
    await keep(again, `${name}-${width}-warm`);
    screen[name].warm = await asked();
    screen[name].moved_warm = await moved(again);
    screen[name].left_over = await again.evaluate(() => [...document.querySelectorAll('.photo')].filter((place) => place.checkVisibility() && place.style.background !== 'none').length);
    if (name === 'detail') screen.close_up = await lookCloser(again, width, height);
    await context.close();
  }

  const { context, page } = await open(view);
  await visit(page, '/orders/1042');
  await lookAround(page);
  await keep(page, `order-${width}-cold`);
  screen.order = { cold: await asked(), moved: await moved(page) };
  await visit(page, '/orders/1042');
  await lookAround(page);
  screen.order.warm = await asked();
  await context.close();
}

// A shelf that is far below what the window shows.
{
  const { context, page } = await open({ viewport: { width: 800, height: 1000 } });
  await page.route('**/page.css', async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: `${await answer.text()} h1 { margin-bottom: 9000px }` });
  });
  await asked();
  await visit(page, '/');
  await settled(page, false);
  seen.far = { before: (await asked()).length };
  await lookAround(page);
  seen.far.after = (await asked()).length;
  await context.close();
}

// Browsers that don't know every format.
for (const unknown of [[], ['avif'], ['avif', 'webp']]) {
  const { context, page } = await open({ viewport: { width: 800, height: 1000 } });
  const devtools = await context.newCDPSession(page);
  if (unknown.length > 0) await devtools.send('Emulation.setDisabledImageTypes', { imageTypes: unknown });
  const formats = { unknown };
  for (const [name, path] of [['shelf', '/'], ['detail', '/prints/3'], ['order', '/orders/1042']]) {
    await visit(page, path);
    await lookAround(page);
    formats[name] = await asked();
  }
  seen.formats.push(formats);
  await context.close();
}

// The receipt: sent, seen, and kept from everybody else.
const { context, page } = await open({ viewport: { width: 800, height: 1000 } });
await visit(page, '/orders/1042');
await lookAround(page);
await page.locator('[name=photo]').setInputFiles(order.receipt);
await page.getByRole('button', { name: 'Send' }).click();
await page.getByRole('status').filter({ hasText: 'We have your receipt.' }).waitFor();
await asked();
// The shop is told by a callback, a moment after the page.
do await visit(page, '/orders/1042'); while (await page.locator('#receipt img').count() === 0);
await lookAround(page);
const address = await page.locator('#receipt img').evaluate((image) => image.currentSrc);
const bare = address.split('?')[0];
seen.receipt = {
  address,
  natural: await page.locator('#receipt img').evaluate((image) => [image.naturalWidth, image.naturalHeight]),
  asked: await asked(),
  without: (await fetch(bare)).status,
  as_public: (await fetch(bare.replace('/private/', '/files/'))).status,
  cached: (await fetch(address)).headers.get('cache-control'),
};
await keep(page, 'order-800-receipt', true);
await context.close();
await browser.close();
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
