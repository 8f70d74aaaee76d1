// The orders team's service: a small REST API with its data in memory. No packages; Node 18 or newer.
//
//   PORT=9101 node examples/orders/service.mjs
//
//   GET  /orders         list; ?state=open filters
//   GET  /orders/{id}    one
//   POST /orders         create from {"item", "quantity"}; 201 with Location
//   GET  /debug          what this service saw of the request: method, path, header fields
//   GET  /health
import http from 'node:http';

const PORT = Number(process.env.PORT ?? 9101);
const HOST = process.env.HOST ?? '127.0.0.1';
const BODY_MAX = 64 * 1024;

const orders = new Map([
  [1, { id: 1, item: 'tea', quantity: 2, state: 'open' }],
  [2, { id: 2, item: 'cups', quantity: 6, state: 'shipped' }],
]);

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function readJson(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_MAX) throw new Refusal(413, `a body has at most ${BODY_MAX} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refusal(400, 'the body is not JSON');
  }
}

function checkOrder(body) {
  if (typeof body?.item !== 'string' || body.item === '') throw new Refusal(422, '"item" must be a text');
  if (!Number.isInteger(body.quantity) || body.quantity < 1) throw new Refusal(422, '"quantity" must be 1 or more');
}

function list(url) {
  const state = url.searchParams.get('state');
  const items = [...orders.values()].filter((order) => state === null || order.state === state);
  return { status: 200, body: { items } };
}

function get(id) {
  const order = orders.get(Number(id));
  if (order === undefined) throw new Refusal(404, `there is no order ${id}`);
  return { status: 200, body: order };
}

async function create(request) {
  const body = await readJson(request);
  checkOrder(body);
  const order = { id: orders.size + 1, item: body.item, quantity: body.quantity, state: 'open' };
  orders.set(order.id, order);
  return { status: 201, body: order, headers: { location: `/orders/${order.id}` } };
}

function debug(request) {
  return { status: 200, body: { service: 'orders', method: request.method, path: request.url, headers: request.headers } };
}

async function answer(request) {
  const url = new URL(request.url, 'http://service');
  const one = /^\/orders\/(\d+)$/.exec(url.pathname);
  if (request.method === 'GET' && url.pathname === '/orders') return list(url);
  if (request.method === 'GET' && one) return get(one[1]);
  if (request.method === 'POST' && url.pathname === '/orders') return create(request);
  if (request.method === 'GET' && url.pathname === '/debug') return debug(request);
  if (request.method === 'GET' && url.pathname === '/health') return { status: 200, body: { status: 'ok' } };
  throw new Refusal(404, `there is no ${request.method} ${url.pathname}`);
}

const server = http.createServer(async (request, response) => {
  let result;
  try {
    result = await answer(request);
  } catch (error) {
    const status = error instanceof Refusal ? error.status : 500;
    result = { status, body: { error: status === 500 ? 'internal error' : error.message } };
  }
  response.writeHead(result.status, { 'content-type': 'application/json', ...result.headers });
  response.end(JSON.stringify(result.body) + '\n');
});

server.on('error', (error) => {
  console.error(`orders: can't listen on ${HOST}:${PORT}: ${error.message}`);
  process.exit(1);
});
server.listen(PORT, HOST, () => console.log(`orders: listening on http://${HOST}:${server.address().port}`));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
