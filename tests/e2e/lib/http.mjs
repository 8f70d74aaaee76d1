// Clients: undici for well-formed requests, plain sockets for the others, curl as a real program.
import net from 'node:net';
import { spawn } from 'node:child_process';
import { Agent, request } from 'undici';
import { deferred, within } from './wait.mjs';

// No connection is used twice unless a test asks for it: which worker answers must not depend on the test before.
const fresh = new Agent({
  pipelining: 0,
  keepAliveTimeout: 1,
  keepAliveMaxTimeout: 1,
  headersTimeout: 120000,
  bodyTimeout: 120000,
});

export async function fetchText(url, options = {}) {
  const { statusCode, headers, body } = await request(url, { dispatcher: fresh, ...options });
  return { status: statusCode, headers, text: await body.text() };
}

// One request to a gateway for `host`. Returns {status, headers, text, json, reason}.
export async function ask(
  port,
  { host, path = '/', method = 'GET', key, headers = {}, body, dispatcher = fresh } = {}
) {
  const answer = await request(`http://127.0.0.1:${port}`, {
    path,
    method,
    dispatcher,
    body,
    headers: { host, ...(key ? { 'x-api-key': key } : {}), ...headers },
  });
  const text = await answer.body.text();
  return {
    status: answer.statusCode,
    headers: answer.headers,
    text,
    reason: answer.headers['daemun-reason'],
    get json() {
      return JSON.parse(text);
    },
  };
}

// --- sockets --------------------------------------------------------------------------------------------------------

export class RawClient {
  static open(port, options = {}) {
    return new RawClient(net.connect({ port, host: '127.0.0.1', ...options })).opened;
  }

  constructor(socket) {
    this.socket = socket;
    this.received = Buffer.alloc(0);
    this.isEnded = false;
    this.waiters = [];
    const opened = deferred();
    this.opened = opened.promise;
    socket.on('connect', () => opened.resolve(this));
    socket.on('error', (error) => {
      this.error = error;
      opened.reject(error);
      this.finish();
    });
    socket.on('data', (data) => {
      this.received = Buffer.concat([this.received, data]);
      this.wake();
    });
    socket.on('end', () => this.finish());
    socket.on('close', () => this.finish());
  }

  finish() {
    this.isEnded = true;
    this.wake();
  }

  wake() {
    for (const waiter of this.waiters.splice(0)) waiter();
  }

  get text() {
    return this.received.toString('latin1');
  }

  send(data) {
    return new Promise((resolve) => this.socket.write(data, 'latin1', () => resolve(this)));
  }

  // Resolves with what `find` makes of the text so far; fails when the peer closes before.
  receives(what, find) {
    const wait = async () => {
      for (;;) {
        const found = find(this.text);
        if (found) return found;
        if (this.isEnded) throw new Error(`closed before ${what}; received ${JSON.stringify(this.text.slice(0, 400))}`);
        await new Promise((resolve) => this.waiters.push(resolve));
      }
    };
    return within(what, wait());
  }

  // The next whole response, taken off what was received. HEAD and 304 have no body: say so.
  async response({ hasBody = true } = {}) {
    return this.receives('a whole response', () => {
      const parsed = parseResponse(this.received, { hasBody, isEnded: this.isEnded });
      if (parsed) this.received = this.received.subarray(parsed.bytes);
      return parsed;
    });
  }

  // Everything until the peer closes.
  whenClosed() {
    const wait = async () => {
      while (!this.isEnded) await new Promise((resolve) => this.waiters.push(resolve));
      return this.text;
    };
    return within('the peer to close', wait());
  }

  close() {
    this.socket.destroy();
  }
}

function parseHead(buffer) {
  const end = buffer.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const [start, ...lines] = buffer.subarray(0, end).toString('latin1').split('\r\n');
  const headers = {};
  for (const line of lines) {
    const [name, value] = [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()];
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  return { start, headers, at: end + 4 };
}

// {text, trailers, at} of a chunked body, or null when it is not whole.
function parseChunks(buffer, at) {
  const parts = [];
  for (;;) {
    const line = buffer.indexOf('\r\n', at);
    if (line < 0) return null;
    const size = parseInt(buffer.subarray(at, line).toString('latin1'), 16);
    if (size === 0) {
      const rest = buffer.subarray(line);
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) return null;
      const trailers = rest.subarray(2, Math.max(end, 2)).toString('latin1').split('\r\n').filter(Boolean);
      return { body: Buffer.concat(parts), trailers, at: line + end + 4 };
    }
    if (buffer.length < line + 2 + size + 2) return null;
    parts.push(buffer.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

function parseResponse(buffer, { hasBody, isEnded }) {
  const head = parseHead(buffer);
  if (!head) return null;
  const status = Number(head.start.split(' ')[1]);
  const answer = {
    status,
    start: head.start,
    headers: head.headers,
    reason: head.headers['daemun-reason'],
    trailers: [],
  };
  const done = (body, bytes) => ({ ...answer, body, text: body.toString('utf8'), bytes });
  if (!hasBody || status < 200 || status === 204 || status === 304) return done(Buffer.alloc(0), head.at);
  if (/chunked/i.test(head.headers['transfer-encoding'] ?? '')) {
    const chunks = parseChunks(buffer, head.at);
    return chunks && { ...done(chunks.body, chunks.at), trailers: chunks.trailers };
  }
  if (head.headers['content-length'] !== undefined) {
    const length = Number(head.headers['content-length']);
    return buffer.length < head.at + length ? null : done(buffer.subarray(head.at, head.at + length), head.at + length);
  }
  return isEnded ? done(buffer.subarray(head.at), buffer.length) : null;
}

// --- curl -----------------------------------------------------------------------------------------------------------

// {status: exit status, stdout, stderr}.
export function curl(args, { input } = {}) {
  const child = spawn('curl', ['-sS', '--max-time', '120', '--noproxy', '*', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('latin1').on('data', (text) => (output[name] += text));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, ...output }));
  });
}
