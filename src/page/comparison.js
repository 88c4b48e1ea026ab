// The stage: the original and one of its variants, one over the other, with a divider between what is shown of each.

import { drawInto } from './thumbhash.js';

const NEAR_DIVIDER_PX = 28;
const PAN_STEP_PX = 48;

export class Comparison {
  constructor() {
    const of = (id) => document.getElementById(id);
    this.viewport = of('viewport');
    [this.before, this.after, this.awaited] = [of('before'), of('after'), of('awaited')];
    this.over = this.viewport.querySelector('.over');
    this.divider = this.viewport.querySelector('.divider');
    [this.beforeName, this.afterName] = [of('before-name'), of('after-name')];
    [this.split, this.zoomButtons] = [of('split'), [...of('zoom').children]];
    /** What is shown: pixels of the variant, or of the original while there is none. */
    this.size = null;
    this.zoom = 0;
    this.centre = { x: 0.5, y: 0.5 };
    this.isComparing = false;
    this.hasPlaceholder = false;

    this.split.addEventListener('input', () => this.place());
    for (const button of this.zoomButtons) button.addEventListener('click', () => this.setZoom(Number(button.dataset.zoom)));
    this.viewport.addEventListener('pointerdown', (event) => this.grab(event));
    this.viewport.addEventListener('keydown', (event) => this.key(event));
    this.viewport.addEventListener('dblclick', () => { if (this.isComparing) this.setZoom(this.zoom ? 0 : 1); });
    for (const name of ['load', 'error']) this.after.addEventListener(name, () => { this.awaited.hidden = true; });
    new ResizeObserver(() => this.place()).observe(this.viewport);
  }

  /** Shows one picture by itself. */
  show(url, name, width, height) {
    this.isComparing = false;
    this.load(this.before, url, name);
    this.after.removeAttribute('src');
    this.awaitWith(null);
    this.resize(width, height, 'fill', '');
    this.setZoom(0);
  }

  /** Nothing can be shown. */
  clear() {
    this.isComparing = false;
    this.size = null;
    for (const image of [this.before, this.after]) image.removeAttribute('src');
    this.awaitWith(null);
    this.place();
  }

  /** Has these pixels stand in the place of every variant that is not there yet; null for nothing. */
  awaitWith(pixels) {
    this.hasPlaceholder = pixels !== null;
    this.awaited.hidden = true;
    if (pixels) drawInto(this.awaited, pixels);
  }

  /**
   * Shows `after` over `before`, each `{url, name}`, in the shape of `after`. `fit` and `position` are how it was cut out.
   */
  compare(before, after, { width, height, fit, position }) {
    this.isComparing = true;
    this.load(this.before, before.url, before.name);
    if (this.load(this.after, after.url, after.name)) this.awaited.hidden = !this.hasPlaceholder;
    this.beforeName.textContent = before.name;
    this.afterName.textContent = after.name;
    this.resize(width, height, fit, position);
    this.place();
  }

  load(image, url, name) {
    image.alt = name;
    if (image.getAttribute('src') === url) return false;
    image.src = url;
    return true;
  }

  resize(width, height, fit, position) {
    this.size = { width, height };
    this.viewport.style.setProperty('--ratio', String(width / height));
    for (const image of this.images()) {
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
    }
    // Cut as the variant was, so that the same things lie over each other.
    for (const whole of [this.before, this.awaited]) {
      whole.style.objectFit = ['cover', 'contain'].includes(fit) ? fit : 'fill';
      whole.style.objectPosition = position || 'center';
    }
  }

  setZoom(zoom) {
    this.zoom = zoom;
    this.centre = { x: 0.5, y: 0.5 };
    for (const button of this.zoomButtons) button.setAttribute('aria-pressed', String(Number(button.dataset.zoom) === zoom));
    this.place();
  }

  /** Puts everything where it belongs. */
  place() {
    for (const part of [this.divider, this.beforeName, this.afterName]) part.hidden = !this.isComparing;
    this.over.hidden = !this.isComparing;
    if (!this.size) return;
    const { clientWidth: width, clientHeight: height } = this.viewport;
    const { scale, x, y } = this.transform(width, height);
    for (const image of this.images()) {
      image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      image.classList.toggle('pixels', this.zoom >= 2);
    }
    this.viewport.classList.toggle('zoomed', this.zoom > 0);
    const at = (width * this.split.value) / 100;
    this.over.style.clipPath = `inset(0 0 0 ${at}px)`;
    this.divider.style.transform = `translateX(${at}px)`;
    this.split.setAttribute('aria-valuetext', `${this.split.value} %`);
  }

  images() {
    return [this.before, this.awaited, this.after];
  }

  transform(width, height) {
    const fitted = Math.min(width / this.size.width, height / this.size.height);
    const scale = this.zoom || fitted;
    const along = (room, length, centre) => {
      if (length <= room) return [(room - length) / 2, 0.5];
      const start = Math.min(0, Math.max(room - length, room / 2 - centre * length));
      return [start, (room / 2 - start) / length];
    };
    const [x, centreX] = along(width, this.size.width * scale, this.centre.x);
    const [y, centreY] = along(height, this.size.height * scale, this.centre.y);
    this.centre = { x: centreX, y: centreY };
    return { scale, x, y };
  }

  pan(dx, dy) {
    const scale = this.zoom;
    if (!scale) return;
    this.centre.x -= dx / (this.size.width * scale);
    this.centre.y -= dy / (this.size.height * scale);
    this.place();
  }

  /** Drags the divider; zoomed in, the picture, unless the divider is near. */
  grab(event) {
    if (!this.isComparing || event.button !== 0) return;
    const box = this.viewport.getBoundingClientRect();
    const offset = event.clientX - box.left - (box.width * this.split.value) / 100;
    const isSplitting = !this.zoom || Math.abs(offset) < NEAR_DIVIDER_PX;
    let last = event;
    const splitAt = (clientX) => {
      this.split.value = String(Math.round((100 * (clientX - box.left)) / box.width));
      this.place();
    };
    const move = (moved) => {
      if (isSplitting) splitAt(moved.clientX);
      else this.pan(moved.clientX - last.clientX, moved.clientY - last.clientY);
      last = moved;
    };
    const release = () => {
      this.viewport.removeEventListener('pointermove', move);
      this.viewport.classList.remove('held');
    };
    this.viewport.classList.add('held');
    this.viewport.setPointerCapture(event.pointerId);
    this.viewport.addEventListener('pointermove', move);
    for (const end of ['pointerup', 'pointercancel']) this.viewport.addEventListener(end, release, { once: true });
    if (isSplitting) splitAt(event.clientX);
  }

  key(event) {
    const steps = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    if (!this.zoom || !step) return;
    event.preventDefault();
    this.pan(step[0] * PAN_STEP_PX, step[1] * PAN_STEP_PX);
  }
}
