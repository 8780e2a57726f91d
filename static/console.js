/* The script only adds: every page works without it. */
"use strict";
(() => {
  const $ = (query, root = document) => [...root.querySelectorAll(query)];
  const pad = (value) => String(value).padStart(2, "0");
  const utc = (at) => `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;

  /* Times: the title says the viewer's own zone too. */
  const zone = (root) => $("time[datetime]", root).forEach((time) => {
    const at = new Date(time.dateTime);
    if (!time.dataset.utc) time.dataset.utc = time.title;
    if (!isNaN(at)) time.title = `${time.dataset.utc}; here ${at.toLocaleString()}`;
  });
  zone(document);

  const clock = document.getElementById("clock");
  if (clock) setInterval(() => {
    const say = `${utc(new Date())} UTC`;
    if (clock.textContent !== say) clock.textContent = say;
  }, 5000);

  /* Menus of a list close on Escape and when the next one opens. */
  const menus = () => $("details.menu[open]");
  document.addEventListener("click", (event) =>
    menus().forEach((menu) => menu.contains(event.target) || (menu.open = false)));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menus().forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });

  /* Live parts: asked again every data-live seconds, mostly answered 304. */
  let moved = Date.now();
  for (const kind of ["pointermove", "keydown", "scroll", "pointerdown"])
    addEventListener(kind, () => (moved = Date.now()), { passive: true });

  const busy = (part) =>
    part.contains(document.activeElement) || part.querySelector("details[open], :popover-open");

  const live = (part) => {
    const every = Number(part.dataset.live) * 1000;
    const stale = document.getElementById("stale");
    let tag = part.dataset.etag || "", wait = every, good = Date.now();

    const fill = (html) => {
      const box = document.createElement("template");
      box.innerHTML = html;
      const status = (root) => root.querySelector("[role=status]")?.textContent.trim();
      /* An unchanged sentence stays, so that it is not read aloud again. */
      const same = status(part) === status(box.content);
      const kept = part.querySelector("[role=status]");
      part.replaceChildren(box.content);
      if (same && kept) part.querySelector("[role=status]").replaceWith(kept);
      zone(part);
      const chip = document.getElementById("chip"), next = part.querySelector("[data-chip]");
      if (chip && next) chip.replaceChildren(...next.content.cloneNode(true).childNodes);
    };

    const ask = async () => {
      if (document.hidden) return later(every);
      try {
        const answer = await fetch(part.dataset.src, {
          headers: tag ? { "If-None-Match": tag } : {},
          cache: "no-store", redirect: "error", signal: AbortSignal.timeout(5000),
        });
        if (answer.status !== 304) {
          if (!answer.ok) throw new Error(answer.status);
          const html = await answer.text();
          if (!busy(part)) {
            fill(html);
            tag = answer.headers.get("ETag") || "";
          }
        }
        good = Date.now();
        wait = every;
        if (stale) stale.hidden = true;
      } catch {
        wait = Math.min(wait * 2, 60000);
        if (stale) {
          stale.hidden = false;
          stale.querySelector("b").textContent = `Stale since ${utc(new Date(good))}.`;
          stale.querySelector("span").textContent =
            `What you see is ${Math.round((Date.now() - good) / 1000)} s old. Asking again in ${wait / 1000} s.`;
        }
      }
      later(Date.now() - moved > 300000 ? Math.max(wait, 60000) : wait);
    };
    const later = (ms) => setTimeout(ask, ms);
    later(every);
  };
  $("[data-live]").forEach(live);
})();
