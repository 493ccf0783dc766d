// Talking to the job. The token comes behind # in the address, is kept for this tab only, and goes in a header.

const KEPT = "bucketpull-token";

if (location.hash.length > 1 && location.hash !== "#content") {
  sessionStorage.setItem(KEPT, decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
}

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

export const hasToken = () => Boolean(sessionStorage.getItem(KEPT));
export const setToken = (token) => sessionStorage.setItem(KEPT, token.trim());

async function ask(path, options) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  const body = await response.json();
  if (!response.ok) throw new Refused(response.status, body.error);
  return body;
}

export const get = (path) => ask(path, {});
export const post = (path, body = {}) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
