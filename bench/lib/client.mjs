// A small HTTP client for checks and for the REST API; not for load.
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from './processes.mjs';

// For the REST API. What names a host gets a connection of its own, since one in clear text belongs to the tenant that it
// named first.
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
const TIMEOUT_MS = 30000;

// Resolves with the whole answer once its head is there.
function collect(stream, { status, headers }, resolve, reject) {
  const parts = [];
  stream.on('data', (part) => parts.push(part));
  stream.on('error', reject);
  stream.on('end', () => resolve({ status, headers, text: Buffer.concat(parts).toString() }));
}

function requestHttp1({ port, method, path, fields, body, tls, isUpgrade }) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method, path, headers: fields, timeout: TIMEOUT_MS };
    const onAnswer = (incoming) =>
      collect(incoming, { status: incoming.statusCode, headers: incoming.headers }, resolve, reject);
    const outgoing = tls
      ? https.request({ ...options, ...tls, agent: false }, onAnswer)
      : http.request({ ...options, agent: fields.Host ? false : agent }, onAnswer);
    outgoing.on('timeout', () => outgoing.destroy(new Failure(`${method} ${path}: no answer in ${TIMEOUT_MS} ms`)));
    outgoing.on('error', reject);
    if (isUpgrade)
      outgoing.on('upgrade', ({ statusCode, headers }, socket) => {
        socket.destroy();
        resolve({ status: statusCode, headers, text: '' });
      });
    outgoing.end(body);
  });
}

function requestHttp2({ port, method, path, fields, body }) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const answer = new Promise((resolve, reject) => {
    const { Host, ...others } = fields;
    const stream = session.request({ ':method': method, ':path': path, ':authority': Host, ...others });
    session.on('error', reject);
    session.setTimeout(TIMEOUT_MS, () => reject(new Failure(`${method} ${path}: no answer in ${TIMEOUT_MS} ms`)));
    stream.on('response', (headers) => collect(stream, { status: headers[':status'], headers }, resolve, reject));
    stream.on('error', reject);
    stream.on('close', () => reject(new Failure(`${method} ${path}: the stream was closed without an answer`)));
    stream.end(body);
  });
  return answer.finally(() => session.destroy());
}

// Resolves with {status, headers, text}; rejects when there is no complete answer. `tls` ({ca, servername}): over TLS,
// the certificate checked. isHttp2: over HTTP/2 in clear text. isUpgrade: the fields ask for an upgrade; 101 is an
// answer.
export function request({ port, method = 'GET', path, headers = {}, body = null, ...transport }) {
  const fields = { ...headers };
  if (body !== null) fields['Content-Length'] = Buffer.byteLength(body);
  return (transport.isHttp2 ? requestHttp2 : requestHttp1)({ port, method, path, fields, body, ...transport });
}

// Repeats a request until it is answered with the status; what it was answered instead goes into the error.
export async function until(status, description, timeoutMs = 10000) {
  const end = Date.now() + timeoutMs;
  let last = 'no answer';
  while (Date.now() < end) {
    try {
      const answer = await request(description);
      if (answer.status === status) return answer;
      last = `${answer.status} ${answer.text.slice(0, 300)}`;
    } catch (error) {
      last = error.message;
    }
    await delay(20);
  }
  throw new Failure(`port ${description.port}, ${description.path}: expected ${status}, got ${last}`);
}
