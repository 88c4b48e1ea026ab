// How a page shows the picture of a job that has ended: one address for it, the markup, and what stands in its place until it is there.

import { copies, of, show, write } from './dom.js';
import { drawInto, drawn } from './thumbhash.js';
import { Lost, ask, problemOf } from './transfer.js';
import { addressOf } from './variants.js';

/** How wide the picture is shown is the page's to say: all of it, until somebody says so. */
const SIZES = '100vw';

export class Embed {
  constructor() {
    /** Of which job it tells. */
    this.jobId = null;
    copies(of('copy-address'), () => of('image-address').textContent);
    copies(of('copy-markup'), () => of('markup').textContent);
    copies(of('copy-thumbhash'), () => of('thumbhash').textContent);
    for (const name of ['load', 'error']) of('preview').addEventListener(name, () => { of('preview-placeholder').hidden = true; });
  }

  hide() {
    this.jobId = null;
    of('embed').hidden = true;
    of('preview').removeAttribute('src');
  }

  /** Tells of an ended job. */
  async show(status) {
    const variants = status.files.filter(({ kind }) => kind === 'variant');
    if (variants.length === 0) return this.hide();
    this.jobId = status.job_id;
    const pixels = status.placeholder ? drawn(status.placeholder.thumbhash) : null;
    this.showPlaceholder(status.placeholder, pixels);
    const isServed = variants.some((file) => addressOf(file) !== null);
    of('one-address').hidden = !isServed;
    if (isServed) this.showAddress(variants, pixels);
    write(of('markup'), '');
    this.showMarkup(null);
    of('embed').hidden = false;
    const [markup, instead] = await this.markup(variants);
    // Another job may have come meanwhile.
    if (this.jobId !== status.job_id) return undefined;
    if (markup !== null) write(of('markup'), markup);
    return this.showMarkup(instead);
  }

  showPlaceholder(placeholder, pixels) {
    of('placeholder').hidden = !placeholder;
    if (!placeholder) return;
    drawInto(of('thumbhash-drawn'), pixels);
    write(of('thumbhash'), placeholder.thumbhash);
    write(of('mean-color'), placeholder.color);
    of('mean-swatch').style.setProperty('--mean', placeholder.color);
  }

  showAddress(variants, pixels) {
    const address = new URL(`image/${this.jobId}`, document.baseURI).href;
    write(of('image-address'), address);
    const [preview, frame] = [of('preview'), of('preview-frame')];
    const widest = variants.reduce((one, other) => (other.width > one.width ? other : one));
    frame.style.setProperty('--ratio', String(widest.width / widest.height));
    of('preview-placeholder').hidden = pixels === null;
    if (pixels) drawInto(of('preview-placeholder'), pixels);
    of('embed').hidden = false;
    preview.src = `${address}?w=${Math.ceil(frame.clientWidth * window.devicePixelRatio)}`;
  }

  /** With words in the place of the markup, if there is none. */
  showMarkup(instead) {
    of('markup-code').hidden = of('markup').textContent === '';
    show('markup-none', instead);
  }

  /** The markup, or what is to be said in its place. */
  async markup(variants) {
    try {
      const answer = await ask(`manifest?${new URLSearchParams({ job_id: this.jobId, as: 'html', sizes: SIZES })}`, { cache: 'no-store' });
      if (answer.ok) return [await answer.text(), null];
      const problem = await problemOf(answer);
      return [null, problem.code === 'no_picture' ? whyNone(variants) : problem.detail];
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      return [null, 'The connection was lost, so the markup isn’t known.'];
    }
  }
}

/** Why a job's files have no markup. */
function whyNone(variants) {
  const locations = variants.flatMap(({ stored }) => stored.map(({ location }) => location));
  if (variants.some((file) => addressOf(file) !== null)) {
    return 'The server has not been told where it is reached. With PIXERVE_SERVER_PUBLIC_URL it knows, and the markup stands here.';
  }
  if (locations.some((location) => location.startsWith('/'))) return 'Private files have no markup: each page that shows them signs tokens with a read claim for them.';
  return 'The store has been registered without a public_url, so nobody knows where browsers get its files.';
}
