// Drives a browser for `try_page.rs`: a person at the page of `GET /`. `scene.mjs` stands before it, for its `paint`, and `visit.mjs`, for the browser.
//
// in:  { base, photo, large, tiff, text, hostile: paths, token, expired, picture: whether to show it for the README }
// out: what the person saw, by what they did
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';

/** What the proxy before the server is to lose from now on. */
const lose = (what) => fetch(`${order.base}/test/lose/${what}`);

const title = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector('#course-title').textContent), pattern.source);
const finished = (page) => title(page, / in [\d.]+\s*s$/);
const rows = (page) => page.locator('.variant').evaluateAll((all) => all.map((row) => row.innerText.replace(/\s+/g, ' ').trim()));

/** Shows every variant, one after the other: what is seen of each. */
async function shownVariants(page) {
  const shown = [];
  for (const pick of await page.locator('.variant button.what').all()) {
    await pick.click();
    await page.waitForFunction(() => { const after = document.querySelector('#after'); return after.complete && after.naturalWidth > 0; });
    shown.push(await page.evaluate(() => {
      const [before, after] = ['before', 'after'].map((id) => document.getElementById(id));
      return { name: after.alt, width: after.naturalWidth, height: after.naturalHeight, beside: before.alt, besideIsShown: before.naturalWidth > 0 };
    }));
  }
  return shown;
}

/** Holds back what the page asks for at addresses like this, until the function that it hands over is called. */
async function hold(page, pattern) {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await page.route(pattern, async (route) => {
    await held;
    await route.continue();
  });
  return release;
}

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
/** Presses a button that copies, and waits until it says so: what is in the clipboard then. */
async function copied(page, button) {
  // The button itself: by its text it isn't found any more once it says so.
  const node = await button.elementHandle();
  await node.click();
  await page.waitForFunction((pressed) => pressed.textContent === 'Copied', node);
  return clipboard(page);
}
/** What a canvas shows. */
const pixels = (page, selector) => page.locator(selector).evaluate((canvas) => {
  const { width, height } = canvas;
  return { width, height, isShown: canvas.checkVisibility(), rgba: [...canvas.getContext('2d').getImageData(0, 0, width, height).data] };
});
const isLoaded = (page, selector) => page.waitForFunction((found) => { const image = document.querySelector(found); return image.complete && image.naturalWidth > 0; }, selector);

