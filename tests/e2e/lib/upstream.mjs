// Backends that a test owns: servers of Node's own http module that remember what they saw, and plain sockets.
import http from 'node:http';
import net from 'node:net';
import { after } from 'node:test';

const open = new Set(); // functions that close what is open

function listen(server, host, port) {
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, host, () => resolve(server.address().port));
  });
}

async function readBody(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function echo(seen, response) {
  const text = JSON.stringify(seen);
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

// A backend. `respond(request, response, seen)` answers; without it, the request is echoed as JSON. With `isStreaming`
// the body is left to `respond`. `requests` are those seen so far: {method, url, path, query, headers, rawHeaders, body}.
export async function startUpstream({ respond, isStreaming = false, host = '127.0.0.1', port = 0, name } = {}) {
  const upstream = { requests: [], connections: 0, respond };
  const server = http.createServer(
    { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 },
    async (request, response) => {
      const url = new URL(request.url, 'http://x');
      const seen = {
        method: request.method,
        url: request.url,
        path: url.pathname,
        query: queryOf(url),
        headers: request.headers,
        rawHeaders: request.rawHeaders,
        ...(name ? { name } : {}),
      };
      upstream.requests.push(seen);
      if (!isStreaming) seen.body = (await readBody(request).catch(() => Buffer.alloc(0))).toString('latin1');
      if (upstream.respond) upstream.respond(request, response, seen);
      else echo(seen, response);
    }
  );
  server.on('checkContinue', (request, response) => {
    upstream.continues = (upstream.continues ?? 0) + 1;
    response.writeContinue();
    server.emit('request', request, response);
  });
  server.on('connection', () => upstream.connections++);
  upstream.port = await listen(server, host, port);
  upstream.server = server;
  upstream.last = () => upstream.requests[upstream.requests.length - 1];
  upstream.clear = () => upstream.requests.splice(0);
  upstream.close = closer(server, () => server.closeAllConnections());
  return upstream;
}

function queryOf(url) {
  const query = {};
  for (const [key, value] of url.searchParams) (query[key] ??= []).push(value);
  return query;
}

// A backend that speaks in bytes: `serve(socket)` for each connection. `received()` is all that came, as text.
export async function startRawUpstream(serve) {
  const upstream = { connections: 0, parts: [], sockets: new Set() };
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    upstream.connections++;
    upstream.sockets.add(socket);
    socket.on('data', (data) => upstream.parts.push(data));
    socket.on('error', () => {});
    socket.on('close', () => upstream.sockets.delete(socket));
    serve(socket, upstream);
  });
  upstream.received = () => Buffer.concat(upstream.parts).toString('latin1');
  upstream.port = await listen(server, '127.0.0.1', 0);
  upstream.close = closer(server, () => upstream.sockets.forEach((socket) => socket.destroy()));
  return upstream;
}

function closer(server, closeConnections) {
  const close = () => {
    open.delete(close);
    return new Promise((resolve) => {
      server.close(resolve);
      closeConnections();
    });
  };
  open.add(close);
  return close;
}

// In a suite: servers go with it.
export function closeUpstreamsAfter() {
  after(() => Promise.all([...open].map((close) => close())));
}
