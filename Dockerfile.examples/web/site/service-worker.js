// Answers what lies below box/PORT/ by asking the page, which has the box.

const scope = new URL(self.registration.scope);
const below = (url) => {
  const { origin, pathname, search } = new URL(url);
  const [, port, path] = origin === scope.origin && pathname.startsWith(scope.pathname) ? (/^box\/(\d+)(\/.*)$/.exec(pathname.slice(scope.pathname.length)) ?? []) : [];
  return port ? { port: Number(port), path: path + search } : undefined;
};

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const asked = below(event.request.url);
  // A page of the box may name a file from its root: whoever asks is then below box/PORT/.
  const mayAsk = event.clientId && new URL(event.request.url).origin === scope.origin && event.request.mode !== "navigate";
  if (asked) event.respondWith(ask(event.request, asked));
  else if (mayAsk) event.respondWith(fromFrame(event));
});

async function fromFrame({ clientId, request }) {
  const client = await self.clients.get(clientId);
  const frame = client && below(client.url);
  if (!frame) return fetch(request);
  const { pathname, search } = new URL(request.url);
  return ask(request, { port: frame.port, path: pathname + search });
}

async function ask(request, { port, path }) {
  const pages = await self.clients.matchAll({ type: "window" });
  const page = pages.find(({ url }) => !below(url));
  if (!page) return new Response("The page with the box is closed.", { status: 502 });
  const { method } = request;
  const body = ["GET", "HEAD"].includes(method) ? undefined : await request.arrayBuffer();
  const { port1, port2 } = new MessageChannel();
  const answered = new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
  page.postMessage({ port, path, method, headers: [...request.headers], body }, [port2]);
  const { status, headers, content } = await answered;
  const named = new Headers(headers);
  // A redirect to a path of the server stays with the server.
  const location = named.get("location");
  if (location?.startsWith("/")) named.set("location", `${scope.pathname}box/${port}${location}`);
  const empty = [204, 205, 304].includes(status);
  return new Response(empty ? null : content, { status, headers: named });
}