const scenes = {
  /** Drags a file from a file manager onto the page. */
  async drop() {
    const page = await open();
    const devtools = await context.newCDPSession(page);
    const data = { items: [], files: [order.photo], dragOperationsMask: 1 };
    for (const type of ['dragEnter', 'dragOver', 'drop']) await devtools.send('Input.dispatchDragEvent', { type, x: 400, y: 400, data });
    await page.waitForFunction((name) => document.querySelector('#facts').textContent.includes(name), basename(order.photo));
    const chosen = await text(page, '#facts');
    await page.click('#make');
    await finished(page);
    const result = { chosen, rows: await rows(page), shown: await shownVariants(page) };

    const at = () => page.locator('.divider').evaluate((divider) => new DOMMatrix(getComputedStyle(divider).transform).e / divider.parentElement.clientWidth);
    await page.locator('#viewport').scrollIntoViewIfNeeded();
    const box = await page.locator('#viewport').boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2, { steps: 4 });
    await page.mouse.up();
    result.dragged = await at();
    await page.click('[data-zoom="4"]');
    const scale = () => page.locator('#after').evaluate((image) => new DOMMatrix(getComputedStyle(image).transform));
    const placed = await scale();
    await page.locator('#viewport').focus();
    await page.keyboard.press('ArrowRight');
    const moved = await scale();
    result.zoomed = { scale: placed.a, movedBy: moved.e - placed.e };

    await page.locator('.variant >> text=Copy URL').first().click();
    const url = await clipboard(page);
    const stored = Buffer.from(await (await fetch(url)).arrayBuffer());
    result.copied = { url, sha256: createHash('sha256').update(stored).digest('hex') };
    await page.click('#curl summary');
    const line = await copied(page, page.locator('#copy-curl'));
    result.curl = JSON.parse(execFileSync('sh', ['-c', `${line} -sS`], { cwd: dirname(order.photo), encoding: 'utf8' }));
    // Until it has ended, the next upload of this picture would be its duplicate.
    await fetch(`${order.base}${result.curl.status_url}&wait=60`);
    if (order.picture) result.picture = await picture();
    await page.close();
    return result;
  },

  /** Pastes a picture from the clipboard. */
  async paste() {
    const page = await open();
    await page.evaluate(async () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 60, height: 40 });
      canvas.getContext('2d').fillRect(10, 10, 20, 20);
      const blob = await new Promise((resolve) => { canvas.toBlob(resolve); });
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
    });
    await page.keyboard.press('Control+V');
    await page.waitForFunction(() => document.querySelector('#facts').textContent.includes('60'));
    const chosen = await text(page, '#facts');
    await page.fill('#sizes', '20');
    await page.click('#make');
    await finished(page);
    const result = { chosen, shown: await shownVariants(page) };
    await page.close();
    return result;
  },

  /** Puts the picture on a page of their own, by its address and by its markup. Its name would be more than a name, wherever it could. */
  async embedded() {
    const page = await open();
    let dialogs = 0;
    page.on('dialog', (dialog) => {
      dialogs += 1;
      dialog.dismiss();
    });
    await page.setInputFiles('#file', order.hostile);
    await page.fill('#sizes', '300, 100');
    await page.check('#keep');
    await page.check('#manifest');
    const showImage = await hold(page, /\/image\//);
    await page.click('#make');
    await finished(page);
    await page.locator('#markup-code').waitFor();
    const result = { job: JSON.parse(await page.inputValue('#json')), rows: await rows(page), awaited: await pixels(page, '#preview-placeholder') };
    result.drawn = await pixels(page, '#thumbhash-drawn');
    result.color = await text(page, '#mean-color');
    showImage();
    await isLoaded(page, '#preview');
    result.placeholderIsLeft = (await pixels(page, '#preview-placeholder')).isShown;

    // A variant that is on its way: what stands in its place is where it will be.
    const showFile = await hold(page, /\/files\/.*_100_100_/);
    await page.locator('.variant button.what', { hasText: '100' }).last().click();
    result.awaitedVariant = (await pixels(page, '#awaited')).isShown;
    showFile();
    await isLoaded(page, '#after');
    await page.locator('#awaited').waitFor({ state: 'hidden' });

    result.address = await copied(page, page.locator('#copy-address'));
    result.types = {};
    for (const accept of ['image/avif,image/webp,*/*', '*/*']) {
      const answer = await fetch(`${result.address}?w=90`, { headers: { accept } });
      result.types[accept] = answer.headers.get('content-type');
    }
    result.thumbhash = await copied(page, page.locator('#copy-thumbhash'));
    result.markup = await copied(page, page.locator('#copy-markup'));
    const own = await context.newPage();
    await own.setContent(`<!doctype html><title>A page of their own</title>${result.markup}`);
    await isLoaded(own, 'img');
    result.shown = await own.evaluate(() => document.querySelector('img').currentSrc);
    await own.close();
    const manifest = await copied(page, page.locator('.variant', { hasText: 'Manifest' }).getByText('Copy URL'));
    result.manifest = await (await fetch(manifest)).json();

    await page.click('#curl summary');
    const line = await copied(page, page.locator('#copy-curl'));
    result.curl = JSON.parse(execFileSync('sh', ['-c', `${line} -sS`], { cwd: dirname(order.hostile), encoding: 'utf8' }));
    await fetch(`${order.base}${result.curl.status_url}&wait=60`);
    result.hasRun = existsSync(`${dirname(order.hostile)}/pwned`);
    Object.assign(result, { dialogs, injected: await page.locator('img[src=x]').count(), unlabelled: await unlabelled(page) });
    await page.close();
    return result;
  },

  /** Has files that are private, under names of their own. */
  async hidden() {
    const page = await open();
    await page.setInputFiles('#file', order.photo);
    await page.fill('#sizes', '70');
    await page.uncheck('#format-avif');
    await page.uncheck('#format-jpg');
    await page.check('#unique');
    await page.check('#private');
    await page.click('#make');
    await finished(page);
    await page.locator('#markup-none').waitFor();
    const result = { job: JSON.parse(await page.inputValue('#json')), rows: await rows(page), none: await text(page, '#markup-none') };
    result.hasAddress = await page.locator('#one-address').isVisible();
    result.thumbhash = await text(page, '#thumbhash');
    // Of the next one nothing is hidden.
    await page.uncheck('#private');
    await page.fill('#sizes', '71');
    await page.click('#make');
    await finished(page);
    await page.locator('#markup-code').waitFor();
    result.next = { none: await text(page, '#markup-none'), markup: await text(page, '#markup') };
    await page.close();
    return result;
  },

  /** Uploads to a server that may not know where it is reached. */
  async unaddressed() {
    const page = await open();
    await page.setInputFiles('#file', order.photo);
    await page.fill('#sizes', '33');
    await page.click('#make');
    await finished(page);
    await page.locator('#markup-none, #markup-code').filter({ visible: true }).waitFor();
    const result = { none: await text(page, '#markup-none'), address: await text(page, '#image-address') };
    await page.close();
    return result;
  },

  /** Touches no mouse. */
  async keyboard() {
    const page = await open();
    // Before the first key: the browser has to be told that nobody sits there to answer.
    const chooser = page.waitForEvent('filechooser');
    const visited = [];
    const tabTo = async (id, key = 'Tab') => {
      for (let i = 0; i < 60; i += 1) {
        if ((await focused(page)) === id) return;
        await page.keyboard.press(key);
        visited.push(await focused(page));
      }
      throw new Error(`#${id} can't be reached: ${visited}`);
    };
    await tabTo('file');
    await page.keyboard.press('Enter');
    await (await chooser).setFiles(order.photo);
    await page.waitForFunction(() => document.querySelector('#facts').textContent.includes('×'));
    await tabTo('format-avif');
    await page.keyboard.press('Space');
    await tabTo('quality-webp');
    await page.keyboard.type('70');
    await tabTo('sizes');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('48, 24 x 24');
    await tabTo('make');
    await page.keyboard.press('Enter');
    const afterStart = await focused(page);
    await finished(page);
    const announced = await text(page, '#announce');
    const job = JSON.parse(await page.inputValue('#json'));
    await tabTo('split', 'Shift+Tab');
    for (let i = 0; i < 5; i += 1) await page.keyboard.press('ArrowRight');
    const split = await page.locator('#split').getAttribute('aria-valuetext');
    const result = { visited, afterStart, announced, job, split, unlabelled: await unlabelled(page), rows: await rows(page) };
    await page.close();
    return result;
  },

  /** Asks for what can't be, and mends it. */
  async refused() {
    const page = await open();
    let uploads = 0;
    page.on('request', (request) => { if (request.method() === 'POST') uploads += 1; });
    await page.setInputFiles('#file', order.photo);
    await page.fill('#json', JSON.stringify({ directHost: true, colour: 'red', sizes: [[70000]], formats: { webp: { settings: { quality: 101 } } } }, null, 2));
    await page.click('#make');
    await page.locator('#refusal').waitFor();
    const result = {
      title: await text(page, '#refusal-title'),
      said: await text(page, '#refusal-said'),
      quality: await text(page, '#error-webp'),
      sizes: await text(page, '#sizes-error'),
      json: await text(page, '#json-error'),
      focused: await focused(page),
      invalid: await page.locator('[aria-invalid=true]').evaluateAll((all) => all.map(({ id }) => id)),
      uploads,
    };
    await page.locator('#json-error button').click();
    result.selected = await page.locator('#json').evaluate((json) => json.value.slice(json.selectionStart, json.selectionEnd));
    await page.fill('#json', JSON.stringify({ directHost: true, formats: { webp: {} }, sizes: [[32]] }));
    result.marksLeft = await page.locator('[aria-invalid=true]').count();
    await page.click('#make');
    await finished(page);
    result.mended = await rows(page);

    await page.setInputFiles('#file', order.text);
    await page.click('#make');
    await page.locator('#refusal').waitFor();
    result.noPicture = { title: await text(page, '#refusal-title'), detail: await text(page, '#refusal-detail') };
    await page.close();
    return result;
  },

  /** Loses the connection: in the middle of the upload, then while the job is made. */
  async lost() {
    const page = await open();
    let choices = 0;
    page.on('filechooser', () => { choices += 1; });
    await page.setInputFiles('#file', order.large);
    await page.fill('#sizes', '64');
    await lose('uploads');
    await page.click('#make');
    await page.locator('#again').waitFor();
    const result = { upload: { title: await text(page, '#course-title'), note: await text(page, '#course-note'), focused: await focused(page) } };
    await lose('jobs');
    await page.click('#again');
    await title(page, /lost/);
    await page.locator('#again', { hasText: 'Try now' }).waitFor();
    result.job = { title: await text(page, '#course-title'), note: await text(page, '#course-note') };
    await lose('nothing');
    await page.click('#again');
    await finished(page);
    Object.assign(result, { choices, shown: await shownVariants(page) });
    await page.close();
    return result;
  },

  /** Is refused the stream of events. */
  async polled() {
    const page = await open();
    await page.setInputFiles('#file', order.photo);
    await page.fill('#sizes', '56');
    await lose('streams');
    await page.click('#make');
    await finished(page);
    await lose('nothing');
    const result = { rows: await rows(page) };
    await page.close();
    return result;
  },

  /** Edits the form and the JSON by turns. */
  async followed() {
    const page = await open();
    const json = async () => JSON.parse(await page.inputValue('#json'));
    const form = () => page.evaluate(() => Object.fromEntries(['format-avif', 'format-webp', 'format-jpg', 'format-png', 'quality-avif', 'quality-webp', 'quality-jpg', 'sizes', 'fit', 'keep']
      .map((id) => [id, document.getElementById(id)]).map(([id, field]) => [id, field.type === 'checkbox' ? field.checked : field.value.replace(/\s/g, '')])));
    const result = { begin: await json() };
    await page.uncheck('#format-avif');
    await page.check('#format-png');
    await page.fill('#quality-jpg', '55');
    await page.fill('#sizes', '300 x 200, 100');
    await page.selectOption('#fit', 'cover');
    await page.check('#keep');
    result.fromForm = await json();
    const written = { directHost: true, subDir: 'kept/as-it-is', formats: { jpeg: { settings: { quality: 61, speed: 3 }, sizes: [[10]] }, avif: {} }, sizes: [[640, 0]], fit: 'contain', background: 'black' };
    await page.fill('#json', JSON.stringify(written));
    result.fromJson = await form();
    await page.fill('#quality-jpg', '62');
    result.both = await json();
    await page.fill('#json', '{"formats": ');
    result.broken = { error: await text(page, '#json-error'), form: await form() };
    await page.setInputFiles('#file', order.photo);
    await page.click('#make');
    result.refused = await text(page, '#refusal-title');
    await page.fill('#sizes', 'wide');
    result.badSizes = await text(page, '#sizes-error');
    await page.close();
    return result;
  },

  /** Brings a token of their own. */
  async token() {
    const page = await open();
    await page.setInputFiles('#file', order.photo);
    await page.click('#token-own');
    await page.fill('#token', order.expired);
    const result = { expired: await text(page, '#token-error') };
    await page.fill('#token', 'no token');
    result.noToken = await text(page, '#token-error');
    await page.click('#make');
    result.notSent = await text(page, '#refusal-title');
    await page.fill('#token', order.token);
    result.state = await text(page, '#token-state');
    result.job = JSON.parse(await page.inputValue('#json'));
    result.isFixed = await page.evaluate(() => document.querySelector('#json').readOnly && document.querySelector('#form').disabled);
    await page.click('#make');
    await finished(page);
    result.shown = await shownVariants(page);
    await page.close();
    return result;
  },

  /** Chooses what no browser shows. */
  async unseen() {
    const page = await open();
    await page.setInputFiles('#file', order.tiff);
    await page.locator('#unseen').waitFor();
    const result = { before: await text(page, '#unseen') };
    await page.fill('#sizes', '60, 30');
    await page.click('#make');
    await finished(page);
    Object.assign(result, { shown: await shownVariants(page), note: await text(page, '#compared-note') });
    await page.close();
    return result;
  },

  /** Stops an upload, and a job that a second window shows too. */
  async cancelled() {
    const page = await open();
    await page.setInputFiles('#file', order.photo);
    await lose('pace');
    await page.click('#make');
    await page.locator('#cancel').click();
    await title(page, /cancelled/);
    const result = { upload: await text(page, '#course-title') };
    await lose('nothing');
    await page.fill('#json', JSON.stringify({ directHost: true, formats: { avif: { settings: { speed: 1 }, sizes: [[1500], [1490], [1480], [1470]], enlarge: true } } }));
    await page.click('#again');
    await title(page, /Waiting|files/);
    // The same picture from a second window meanwhile.
    const other = await open();
    await other.setInputFiles('#file', order.photo);
    await other.click('#make');
    await other.locator('#course-note', { hasText: 'this very picture' }).waitFor();
    await page.locator('#cancel').click();
    await title(page, /Cancelled/);
    result.job = await text(page, '#course-title');
    await title(other, /Cancelled/);
    await other.close();
    await page.close();
    return result;
  },
};

/** A picture of the page at its best. */
async function picture() {
  const page = await open();
  const data = await page.evaluate(paint, { width: 2400, height: 1600 });
  const scene = `${dirname(order.photo)}/lake.jpg`;
  writeFileSync(scene, Buffer.from(data, 'base64'));
  await page.setInputFiles('#file', scene);
  await page.click('#make');
  await finished(page);
  await page.locator('#markup-code').waitFor();
  for (const image of ['#after', '#preview']) await isLoaded(page, image);
  // Away from every control, so that none looks touched.
  await page.mouse.move(1, 1);
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  const taken = await page.screenshot({ fullPage: true });
  await page.close();
  return taken.toString('base64');
}

await play(scenes);
