// A small HTTP client for checks and for the REST API; not for load.
import http from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from './processes.mjs';

const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
const TIMEOUT_MS = 30000;

// Resolves with {status, headers, text}; rejects when there is no complete answer.
export function request({ port, method = 'GET', path, headers = {}, body = null }) {
  return new Promise((resolve, reject) => {
    const fields = { ...headers };
    if (body !== null) fields['Content-Length'] = Buffer.byteLength(body);
    const outgoing = http.request(
      { host: '127.0.0.1', port, method, path, headers: fields, agent, timeout: TIMEOUT_MS },
      (incoming) => {
        const parts = [];
        incoming.on('data', (part) => parts.push(part));
        incoming.on('error', reject);
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode, headers: incoming.headers, text: Buffer.concat(parts).toString() }),
        );
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Failure(`${method} ${path}: no answer in ${TIMEOUT_MS} ms`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
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
