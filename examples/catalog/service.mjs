// The catalog team's service: what can be ordered, with prices in memory. No packages; Node 18 or newer.
//
//   PORT=9102 node examples/catalog/service.mjs
//
//   GET  /items            list; ?q= searches the names
//   GET  /items/{sku}      one
//   PUT  /items/{sku}      create or replace with {"name", "price"}; 201 or 200
//   GET  /debug            what this service saw of the request: method, path, header fields
//   GET  /health
import http from 'node:http';

const PORT = Number(process.env.PORT ?? 9102);
const HOST = process.env.HOST ?? '127.0.0.1';
const BODY_MAX = 64 * 1024;

const items = new Map([
  ['tea-1', { sku: 'tea-1', name: 'Green tea', price: 1200 }],
  ['cup-6', { sku: 'cup-6', name: 'Six cups', price: 4800 }],
  ['pot-1', { sku: 'pot-1', name: 'Tea pot', price: 9900 }],
]);

function send(response, status, body, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body) + '\n');
}

function list(url, response) {
  const wanted = (url.searchParams.get('q') ?? '').toLowerCase();
  send(response, 200, { items: [...items.values()].filter((item) => item.name.toLowerCase().includes(wanted)) });
}

function get(sku, response) {
  const item = items.get(sku);
  if (item === undefined) send(response, 404, { error: `there is no item ${sku}` });
  else send(response, 200, item);
}

function put(sku, text, response) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    return send(response, 400, { error: 'the body is not JSON' });
  }
  if (typeof body?.name !== 'string' || !Number.isInteger(body.price) || body.price < 0)
    return send(response, 422, { error: '"name" must be a text and "price" a whole number' });
  const isNew = !items.has(sku);
  items.set(sku, { sku, name: body.name, price: body.price });
  return send(response, isNew ? 201 : 200, items.get(sku));
}

function withBody(request, response, act) {
  let text = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => {
    text += chunk;
    if (text.length <= BODY_MAX) return;
    request.removeAllListeners();
    send(response, 413, { error: `a body has at most ${BODY_MAX} bytes` }, { connection: 'close' });
  });
  request.on('end', () => act(text));
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://service');
  const one = /^\/items\/([a-z0-9-]+)$/.exec(url.pathname);
  if (request.method === 'GET' && url.pathname === '/items') list(url, response);
  else if (request.method === 'GET' && one) get(one[1], response);
  else if (request.method === 'PUT' && one) withBody(request, response, (text) => put(one[1], text, response));
  else if (request.method === 'GET' && url.pathname === '/debug')
    send(response, 200, { service: 'catalog', method: request.method, path: request.url, headers: request.headers });
  else if (request.method === 'GET' && url.pathname === '/health') send(response, 200, { status: 'ok' });
  else send(response, 404, { error: `there is no ${request.method} ${url.pathname}` });
});

server.on('error', (error) => {
  console.error(`catalog: can't listen on ${HOST}:${PORT}: ${error.message}`);
  process.exit(1);
});
server.listen(PORT, HOST, () => console.log(`catalog: listening on http://${HOST}:${server.address().port}`));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
