// A shop whose products have a photo, beside the `shop.json` of its registration: `PIXERVE=... PORT=... node shop.mjs`.
// Its database is in memory. Lines between `Pixerve` and `the shop` are glue, which the test counts.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

// Pixerve
import { buffer } from "node:stream/consumers";
import { SignJWT } from "jose";
import { Webhook } from "standardwebhooks";

const pixerve = process.env.PIXERVE;
const keys = JSON.parse(await readFile("shop.json", "utf8"));
const webhook = new Webhook(keys.webhook_secret);
const known = new Set();
const photos = new Map(); // by product, what is told last of the newest upload

const tokenFor = (product) =>
  new SignJWT({
    job: {
      ref: product,
      formats: { webp: { sizes: [[800], [200]] }, jpg: { sizes: [[800]] } },
      directHost: true,
      subDir: `products/${product}`,
      maxBytes: 20_000_000,
      onDuplicate: "queue",
      completionCallback: `http://127.0.0.1:${process.env.PORT}/pixerve`,
    },
  })
    .setProtectedHeader({ alg: "HS256", kid: keys.access_key })
    .setSubject("seller-1")
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(keys.secret));

async function receive(request, response) {
  let event;
  try {
    event = webhook.verify(await buffer(request), request.headers);
  } catch {
    return response.writeHead(401).end();
  }
  const id = request.headers["webhook-id"];
  if (!known.has(id) && !(photos.get(event.ref)?.job_id > event.job_id)) {
    if (event.status === "completed") photos.set(event.ref, event);
    else console.error(`${event.ref}: ${event.error}`);
  }
  known.add(id);
  response.writeHead(204).end();
}

function picture({ files }) {
  const address = ({ stored: [{ url }] }) => url;
  const [jpg] = files.filter(({ format }) => format === "jpg");
  const webp = files.filter(({ format }) => format === "webp").map((file) => `${address(file)} ${file.width}w`);
  return `<picture><source type="image/webp" sizes="400px" srcset="${webp.join(", ")}">
    <img src="${address(jpg)}" width="${jpg.width}" height="${jpg.height}" alt="the product"></picture>`;
}

// In the page.
async function upload(pixerve, file, token, show) {
  const form = new FormData();
  form.append("file", file);
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(`${pixerve}/upload`, { method: "POST", headers, body: form });
  const said = await answer.json();
  if (!answer.ok) return show(said.detail);
  const events = new EventSource(`${pixerve}/events?job_id=${said.job_id}`);
  const read = ({ data }) => JSON.parse(data);
  events.addEventListener("status", (event) => show(`${read(event).progress.done} of ${read(event).progress.total}`));
  events.addEventListener("end", (event) => (events.close(), show(read(event).error ?? "Your photo is ready.")));
}
// the shop

const page = (product) => `<!doctype html><meta charset="utf-8"><title>${product}</title><h1>${product}</h1>
<div id="photo">${photos.has(product) ? picture(photos.get(product)) : "No photo yet."}</div>
<form><label>Photo <input type="file" name="photo" accept="image/*" required></label> <button>Send</button></form>
<p role="status"></p>
<script type="module">
// Pixerve
${upload}
// the shop
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const show = (text) => { document.querySelector("[role=status]").textContent = text; };
  // Pixerve
  const token = await (await fetch("/products/${product}/token", { method: "POST" })).text();
  await upload("${pixerve}", event.target.photo.files[0], token, show);
  // the shop
});
</script>`;

createServer(async (request, response) => {
  const [, product, token] = /^\/products\/([a-z0-9-]+)(\/token)?$/.exec(request.url) ?? [];
  // Pixerve
  if (request.url === "/pixerve") return receive(request, response);
  if (product && token && request.method === "POST") return response.end(await tokenFor(product));
  // the shop
  if (product && !token) return response.writeHead(200, { "Content-Type": "text/html" }).end(page(product));
  return response.writeHead(404).end();
}).listen(process.env.PORT, "127.0.0.1", () => console.log("open"));
