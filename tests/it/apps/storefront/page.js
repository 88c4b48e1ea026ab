// What pages of the shop of `store.mjs` do by themselves. Without it they show all but the zoom, and take no receipt.

// Pixerve
import { thumbHashToDataURL } from "/thumbhash.js";

for (const place of document.querySelectorAll("[data-thumbhash]")) {
  const hash = Uint8Array.from(atob(place.dataset.thumbhash), (c) => c.charCodeAt(0));
  const picture = place.querySelector("img");
  if (picture.naturalWidth) place.style.background = "none";
  else place.style.background = `center / cover url(${thumbHashToDataURL(hash)})`;
  picture.addEventListener("load", () => { place.style.background = "none"; });
}

async function upload(base, file, token, show) {
  const form = new FormData();
  form.append("file", file);
  const headers = { Authorization: `Bearer ${token}` };
  const answer = await fetch(`${base}/upload`, { method: "POST", headers, body: form });
  const said = await answer.json();
  if (!answer.ok) return show(said.detail);
  const events = new EventSource(`${base}/events?job_id=${said.job_id}`);
  return new Promise((resolve) => {
    events.addEventListener("end", ({ data }) => {
      events.close();
      const { error } = JSON.parse(data);
      show(error ?? "We have your receipt.");
      resolve(!error);
    });
  });
}
// the shop

for (const strip of document.querySelectorAll(".strip")) {
  const dots = strip.nextElementSibling.children;
  strip.addEventListener("scroll", () => {
    const here = Math.round(strip.scrollLeft / strip.clientWidth);
    [...dots].forEach((dot, n) => dot.classList.toggle("here", n === here));
  }, { passive: true });
}

for (const opener of document.querySelectorAll("[data-opens]")) {
  const dialog = document.getElementById(opener.dataset.opens);
  const lens = dialog.querySelector(".lens");
  opener.addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("close", () => lens.classList.remove("near"));
  // A click looks nearer at where it was, and another one from afar.
  lens.addEventListener("click", (event) => {
    const photo = lens.firstElementChild;
    const from = photo.getBoundingClientRect();
    const [x, y] = [(event.clientX - from.left) / from.width, (event.clientY - from.top) / from.height];
    if (!lens.classList.toggle("near")) return;
    const to = photo.getBoundingClientRect();
    lens.scrollTo(x * to.width - lens.clientWidth / 2, y * to.height - lens.clientHeight / 2);
  });
}

document.getElementById("send")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const show = (text) => { document.querySelector("[role=status]").textContent = text; };
  const form = event.target;
  // Pixerve
  const token = await (await fetch(`${location.pathname}/token`, { method: "POST" })).text();
  await upload(form.dataset.base, form.photo.files[0], token, show);
  // the shop
});
