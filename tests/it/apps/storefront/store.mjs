// A shop for prints, beside the `shop.json` of its registration: `PIXERVE=... PORT=... node store.mjs`. Photos of each print are
// in `photos/<print>/`. Its database is in memory. Lines between `Pixerve` and `the shop` are glue, which the test counts.
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";

const PRINTS = new Map([
  ["1", { title: "Early hours", paper: "Cotton rag, 310 g", price: 48 }],
  ["2", { title: "Market day", paper: "Baryta, 325 g", price: 62 }],
  ["3", { title: "Upstream", paper: "Cotton rag, 310 g", price: 48 }],
  ["4", { title: "The long wall", paper: "Washi, 110 g", price: 55 }],
  ["5", { title: "Half past nine", paper: "Baryta, 325 g", price: 62 }],
  ["6", { title: "Low tide", paper: "Cotton rag, 310 g", price: 48 }],
]);
const ORDER = { number: "1042", customer: "customer-7", prints: ["2", "5"] };
const text = (given) => String(given).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// Pixerve
import { openAsBlob } from "node:fs";
import { buffer } from "node:stream/consumers";
import { SignJWT } from "jose";
import { Webhook } from "standardwebhooks";

const pixerve = process.env.PIXERVE;
const keys = JSON.parse(await readFile("shop.json", "utf8"));
const webhook = new Webhook(keys.webhook_secret);
const known = new Set();
const photos = new Map(); // by `ref`, what is told of the newest upload that is done

const sign = (customer, claims, begun = Math.floor(Date.now() / 1000)) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256", kid: keys.access_key })
    .setSubject(customer)
    .setIssuedAt(begun)
    .setExpirationTime(begun + 900)
    .sign(new TextEncoder().encode(keys.secret));

const completionCallback = `http://127.0.0.1:${process.env.PORT}/pixerve`;
const jobOf = {
  print: (ref) => ({ preset: "product", ref, subDir: "prints", completionCallback }),
  receipt: (ref) => ({
    ref,
    formats: { webp: { sizes: [[800, 0]] } },
    directHost: true,
    private: true,
    unique: true,
    subDir: "receipts",
    maxBytes: 20_000_000,
    onDuplicate: "queue",
    completionCallback,
  }),
};

async function upload(path, customer, job) {
  const form = new FormData();
  form.append("file", await openAsBlob(path), path);
  const headers = { Authorization: `Bearer ${await sign(customer, { job })}` };
  const answer = await fetch(`${pixerve}/upload`, { method: "POST", headers, body: form });
  if (!answer.ok) throw new Error((await answer.json()).detail);
}

async function receive(request, response) {
  let event;
  try {
    event = webhook.verify(await buffer(request), request.headers);
  } catch {
    return response.writeHead(401).end();
  }
  const id = request.headers["webhook-id"];
  const isNews = !known.has(id) && !(photos.get(event.ref)?.job_id > event.job_id);
  if (isNews && event.status === "completed") photos.set(event.ref, { ...event, ...(await elements(event)) });
  else if (isNews) console.error(`${event.ref}: ${event.error}`);
  known.add(id);
  return response.writeHead(204).end();
}

// Of a print the manifest's `<picture>`, as it stands on its page and in the close-up. There is none of what is private.
async function elements({ job_id, ref }) {
  if (!ref.startsWith("print/")) return {};
  const element = async (sizes) => {
    const query = new URLSearchParams({ job_id, as: "html", sizes, alt: titleOf(ref) });
    return (await fetch(`${pixerve}/manifest?${query}`)).text();
  };
  return { element: await element("(min-width: 64rem) min(60vw, 50rem), 100vw"), closeUp: await element("200vw") };
}

