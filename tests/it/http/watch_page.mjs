// Drives a browser for `watch_page.rs`: an operator at the half of the page that watches. `visit.mjs` stands before it, for the browser.
//
// in:  { base, photo: a path, stored, called, served, lost: tokens that upload, named: more of them, admin, plain, expired: tokens that don't,
//        store, lostStore: access keys, picture: whether to show it for the README }
// out: what the operator saw, by what they did

/** What the test is to do from now on with the store, the server's connections or the callbacks. */
const tell = (what) => fetch(`${order.base}/test/tell/${what}`);

const photo = readFileSync(order.photo);
let uploads = 0;
/** Another picture each time: its job. */
async function upload(token, name = 'photo.jpg') {
  uploads += 1;
  const form = new FormData();
  form.append('file', new Blob([photo, Buffer.alloc(uploads)]), name);
  const answer = await fetch(`${order.base}/upload`, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: form });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()).job_id;
}

const ended = (id) => fetch(`${order.base}/status?job_id=${id}&wait=60`).then((answer) => answer.json());

const watch = async (address = '#watch', token = null) => {
  const page = await open(address, 'body.watch-ready');
  if (token) {
    await page.click('#watch-token-other');
    await page.fill('#watch-token', token);
  }
  return page;
};
const issue = (page, words) => page.locator('.issue', { has: page.locator('h3', { hasText: words }) });
const said = async (locator) => (await locator.innerText()).replace(/\s+/g, ' ').trim();
/** Waits until this issue says so; else tells what it says. */
async function says(locator, words) {
  try {
    await locator.locator('.issue-detail', { hasText: words }).waitFor();
  } catch (error) {
    throw new Error(`it says ${await locator.allInnerTexts()}; no “${words}”`, { cause: error });
  }
}
const rows = (page) => page.locator('.job-row').evaluateAll((all) => all.map((row) => row.innerText.replace(/\s+/g, ' ').trim()));
const listed = (page, count) => page.waitForFunction((wanted) => document.querySelectorAll('.job-row').length === wanted, count);
const row = (page, id) => page.locator(`.job-row a[href*="${id}"]`);
const inState = (page, state) => page.locator(`#story-state[data-state=${state}]`).waitFor();
const question = (page) => page.locator('#question').evaluate((dialog) => ({ isOpen: dialog.open, title: dialog.querySelector('h2').textContent, text: dialog.querySelector('div').textContent, focused: document.activeElement.id }));
/** By how much the page is wider than the window. */
const overflow = async (page, width) => {
  await page.setViewportSize({ width, height: 800 });
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
};
async function tabTo(page, isThere, key = 'Tab') {
  for (let i = 0; i < 120; i += 1) {
    if (await page.evaluate(isThere)) return;
    await page.keyboard.press(key);
  }
  throw new Error(`can't be reached: ${isThere}; the focus is at ${await focused(page)}`);
}

