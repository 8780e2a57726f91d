/* Hashes the body and the path in this browser (RFC 9162, 2.1.3.2). */
"use strict";
(() => {
  const button = document.getElementById("verify");
  if (!button || !window.crypto?.subtle) return;
  button.hidden = false;
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));
  const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const hash = async (...parts) => {
    const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) { data.set(part, at); at += part.length; }
    return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  };
  const node = (left, right) => hash(Uint8Array.of(1), left, right);

  const root = async (leaf, index, last, path) => {
    let digest = leaf;
    for (const sibling of path) {
      if (index % 2 || index === last) {
        digest = await node(sibling, digest);
        while (index && index % 2 === 0) { index /= 2; last = Math.floor(last / 2); }
      } else digest = await node(digest, sibling);
      index = Math.floor(index / 2);
      last = Math.floor(last / 2);
    }
    return last === 0 ? digest : new Uint8Array();
  };

  button.addEventListener("click", async () => {
    const { body, path, sequence, size, root: said } = button.dataset;
    const began = performance.now();
    const leaf = await hash(Uint8Array.of(0), new TextEncoder().encode(body));
    const siblings = path.split(" ").filter(Boolean).map(bytes);
    const found = hex(await root(leaf, Number(sequence), Number(size) - 1, siblings));
    const took = (performance.now() - began).toFixed(1);
    const good = found === said;
    const verdict = document.getElementById("verdict");
    const title = document.createElement("h1"), text = document.createElement("p");
    title.textContent = good ? "Verified in this browser" : "This browser finds another root";
    text.textContent = good
      ? `Body hashed to the leaf; ${siblings.length} hashes led to the root of checkpoint ${size} in ${took} ms.`
      : `The path leads to ${found || "nothing"}, the checkpoint says ${said}.`;
    verdict.replaceChildren(title, text);
    verdict.parentElement.className = `say ${good ? "pass" : "fail"}`;
  });
})();