function square({ files, ref }, sizes) {
  const squares = files.filter(({ width, height }) => width === height); // none of a picture that is smaller than the smallest
  const of = (format) => (squares.length > 0 ? squares : files).filter((file) => file.format === format);
  const srcset = (format) => of(format).map(({ stored, width }) => `${stored[0].url} ${width}w`).join(", ");
  const source = (format) => `<source type="image/${format}" srcset="${srcset(format)}" sizes="${sizes}">`;
  const [{ stored: [{ url }], width, height }] = of("jpg");
  return `<picture>${source("avif")}${source("webp")}<img src="${url}" srcset="${srcset("jpg")}" sizes="${sizes}"
    width="${width}" height="${height}" alt="${text(titleOf(ref))}" loading="lazy" decoding="async"></picture>`;
}

const thumb = ({ job_id }) => `<img src="${pixerve}/image/${job_id}?box=200x200" width="200" height="200" alt="" loading="lazy">`;

async function receiptImage({ files: [{ stored: [{ location }], width, height }] }) {
  const begun = Math.floor(Date.now() / 300_000) * 300; // so that a browser that has it finds it
  const token = await sign(ORDER.customer, { read: location }, begun);
  return `<img src="${pixerve}${location}?token=${token}" width="${width}" height="${height}" alt="your receipt">`;
}

const framed = ({ placeholder: { color, thumbhash } }, element) =>
  `<div class="photo" style="background: ${color}" data-thumbhash="${thumbhash}">${element}</div>`;
// the shop

const titleOf = (ref) => PRINTS.get(ref.split("/")[1]).title;
const photosOf = (print) => [...photos.values()].filter(({ ref }) => ref.startsWith(`print/${print}/`)).sort((a, b) => a.ref.localeCompare(b.ref));
const euros = (price) => `€ ${price}`;

