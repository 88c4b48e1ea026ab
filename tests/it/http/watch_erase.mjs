// Drives a browser for `watch_erase.rs`: an operator who erases. `visit.mjs` stands before it, for the browser.
//
// in:  { base, photo: a path, served: a token that uploads, admin: one that erases anybody's, sub: whose that is }
// out: what the operator saw, by what they did

const photo = readFileSync(order.photo);
let uploads = 0;
async function done(name) {
  uploads += 1;
  const form = new FormData();
  form.append('file', new Blob([photo, Buffer.alloc(uploads)]), name);
  const answer = await fetch(`${order.base}/upload`, { method: 'POST', headers: { authorization: `Bearer ${order.served}` }, body: form });
  const { job_id: id } = await answer.json();
  return (await fetch(`${order.base}/status?job_id=${id}&wait=60`)).json();
}

const question = (page) => page.locator('#question').evaluate((dialog) => ({ isOpen: dialog.open, title: dialog.querySelector('h2').textContent, text: dialog.querySelector('div').textContent, focused: document.activeElement.id }));
const found = async (job) => Promise.all(job.files.map(async ({ stored: [{ location }] }) => (await fetch(`${order.base}${location}`)).status));
const listed = (page, id) => page.locator(`.job-row a[href*="${id}"]`);

const scenes = {
  /** Erases one job, after thinking better of it once. */
  async one() {
    const job = await done('one.jpg');
    const page = await open(`#watch/${job.job_id}`, 'body.watch-ready');
    await page.locator('#story-state[data-state=completed]').waitFor();
    await page.click('#story-erase');
    await page.locator('#question').waitFor();
    const result = { id: job.job_id, asked: await question(page), before: await found(job) };
    await page.keyboard.press('Enter');
    await page.locator('#question').waitFor({ state: 'hidden' });
    result.kept = await found(job);
    result.returned = await focused(page);
    await page.click('#story-erase');
    await page.click('#question-yes');
    await page.locator('#story-title', { hasText: /^Erased$/ }).waitFor();
    Object.assign(result, { note: await text(page, '#story-note'), focused: await focused(page), after: await found(job), acts: await page.locator('.story-acts').isVisible() });
    await listed(page, job.job_id).waitFor({ state: 'detached' });
    await page.close();
    return result;
  },

  /** Erases all that somebody has. */
  async owner() {
    const jobs = [await done('two.jpg'), await done('three.jpg')];
    const page = await open('#watch', 'body.watch-ready');
    await page.click('#watch-token-other');
    await page.fill('#watch-token', order.admin);
    await page.click('#further summary');
    await page.fill('#filter-sub', order.sub);
    await page.keyboard.press('Enter');
    await listed(page, jobs[1].job_id).waitFor();
    await page.click('#erase-sub');
    await page.locator('#question').waitFor();
    const result = { asked: await question(page) };
    await page.click('#question-yes');
    await page.locator('#jobs-note', { hasText: 'erased' }).waitFor();
    result.note = await text(page, '#jobs-note');
    await page.locator('#no-jobs').waitFor();
    result.after = (await Promise.all(jobs.map(found))).flat();
    await page.close();
    return result;
  },
};

await play(scenes);
