// A script for Cloudflare's runtime: a box for each request, from a module that was compiled when the script was deployed.
import { connect } from "cloudflare:sockets";
import { Box } from "boxer-js/edge.js";
import module from "box.wasm";

const text = (stream) => new Response(stream).text();

export default {
  async fetch(request) {
    const url = new URL(request.url);
    const reach = ({ hostname, port }) => connect({ hostname: hostname === "host.test" ? "127.0.0.1" : hostname, port }, { allowHalfOpen: true });
    const network = url.searchParams.has("network") && reach;
    const box = await Box.open(module, { maxMemory: "64m", ...(network && { network }) });
    try {
      if (url.pathname === "/fetch") {
        await box.spawn("sh", ["-c", url.searchParams.get("script")]);
        await box.waitForPort(8000);
        return await new Response((await box.fetch(8000, "/")).body).text().then((body) => new Response(body));
      }
      if (url.pathname === "/bytes") {
        await Box.open(new Uint8Array(8)).catch((error) => error);
        return new Response(await Box.open("box.wasm").catch(({ code }) => code));
      }
      const process = await box.spawn("sh", ["-c", url.searchParams.get("script")]);
      const writer = process.stdin.getWriter();
      const input = new Uint8Array(await request.arrayBuffer());
      // A program may end without reading it.
      void writer.write(input).then(() => writer.close()).catch(() => {});
      const [out, error, status] = await Promise.all([text(process.stdout), text(process.stderr), process.exit]);
      return Response.json({ out, error, status });
    } catch (error) {
      return new Response(`${error.code}: ${error.stack}`, { status: 500 });
    } finally {
      box.terminate();
    }
  },
};
