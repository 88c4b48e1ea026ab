// sharp's side of the benchmark: `node sharp.mjs JOB.json` does what the file says and prints one line of JSON.
// The job's fields are those of `Job` in job.rs; what is printed are those of `Outcome`.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const job = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const sharp = createRequire(join(job.modules, 'node_modules') + '/')('sharp');
sharp.cache(false);
if (job.concurrency) sharp.concurrency(job.concurrency);

function encode(image, { format, quality, effort, chroma }) {
  const settings = {};
  if (quality) settings.quality = quality;
  if (effort !== null && effort !== undefined) settings.effort = effort;
  if (chroma) settings.chromaSubsampling = chroma;
  switch (format) {
    case 'jpg': return image.jpeg(settings);
    case 'webp': return image.webp(settings);
    case 'avif': return image.avif(settings);
    case 'png': return image.png({ adaptiveFiltering: true });
    default: throw new Error(`no format ${format}`);
  }
}

const shrink = (image, size) => image.resize(size, size, { fit: 'inside', withoutEnlargement: true });
const fromRaw = ({ data, info }) =>
  sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });
const note = async (variant, image) => ({ variant, bytes: await image.toBuffer() });

// What sharp's manual shows first: one pipeline an output, all at once.
function natural(file, variants) {
  return Promise.all(variants.map((v) => note(v, encode(shrink(sharp(file).autoOrient(), v.size), v))));
}

// The fastest that was found: decode once, each size from the pixels of the next larger.
async function best(file, variants) {
  const outputs = [];
  let larger = null;
  for (const size of [...new Set(variants.map((v) => v.size))].sort((a, b) => b - a)) {
    const input = larger ? fromRaw(larger) : sharp(file).autoOrient();
    larger = await shrink(input, size).raw().toBuffer({ resolveWithObject: true });
    const pixels = larger;
    for (const v of variants.filter((v) => v.size === size)) outputs.push(note(v, encode(fromRaw(pixels), v)));
  }
  return Promise.all(outputs);
}

const bytes = {};
function count(photo, outputs) {
  for (const { variant, bytes: file } of outputs) {
    bytes[variant.format] = (bytes[variant.format] ?? 0) + file.length;
    if (job.out) writeFileSync(join(job.out, `${photo}-${variant.size}.${variant.format}`), file);
  }
}

// Measures `work(photo)` over all photos, so many at once.
async function measure(photos, work) {
  const all = Array.from({ length: job.repeats }, () => photos.keys().toArray?.() ?? [...photos.keys()]).flat();
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  let next = 0;
  await Promise.all(Array.from({ length: job.in_flight }, async () => {
    while (next < all.length) await work(all[next++]);
  }));
  const wall = Number(process.hrtime.bigint() - start) / 1e6;
  const used = process.cpuUsage(cpu);
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  console.log(JSON.stringify({ wall_ms: wall, cpu_ms: (used.user + used.system) / 1e3, peak_kib: peak, bytes }));
}

// Every file in a directory as raw RGB, with its dimensions in the name.
async function decodeAll(directory) {
  for (const name of readdirSync(directory).filter((name) => !name.endsWith('.rgb'))) {
    const pixels = sharp(join(directory, name)).removeAlpha().toColourspace('srgb').raw();
    const { data, info } = await pixels.toBuffer({ resolveWithObject: true });
    writeFileSync(join(directory, `${name}.${info.width}x${info.height}.rgb`), data);
  }
}

if (job.work === 'decode') {
  await decodeAll(job.out);
} else if (job.work === 'versions') {
  console.log(JSON.stringify({ sharp: sharp.versions.sharp, vips: sharp.versions.vips, webp: sharp.versions.webp }));
} else if (job.work === 'png') {
  const pictures = [];
  for (const path of job.photos) pictures.push(await sharp(path).raw().toBuffer({ resolveWithObject: true }));
  const variant = { format: 'png', size: 0 };
  await note(variant, encode(fromRaw(pictures[0]), variant));
  await measure(pictures, async (i) => count(i, [await note(variant, encode(fromRaw(pictures[i]), variant))]));
} else {
  const files = job.photos.map((path) => readFileSync(path));
  const make = job.work === 'natural' ? natural : best;
  if (job.warm) await make(files[0], job.variants);
  await measure(files, async (i) => count(i, await make(files[i], job.variants)));
}
