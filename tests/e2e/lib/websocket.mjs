// WebSocket with `ws` on both ends: over HTTP/1.1 as it comes, and over streams of HTTP/2 (RFC 8441), which it does not know: there
// Node's http2 opens the stream, and ws speaks on it.
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { after } from 'node:test';
import { PerMessageDeflate, WebSocket, WebSocketServer, extension } from 'ws';
import { deferred, within } from './wait.mjs';

const open = new Set();

// In a suite: servers and sessions go with it.
export function closeWebSocketsAfter() {
  after(() => {
    for (const one of open) one();
    open.clear();
  });
}

// ws on a duplex stream whose handshake is over.
function speakOn(stream, { isServer, extensions = {}, protocol = '' }) {
  const socket = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30000 });
  socket._isServer = isServer;
  socket._extensions = extensions;
  socket._protocol = protocol;
  stream.on('error', () => {});
  socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 0, allowSynchronousEvents: true });
  return socket;
}

// --- backends -------------------------------------------------------------------------------------------------------

const DEFLATE = PerMessageDeflate.extensionName;
const extensionsOf = (headers) =>
  headers['sec-websocket-extensions'] ? extension.parse(headers['sec-websocket-extensions']) : {};

// As ws answers a handshake of HTTP/1.1.
function acceptStream(stream, headers) {
  const answer = { ':status': 200 };
  const extensions = {};
  const offers = extensionsOf(headers);
  const [protocol] = (headers['sec-websocket-protocol'] ?? '').split(',');
  if (offers[DEFLATE]) {
    extensions[DEFLATE] = new PerMessageDeflate({ threshold: 0, isServer: true });
    extensions[DEFLATE].accept(offers[DEFLATE]);
    answer['sec-websocket-extensions'] = extension.format({ [DEFLATE]: [extensions[DEFLATE].params] });
  }
  if (protocol) answer['sec-websocket-protocol'] = protocol;
  stream.respond(answer);
  return speakOn(stream, { isServer: true, extensions, protocol });
}

const REFUSED = /^\/refuse\/(\d+)/;

