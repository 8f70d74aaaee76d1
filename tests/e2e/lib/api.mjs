// The controller's API, with one token.
import { Agent, request } from 'undici';
import { LIVE } from './team.mjs';

const dispatcher = new Agent({ connections: 16, headersTimeout: 180000, bodyTimeout: 180000 });

export class Api {
  constructor(origin, token) {
    this.origin = origin;
    this.token = token;
  }

  as(token) {
    return new Api(this.origin, token);
  }

  // `path` below /api/v1, or absolute with `isAbsolute`. Returns {status, headers, text, body}, whatever the status.
  async call(method, path, body, { headers = {}, isAbsolute = false } = {}) {
    const {
      statusCode,
      headers: got,
      body: stream,
    } = await request(`${this.origin}${isAbsolute ? '' : '/api/v1'}${path}`, {
      method,
      dispatcher,
      headers: {
        ...(this.token ? { authorization: `Bearer ${this.token}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await stream.text();
    const isJson = /json/.test(got['content-type'] ?? '') && text !== '';
    return { status: statusCode, headers: got, text, body: isJson ? JSON.parse(text) : undefined };
  }

  // As call(), for what must succeed; returns the body.
  async must(method, path, body, options) {
    const answer = await this.call(method, path, body, options);
    if (answer.status > 299) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  get = (path, options) => this.call('GET', path, undefined, options);
  put = (path, body, options) => this.call('PUT', path, body, options);
  post = (path, body, options) => this.call('POST', path, body, options);
  patch = (path, body, options) => this.call('PATCH', path, body, options);
  delete = (path, options) => this.call('DELETE', path, undefined, options);

  // Every item of a list, page by page.
  async all(path, limit = 100) {
    const items = [];
    let next = '';
    do {
      const join = path.includes('?') ? '&' : '?';
      const page = await this.must('GET', `${path}${join}limit=${limit}${next && `&cursor=${next}`}`);
      items.push(...page.items);
      next = page.next ?? '';
    } while (next);
    return items;
  }

  // Makes the tenant, if need be, and applies its file.
  async store(file, query = '') {
    const made = await this.put(
      `/tenants/${file.tenant}`,
      { name: file.tenant },
      { headers: { 'if-none-match': '*' } }
    );
    if (made.status !== 201 && made.status !== 412) throw new Error(`${file.tenant}: ${made.status} ${made.text}`);
    return this.must('PUT', `/tenants/${file.tenant}/document${query}`, file);
  }

  // … and returns when it is live everywhere.
  async apply(file) {
    const answer = await this.store(file, LIVE);
    if (answer.live.gateways !== answer.live.of) throw new Error(`not live: ${JSON.stringify(answer.live)}`);
    return answer;
  }
}
