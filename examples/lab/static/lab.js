"use strict";

// What a script can see of the cookies: nothing that is HttpOnly, and here everything is.
function lookAtCookies() {
  for (const output of document.querySelectorAll('[data-sees="cookie"]')) {
    output.textContent = document.cookie || output.dataset.nothing;
  }
}

// Once it was run its result stands on the page, as those do that the server keeps.
const RAN = "script ran";

async function stealCookie(result) {
  const shown = result.querySelector("template").content.cloneNode(true);
  const seen = (text) => text || result.dataset.nothing;
  shown.querySelector('[data-sees="document.cookie"]').textContent = seen(document.cookie);
  let listed = result.dataset.noApi;
  if (window.cookieStore) {
    listed = seen((await window.cookieStore.getAll()).map((cookie) => `${cookie.name}=${cookie.value}`).join("; "));
  }
  shown.querySelector('[data-sees="cookieStore"]').textContent = listed;
  const stolen = /(^|; *)(__Host-)?session=/.test(`${document.cookie}; ${listed}`);
  for (const untrue of shown.querySelectorAll(stolen ? ".held" : ".broken")) untrue.remove();
  for (const old of result.querySelectorAll(":scope > :not(template)")) old.remove();
  result.append(shown);
}

// Deadlines run down; the server decides, this only shows it.
function startClocks() {
  const now = performance.now();
  for (const clock of document.querySelectorAll(".countdown")) {
    clock.ends = now + 1000 * clock.dataset.remaining;
  }
  tick();
}

function tick() {
  for (const clock of document.querySelectorAll(".countdown")) {
    const left = Math.max(0, (clock.ends - performance.now()) / 1000);
    clock.textContent = left > 0 ? inWords(left, clock.dataset) : clock.dataset.over;
    clock.classList.toggle("over", left <= 0);
    clock.classList.toggle("soon", left > 0 && left <= 10);
    const bar = clock.nextElementSibling;
    if (bar?.matches("progress")) bar.value = left;
  }
}

function inWords(left, units) {
  const whole = Math.ceil(left);
  const parts = [["day", Math.floor(whole / 86400)], ["hour", Math.floor(whole / 3600) % 24],
    ["minute", Math.floor(whole / 60) % 60], ["second", whole % 60]];
  const first = parts.findIndex(([, number]) => number > 0);
  return parts.slice(Math.max(first, 0), Math.max(first, 0) + 2)
    .filter(([, number]) => number > 0)
    .map(([unit, number]) => (number === 1 ? units[unit] : units[`${unit}s`]).replace("#", number))
    .join(" ");
}

// A form or link marked data-live is sent as the browser would send it, and the answer takes the place of the page, so that
// the eye need not search. Without this script it is an ordinary form or link.
async function send(element, url, options) {
  const announcement = document.getElementById("announcement");
  announcement.textContent = announcement.dataset.running;
  element.setAttribute("aria-busy", "true");
  // Others are answered before one could read it.
  if (element.matches('[action^="/try/"]')) element.dataset.running = announcement.dataset.running;
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    window.location.reload();
    return;
  }
  const shown = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!shown.getElementById("main")) {
    window.location.reload();
    return;
  }
  const [place, number] = focusPath();
  const opened = [...document.querySelectorAll("details.requests[open]")].map(ownerOf);
  document.title = shown.title;
  document.documentElement.lang = shown.documentElement.lang;
  document.body.replaceWith(document.adoptNode(shown.body));
  for (const details of document.querySelectorAll("details.requests")) {
    if (opened.includes(ownerOf(details))) details.open = true;
  }
  document.body.classList.add("refreshed");
  start();
  const places = document.querySelectorAll(place);
  (places[number] ?? document.getElementById("main")).focus({ preventScroll: true });
  announce(`.notice, [data-result="${url.split("/try/")[1]}"] .verdict`);
}

// What came of it, for those who do not see it: a moment later, for a page that has just come is not listened to yet.
function announce(outcome) {
  const texts = [...document.querySelectorAll(outcome)].map((element) => element.textContent);
  const announcement = document.getElementById("announcement");
  setTimeout(() => { announcement.textContent = texts.join(" ") || document.title; }, 100);
}

function ownerOf(details) {
  return details.closest("[data-result]")?.dataset.result;
}

// Where the keyboard is, in words that hold for the new page, too: a selector, and which of those that it finds.
function focusPath() {
  const active = document.activeElement;
  const form = active?.closest("form");
  if (!form) return [active?.matches("a.quick-read") ? "a.quick-read" : "main", 0];
  const card = form.closest("[id]");
  const place = `${card ? `#${CSS.escape(card.id)} ` : ""}form[action="${form.getAttribute("action")}"] button`;
  return [place, Math.max(0, [...document.querySelectorAll(place)].indexOf(form.querySelector("button")))];
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-live]")) return;
  event.preventDefault();
  if (form.getAttribute("aria-busy")) return;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  send(form, form.action, { method: "POST", body });
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-live]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    send(link, link.href, {});
  }
  if (event.target.closest('[data-run="script"]')) {
    sessionStorage.setItem(RAN, "yes");
    stealCookie(document.querySelector('[data-result="script"]'));
  }
});

function start() {
  lookAtCookies();
  startClocks();
  for (const button of document.querySelectorAll('[data-run="script"]')) button.hidden = false;
  const result = document.querySelector('[data-result="script"]');
  if (result && sessionStorage.getItem(RAN)) stealCookie(result);
}

start();
setInterval(tick, 500);