const scenes = {
  /** Comes to a server at which nothing has happened, as the demo lets anybody. */
  async empty() {
    const page = await watch();
    await page.locator('#no-issues').waitFor();
    await page.locator('#no-jobs').waitFor();
    const result = {
      token: await text(page, '#watch-token-state'), jobs: await text(page, '#no-jobs'), trouble: await text(page, '#no-issues'),
      lanes: await page.locator('#lanes').innerText(), title: await page.title(), owners: await page.locator('#filter-sub').isVisible(),
    };
    await page.click('#go-try');
    result.tried = await page.evaluate(() => [document.querySelector('#watch-view').hidden, document.querySelector('#try-view').hidden]);
    await page.goBack();
    result.watched = await page.evaluate(() => [document.querySelector('#watch-view').hidden, document.querySelector('#try-view').hidden]);
    result.overflow = await overflow(page, 360);
    await page.close();
    return result;
  },

  /** Sees a store go, jobs wait and fail for it, and runs them again once it is back, all on one page. */
  async outage() {
    const page = await watch();
    let loads = 0;
    page.on('load', () => { loads += 1; });
    await tell('store/away');
    const ids = [];
    for (let i = 1; i <= 3; i += 1) ids.push(await upload(order.stored));
    const waiting = issue(page, 'wait for the s3 store');
    await waiting.locator('h3', { hasText: '3 jobs' }).waitFor();
    const result = { waiting: await said(waiting), ids, announced: null };
    await page.locator('#announce', { hasText: '3 jobs wait' }).waitFor({ state: 'attached' });
    result.announced = await text(page, '#announce');
    result.lanes = await said(page.locator('#lane-realtime'));

    await tell('store/refusing');
    await issue(page, '3 jobs failed').waitFor();
    const failed = issue(page, '3 jobs failed: store_refused');
    result.failed = await said(failed);
    result.gone = await waiting.count();
    await failed.getByRole('button', { name: 'Show' }).click();
    await listed(page, 3);
    result.shown = { rows: await rows(page), state: await page.inputValue('#filter-state'), code: await page.inputValue('#filter-error_code'), focused: await focused(page) };

    await tell('store/there');
    // What the server says of its clock is as old as it took to come.
    await page.route('**/health', async (route) => {
      const response = await route.fetch();
      await new Promise((resolve) => { setTimeout(resolve, 5000); });
      await route.fulfill({ response });
    });
    await page.waitForResponse(/\/health/);
    await page.waitForResponse(/\/health/);
    await failed.getByRole('button', { name: 'Retry all 3' }).click();
    result.asked = await question(page);
    await page.keyboard.press('Enter');
    result.kept = { ...(await question(page)), open: await page.locator('#question').isVisible(), returned: await focused(page), jobs: (await rows(page)).length };
    await failed.getByRole('button', { name: 'Retry all 3' }).click();
    await page.click('#question-yes');
    const batch = issue(page, '3 jobs run again after store_refused');
    await says(batch, '3 completed');
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    result.batch = { said: await said(batch), isGood: await batch.evaluate((node) => node.classList.contains('is-good')) };
    result.failedLeft = await failed.count();
    await batch.getByRole('button', { name: 'Show' }).click();
    await page.locator('.job-row .state[data-state=completed]').nth(2).waitFor();
    result.again = await rows(page);
    await batch.getByRole('button', { name: 'Hide' }).click();
    await page.locator('#no-issues').waitFor();
    // The address of the page changes with what it lists, the page itself never.
    result.loads = loads;
    result.unlabelled = await unlabelled(page);
    await page.close();
    return result;
  },

  /** Reads what became of one job, whose callback nobody took, and has it called again. */
  async story() {
    await tell('callbacks/410');
    const id = await upload(order.called, 'beach at night.jpg');
    await ended(id);
    const page = await watch(`#watch/${id}`);
    await inState(page, 'completed');
    const deliveries = page.locator('#story-deliveries li');
    await deliveries.locator('.delivery-state', { hasText: 'given up' }).waitFor();
    const result = {
      id,
      title: await text(page, '#story-title'), events: await said(page.locator('#story-events')), files: await said(page.locator('#story-files')),
      delivery: await said(deliveries), links: await page.locator('#story-files a').evaluateAll((all) => all.map(({ href }) => href)),
      acts: await page.locator('.story-acts button:visible').allInnerTexts(),
    };
    await page.click('#story-job summary');
    result.job = JSON.parse(await page.locator('#story-json').textContent());
    result.trouble = await said(issue(page, 'callback given up'));
    await tell('callbacks/200');
    await deliveries.getByRole('button', { name: 'Send again' }).click();
    await deliveries.locator('.delivery-state', { hasText: 'delivered' }).waitFor();
    result.delivered = await said(deliveries);
    await issue(page, 'callback given up').waitFor({ state: 'detached' });
    result.overflow = [await overflow(page, 360), await overflow(page, 800), await overflow(page, 1600)];
    await page.click('#story-close');
    result.closed = await page.evaluate(() => [document.querySelector('#story').hidden, document.activeElement.getAttribute('href')]);
    await page.close();
    return result;
  },

  /** Follows one that failed to the job that ran it again. */
  async retried() {
    await tell('store/refusing');
    const id = await upload(order.stored, 'one.jpg');
    const page = await watch(`#watch/${id}`);
    await inState(page, 'failed');
    const result = { id, before: await said(page.locator('#story-events')) };
    await tell('store/there');
    await page.click('#story-retry');
    await page.waitForFunction((old) => document.querySelector('#story-id').textContent !== old, id);
    result.again = await page.textContent('#story-id');
    await inState(page, 'completed');
    result.events = await said(page.locator('#story-events'));
    result.files = await said(page.locator('#story-files'));
    await page.locator('#story-events a:visible').click();
    await inState(page, 'failed');
    await page.locator('#story-events a:visible').waitFor();
    result.old = { id: await page.textContent('#story-id'), events: await said(page.locator('#story-events')), retry: await page.locator('#story-retry').isVisible() };
    await page.close();
    return result;
  },

  /** Stops a job, after thinking better of it once. */
  async cancelled() {
    await tell('store/away');
    const id = await upload(order.stored, 'stop.jpg');
    const page = await watch();
    await row(page, id).click();
    await page.locator('#story-cancel').click();
    const result = { id, asked: await question(page) };
    await page.keyboard.press('Escape');
    result.state = await page.locator('#story-state').getAttribute('data-state');
    result.returned = await focused(page);
    await page.locator('#story-cancel').click();
    await page.click('#question-yes');
    await inState(page, 'cancelled');
    result.note = await text(page, '#story-note');
    await page.locator('#story-retry').waitFor();
    result.acts = await page.locator('.story-acts button:visible').allInnerTexts();
    result.row = await said(page.locator('.job-row', { has: page.locator(`a[href*="${id}"]`) }));
    await tell('store/there');
    await page.close();
    return result;
  },

  /** Narrows the list, and sends somebody the address of what is shown. */
  async filtered() {
    const page = await watch();
    await page.selectOption('#filter-state', 'cancelled');
    await listed(page, 1);
    const result = { rows: await rows(page), address: new URL(page.url()).hash };
    const other = await watch(result.address);
    await listed(other, 1);
    result.linked = { rows: await rows(other), state: await other.inputValue('#filter-state') };
    await other.close();
    await page.click('#further summary');
    await page.fill('#filter-store', order.store);
    await page.keyboard.press('Enter');
    await page.selectOption('#filter-state', 'completed');
    await page.waitForFunction(() => document.querySelectorAll('.job-row .state[data-state=completed]').length === document.querySelectorAll('.job-row').length && document.querySelectorAll('.job-row').length > 1);
    result.ofStore = (await rows(page)).length;
    await page.fill('#filter-until', '2001-01-01T00:00');
    await page.keyboard.press('Enter');
    await page.locator('#no-jobs').waitFor();
    result.none = { said: await text(page, '#no-jobs'), address: new URL(page.url()).hash };
    await page.click('#all-jobs-too');
    await page.waitForFunction(() => document.querySelectorAll('.job-row').length > 3);
    result.all = new URL(page.url()).hash;
    await page.close();
    return result;
  },

  /** Brings tokens that don't do, and asks for what can't be. */
  async refused() {
    const page = await watch();
    await page.click('#watch-token-other');
    await page.fill('#watch-token', 'no token');
    const result = { noToken: await text(page, '#watch-token-error') };
    await page.fill('#watch-token', order.plain);
    await page.locator('#watch-refusal', { hasText: 'manage' }).waitFor();
    result.plain = { said: await text(page, '#watch-refusal'), isShown: await page.locator('#watch').isVisible() };
    await page.fill('#watch-token', order.expired);
    await page.locator('#watch-refusal', { hasText: 'expired' }).waitFor();
    result.expired = await text(page, '#watch-refusal');
    await page.fill('#watch-token', order.admin);
    await page.locator('#watch-refusal').waitFor({ state: 'hidden' });
    result.admin = await text(page, '#watch-token-state');
    await page.click('#further summary');
    await page.fill('#filter-user', 'nobody');
    await page.keyboard.press('Enter');
    await page.locator('#jobs-refusal').waitFor();
    result.user = await text(page, '#jobs-refusal');
    await page.fill('#filter-user', '');
    await page.keyboard.press('Enter');
    await page.locator('#jobs-refusal').waitFor({ state: 'hidden' });

    await tell('store/refusing');
    const id = await upload(order.lost, 'lost.jpg');
    await ended(id);
    await fetch(`${order.base}/register?access_key=${order.lostStore}&force=true`, { method: 'DELETE', headers: { authorization: `Bearer ${order.admin}` } });
    await page.waitForFunction((wanted) => document.querySelector(`.job-row a[href*="${wanted}"]`), id);
    await row(page, id).click();
    await page.click('#story-retry');
    await page.locator('#story-refusal').waitFor();
    result.fields = await text(page, '#story-refusal');
    await page.evaluate(() => { location.hash = '#watch/01890a5d-ac96-774b-bcce-b302099a8057'; });
    await page.locator('#story-refusal', { hasText: 'no job' }).waitFor();
    result.unknown = { said: await text(page, '#story-refusal'), acts: await page.locator('.story-acts').isVisible() };
    await tell('store/there');
    await page.close();
    return result;
  },

  /** Touches no mouse. */
  async keyboard() {
    const page = await open();
    await tabTo(page, () => document.activeElement.id === 'go-watch');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('.job-row').length > 3);
    await page.evaluate(() => document.querySelector('#skip').focus());
    await page.keyboard.press('Enter');
    const result = { skipped: await focused(page), address: new URL(page.url()).hash };
    await tabTo(page, () => document.activeElement.closest('.job-row:nth-child(2)') !== null);
    const href = await page.evaluate(() => document.activeElement.getAttribute('href'));
    await page.keyboard.press('Enter');
    result.opened = await focused(page);
    result.title = await page.locator('#story-title').isVisible();
    await tabTo(page, () => document.activeElement.id === 'story-close', 'Shift+Tab');
    await page.keyboard.press('Enter');
    result.closed = (await page.evaluate(() => document.activeElement.getAttribute('href'))) === href;
    await tabTo(page, () => document.activeElement.id === 'filter-state', 'Shift+Tab');
    await page.keyboard.type('cancelled');
    await listed(page, 1);
    result.rows = await rows(page);
    await page.close();
    return result;
  },

  /** Reads on while jobs come in, and turns the pages of many. */
  async calm() {
    for (let i = 0; i < 52; i += 1) await upload(order.served, `many-${i}.jpg`);
    const page = await watch();
    await listed(page, 50);
    const reading = page.locator('.job-row').nth(20).locator('a');
    await reading.focus();
    await page.evaluate(() => {
      const link = document.activeElement;
      link.scrollIntoView({ block: 'center' });
      window.reading = { link, top: link.getBoundingClientRect().top, removed: 0 };
      new MutationObserver((changes) => { window.reading.removed += changes.filter(({ removedNodes }) => [...removedNodes].some((node) => node.contains?.(link))).length; })
        .observe(document.querySelector('#job-rows'), { childList: true });
    });
    const newest = await upload(order.served, 'newest.jpg');
    await page.waitForFunction((id) => document.querySelector('.job-row a').href.includes(id), newest);
    await page.locator('.job-row').first().locator('.state[data-state=completed]').waitFor();
    const result = await page.evaluate(() => ({
      isFocused: document.activeElement === window.reading.link, moved: Math.abs(window.reading.link.getBoundingClientRect().top - window.reading.top), removed: window.reading.removed,
    }));
    const first = await rows(page);
    await page.click('#older');
    await page.waitForFunction(() => document.querySelector('#page-number').textContent === 'Page 2' && document.querySelectorAll('.job-row').length < 50);
    result.second = { number: await text(page, '#page-number'), isOther: !(await rows(page)).some((one) => first.includes(one)), newer: await page.locator('#newer').isVisible() };
    await page.click('#newer');
    await listed(page, 50);
    result.overflow = [await overflow(page, 360), await overflow(page, 800), await overflow(page, 1600)];
    await page.close();
    return result;
  },

  /** Loses the server, and looks away for a while. */
  async lost() {
    const page = await watch();
    await page.locator('.job-row').first().waitFor();
    await tell('server/lost');
    await page.locator('#watch-lost').waitFor();
    const result = { said: await text(page, '#watch-lost'), rows: (await rows(page)).length };
    await tell('server/there');
    await page.locator('#watch-lost').waitFor({ state: 'hidden' });

    let asked = 0;
    page.on('request', () => { asked += 1; });
    const hide = (isHidden) => page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event('visibilitychange'));
    }, isHidden);
    await hide(true);
    await page.waitForLoadState('networkidle');
    asked = 0;
    // Longer than between two looks: what is not asked in that time is asked no more.
    await page.waitForTimeout(5000);
    result.asked = asked;
    const again = page.waitForRequest(/\/jobs\?/);
    await hide(false);
    await again;
    await page.close();
    return result;
  },
};

/** A picture of the page at work: some are stored, some have failed, and then the store is gone. */
async function picture() {
  await tell('store/there');
  const [first, second, third] = [order.named.slice(0, 4), order.named.slice(4, 8), order.named.slice(8)];
  for (const token of first) await ended(await upload(token));
  await tell('store/refusing');
  for (const token of second) await ended(await upload(token));
  await tell('store/away');
  for (const token of third) await upload(token);
  const page = await watch();
  await issue(page, 'wait for the s3 store').locator('h3', { hasText: `${third.length} jobs` }).waitFor();
  await page.locator('.job-row', { hasText: 'store_refused' }).first().locator('a').click();
  await inState(page, 'failed');
  await page.mouse.move(1, 1);
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  const taken = await page.screenshot();
  await page.close();
  await tell('store/there');
  return taken.toString('base64');
}

await play({ ...scenes, ...(order.picture ? { picture } : {}) });