function listenHttp1(backend) {
  const server = http.createServer((request, response) => {
    backend.requests.push({ headers: request.headers, url: request.url });
    response.end('no websocket');
  });
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => {});
    backend.requests.push({ headers: request.headers, url: request.url });
    const [, status] = REFUSED.exec(request.url) ?? [];
    if (status) socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 2\r\nX-Why: backend\r\n\r\nno`);
    else sockets.handleUpgrade(request, socket, head, (one) => backend.arrive(one));
  });
  return server;
}

function listenHttp2(backend) {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('session', (session) => {
    backend.sessions.add(session);
    session.on('close', () => backend.sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    backend.requests.push({ headers, url: headers[':path'] });
    const [, status] = REFUSED.exec(headers[':path']) ?? [];
    if (status) {
      stream.respond({ ':status': Number(status), 'x-why': 'backend' });
      stream.end('no');
    } else if (headers[':protocol'] === 'websocket') {
      backend.arrive(acceptStream(stream, headers));
    } else {
      stream.respond({ ':status': 200 });
      stream.end('no websocket');
    }
  });
  return server;
}

// A backend whose sockets arrive one by one: `next()`. It refuses /refuse/STATUS.
export async function startWebSockets({ isHttp2 = false } = {}) {
  const backend = { requests: [], sessions: new Set(), waiting: [], arrived: [] };
  backend.arrive = (socket) => {
    socket.on('error', () => {});
    hear(socket);
    if (backend.waiting.length) backend.waiting.shift()(socket);
    else backend.arrived.push(socket);
  };
  backend.next = () =>
    within(
      'a WebSocket at the backend',
      new Promise((resolve) => {
        if (backend.arrived.length) resolve(backend.arrived.shift());
        else backend.waiting.push(resolve);
      })
    );
  const server = isHttp2 ? listenHttp2(backend) : listenHttp1(backend);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  backend.port = server.address().port;
  open.add(() => {
    for (const session of backend.sessions) session.destroy();
    server.closeAllConnections?.();
    server.close();
  });
  return backend;
}

// --- both ends ------------------------------------------------------------------------------------------------------

// Messages and the end are kept until a test asks.
function hear(socket) {
  const messages = [];
  const waiting = [];
  const closed = deferred();
  socket.on('message', (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    if (waiting.length) waiting.shift()(message);
    else messages.push(message);
  });
  socket.on('close', (code, reason) => closed.resolve({ code, reason: reason.toString() }));
  socket.next = () =>
    within(
      'a message',
      new Promise((resolve) => {
        if (messages.length) resolve(messages.shift());
        else waiting.push(resolve);
      })
    );
  socket.whenClosed = () => within('the end of a WebSocket', closed.promise);
  return socket;
}

// --- clients --------------------------------------------------------------------------------------------------------

// What a server said in place of opening one.
export class Refused extends Error {
  constructor(status, headers, text) {
    super(`refused: ${status}`);
    Object.assign(this, { status, headers, text });
  }
}

async function textOf(stream) {
  let text = '';
  for await (const part of stream) text += part;
  return text;
}

// Over HTTP/1.1. `origin` is ws://… or wss://…; `tls` are options of Node's.
export function connectHttp1(origin, path, { headers = {}, protocols = [], perMessageDeflate = false, tls = {} } = {}) {
  const opened = deferred();
  const socket = new WebSocket(`${origin}${path}`, protocols, {
    headers,
    perMessageDeflate: perMessageDeflate && { threshold: 0 },
    ...tls,
  });
  hear(socket);
  open.add(() => socket.terminate());
  socket.on('open', () => opened.resolve(socket));
  socket.on('error', (error) => opened.reject(error));
  socket.on('unexpected-response', async (request, response) => {
    const text = await textOf(response);
    opened.reject(new Refused(response.statusCode, response.headers, text));
  });
  return within('a WebSocket', opened.promise);
}

// A session whose server has said that it knows extended CONNECT.
export async function connectSession(origin, tls = {}) {
  const session = http2.connect(origin, tls);
  session.on('error', () => {});
  open.add(() => session.destroy());
  await within('settings', once(session, 'remoteSettings'));
  if (!session.remoteSettings.enableConnectProtocol) throw new Error('the server does not know extended CONNECT');
  return session;
}

// A stream with this protocol; {stream, headers} once the server agreed.
export async function connectStream(session, fields) {
  const stream = session.request({ ':method': 'CONNECT', ...fields }, { endStream: false });
  stream.on('error', () => {});
  const [headers] = await within('an answer', once(stream, 'response'));
  if (headers[':status'] !== 200) throw new Refused(headers[':status'], headers, await textOf(stream));
  return { stream, headers };
}

// Over HTTP/2, on a stream of the session.
export async function connectHttp2(session, path, { headers = {}, protocols = [], perMessageDeflate = false } = {}) {
  const fields = { ':protocol': 'websocket', ':path': path, 'sec-websocket-version': '13', ...headers };
  const deflate = perMessageDeflate && new PerMessageDeflate({ threshold: 0 });
  if (protocols.length) fields['sec-websocket-protocol'] = protocols.join(',');
  if (deflate) fields['sec-websocket-extensions'] = extension.format({ [DEFLATE]: deflate.offer() });
  const { stream, headers: answer } = await connectStream(session, fields);
  const extensions = {};
  const accepted = extensionsOf(answer);
  if (accepted[DEFLATE]) {
    deflate.accept(accepted[DEFLATE]);
    extensions[DEFLATE] = deflate;
  }
  return hear(speakOn(stream, { isServer: false, extensions, protocol: answer['sec-websocket-protocol'] ?? '' }));
}