const html = (title, body, head = "") => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${text(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script type="module" src="/page.js"></script>
${head}
<header class="top">
  <a class="name" href="/">Paper &amp; Light</a>
  <nav><a href="/">Prints</a><a href="/orders/${ORDER.number}">Your order</a></nav>
</header>
<main>${body}</main>
<footer>Printed to order, on paper that lasts.</footer>
</html>`;

function shelf() {
  const card = ([print, { title, paper, price }]) => {
    const shown = photosOf(print);
    if (shown.length === 0) return "";
    const squares = shown.map((photo) => framed(photo, square(photo, "(min-width: 64rem) min(30vw, 27rem), 46vw")));
    const dots = shown.map((_, n) => `<i${n === 0 ? ' class="here"' : ""}></i>`).join("");
    return `<li class="card">
      <a class="strip" href="/prints/${print}" aria-label="${text(title)}">${squares.join("")}</a>
      <p class="dots" aria-hidden="true">${dots}</p>
      <h2><a href="/prints/${print}">${text(title)}</a></h2>
      <p class="quiet">${text(paper)}</p>
      <p class="price">${euros(price)}</p>
    </li>`;
  };
  return html("Paper & Light", `<h1>New prints</h1><ul class="shelf">${[...PRINTS].map(card).join("")}</ul>`);
}

function detail(print, { title, paper, price }, number) {
  const all = photosOf(print);
  const photo = all[number - 1];
  if (!photo) return null;
  const { width, height } = photo.files.find(({ box }) => box[1] === 0);
  const thumbs = all.map((other, n) => `<a href="/prints/${print}?photo=${n + 1}"${n + 1 === number ? ' aria-current="true"' : ""}
    aria-label="Photo ${n + 1}">${framed(other, square(other, "5rem"))}</a>`);
  const options = ["30 × 40 cm", "50 × 70 cm"].map((size, n) => `<label><input type="radio" name="size"${n ? "" : " checked"}><span>${size}</span></label>`);
  const body = `<article class="detail">
    <section class="gallery" style="--ratio: ${width / height}">
      <button type="button" class="open" data-opens="close-up" aria-label="Look closer">${framed(photo, photo.element)}<span>Look closer</span></button>
      <div class="thumbs">${thumbs.join("")}</div>
    </section>
    <section class="about">
      <h1>${text(title)}</h1>
      <p class="price">${euros(price)}</p>
      <p>${text(paper)}. Printed with pigment inks, numbered by hand, and sent flat between boards.</p>
      <form action="/orders/${ORDER.number}">
        <fieldset><legend>Size</legend>${options.join("")}</fieldset>
        <button class="buy">Add to your order</button>
      </form>
    </section>
  </article>
  <dialog id="close-up" aria-label="${text(title)}" style="--ratio: ${width / height}">
    <form method="dialog"><button aria-label="Close">×</button></form>
    <div class="lens" tabindex="0">${framed(photo, photo.closeUp)}</div>
  </dialog>`;
  // Pixerve
  const preview = `<meta property="og:image" content="${pixerve}/image/${photo.job_id}?w=1600&amp;format=jpg">`;
  // the shop
  return html(title, body, preview);
}

async function order() {
  const line = (print) => {
    const { title, paper, price } = PRINTS.get(print);
    const [photo] = photosOf(print);
    return `<li>${framed(photo, thumb(photo))}<div><h2>${text(title)}</h2><p class="quiet">${text(paper)}</p></div><p class="price">${euros(price)}</p></li>`;
  };
  const total = ORDER.prints.reduce((sum, print) => sum + PRINTS.get(print).price, 0);
  const receipt = photos.get(`receipt/${ORDER.number}`);
  // Pixerve
  const shown = receipt ? framed(receipt, await receiptImage(receipt)) : "";
  // the shop
  return html(`Order ${ORDER.number}`, `<article class="order">
    <h1>Order ${ORDER.number}</h1>
    <ul>${ORDER.prints.map(line).join("")}</ul>
    <p class="total"><span>Total</span> <span class="price">${euros(total)}</span></p>
    <section>
      <h2>${receipt ? "Your receipt" : "Paid by transfer?"}</h2>
      <p class="quiet">${receipt ? "We have it, thank you. Nobody but you and us sees it." : "Send us a photo of the receipt. Nobody but you and us sees it."}</p>
      <div id="receipt">${shown}</div>
      <form id="send" data-base="${pixerve}"><label class="file"><input type="file" name="photo" accept="image/*" required></label><button>${receipt ? "Send another" : "Send"}</button></form>
      <p role="status"></p>
    </section>
  </article>`);
}

const files = { "/page.css": "text/css", "/page.js": "text/javascript", "/thumbhash.js": "text/javascript" };
const headers = {
  "Content-Type": "text/html; charset=utf-8",
  // Pixerve
  "Content-Security-Policy": `default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; form-action 'self';
    base-uri 'none'; img-src data: ${pixerve}; connect-src 'self' ${pixerve}`.replace(/\s+/g, " "),
  // the shop
};

createServer(async (request, response) => {
  const { pathname: path, searchParams } = new URL(request.url, "http://shop");
  // Pixerve
  if (path === "/pixerve") return receive(request, response);
  if (path === `/orders/${ORDER.number}/token` && request.method === "POST") {
    return response.end(await sign(ORDER.customer, { job: jobOf.receipt(`receipt/${ORDER.number}`) }));
  }
  // the shop
  if (files[path]) return response.writeHead(200, { "Content-Type": files[path], "Cache-Control": "max-age=60" }).end(await readFile(path.slice(1)));
  const print = /^\/prints\/(\d)$/.exec(path)?.[1];
  let page = null;
  if (path === "/") page = shelf();
  else if (PRINTS.has(print)) page = detail(print, PRINTS.get(print), Number(searchParams.get("photo") ?? 1));
  else if (path === `/orders/${ORDER.number}`) page = await order();
  return page ? response.writeHead(200, headers).end(page) : response.writeHead(404, headers).end(html("Not here", "<h1>Not here</h1>"));
}).listen(process.env.PORT, "127.0.0.1");

for (const print of PRINTS.keys()) {
  for (const [n, name] of (await readdir(`photos/${print}`)).sort().entries()) {
    // Pixerve
    await upload(`photos/${print}/${name}`, "shop", jobOf.print(`print/${print}/${n + 1}`));
    // the shop
  }
}
