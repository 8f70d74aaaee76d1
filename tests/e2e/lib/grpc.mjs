// gRPC on both ends, by @grpc/grpc-js: a service whose messages are JSON, backends that serve it, clients that call it.
import net from 'node:net';
import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';

const toBytes = (message) => (Buffer.isBuffer(message) ? message : Buffer.from(JSON.stringify(message)));
const fromBytes = (bytes) => (bytes.length > 100_000 ? bytes : JSON.parse(bytes.toString()));

const method = (name, requestStream, responseStream) => ({
  path: `/pkg.Service/${name}`,
  requestStream,
  responseStream,
  requestSerialize: toBytes,
  requestDeserialize: fromBytes,
  responseSerialize: toBytes,
  responseDeserialize: fromBytes,
});

const definition = {
  Ask: method('Ask', false, false),
  Sum: method('Sum', true, false),
  List: method('List', false, true),
  Talk: method('Talk', true, true),
  Fail: method('Fail', false, false),
  FailLater: method('FailLater', false, true),
  Hang: method('Hang', false, true),
  Unruled: method('Unruled', false, false),
};

const Client = grpc.makeGenericClientConstructor({ ...definition, Unknown: method('Unknown', false, false) }, 'pkg.Service');

function failure({ code, details }) {
  const metadata = new grpc.Metadata();
  metadata.set('why', 'because');
  metadata.set('grpc-status-details-bin', Buffer.from([0, 255, 7]));
  return { code, details, metadata };
}

// Writes a list, each message when there is room.
async function writeAll(call, messages) {
  for (const message of messages) if (!call.write(message)) await once(call, 'drain');
}

export { grpc, writeAll };

// A backend: {port, calls, cancelled, server}. `calls` are {method, metadata, deadline, call} as they begin.
export async function startService({ credentials = grpc.ServerCredentials.createInsecure(), options = {} } = {}) {
  const backend = { calls: [], cancelled: 0 };
  const note = (name, call) => {
    const seen = { method: name, metadata: call.metadata, deadline: call.getDeadline(), call };
    backend.calls.push(seen);
    call.on('cancelled', () => backend.cancelled++);
    call.on('error', () => {});
    return seen;
  };

  const implementation = {
    Ask(call, callback) {
      note('Ask', call);
      const head = new grpc.Metadata();
      for (const key of ['mine', 'mine-bin']) for (const value of call.metadata.get(key)) head.add(key, value);
      call.sendMetadata(head);
      const trailers = new grpc.Metadata();
      trailers.set('length', String(call.request.length ?? 0));
      trailers.set('sum-bin', Buffer.from([1, 0, 2]));
      callback(null, call.request, trailers);
    },
    async Sum(call, callback) {
      note('Sum', call);
      let bytes = 0;
      let count = 0;
      for await (const message of call) {
        count++;
        bytes += message.length ?? 0;
      }
      callback(null, { count, bytes });
    },
    async List(call) {
      note('List', call);
      const { count, size } = call.request;
      await writeAll(call, Array.from({ length: count }, (_, i) => (size ? Buffer.alloc(size, i + 1) : { i })));
      call.end();
    },
    Talk(call) {
      note('Talk', call);
      call.on('data', (message) => call.write(message));
      call.on('end', () => call.end());
    },
    Fail(call, callback) {
      note('Fail', call);
      callback(failure(call.request));
    },
    FailLater(call) {
      note('FailLater', call);
      call.write({ i: 0 }, () => call.emit('error', failure(call.request)));
    },
    Hang(call) {
      note('Hang', call);
      if (call.request.says) call.write({ i: 0 });
    },
    Unruled(call, callback) {
      note('Unruled', call);
      callback(null, {});
    },
  };

  backend.server = new grpc.Server({ 'grpc.max_receive_message_length': -1, ...options });
  backend.server.addService(definition, implementation);
  backend.port = await new Promise((resolve, reject) =>
    backend.server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port)))
  );
  return backend;
}

// Connections to a backend pass through it, so that they can be cut: {port, sockets, cut()}.
export async function startCable(port) {
  const cable = { sockets: new Set() };
  const server = net.createServer((socket) => {
    const to = net.connect(port, '127.0.0.1');
    for (const [a, b] of [
      [socket, to],
      [to, socket],
    ]) {
      a.on('error', () => b.destroy());
      a.on('close', () => b.destroy());
      a.pipe(b);
    }
    cable.sockets.add(socket);
    socket.on('close', () => cable.sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cable.port = server.address().port;
  cable.cut = () => cable.sockets.forEach((socket) => socket.resetAndDestroy());
  cable.close = () => {
    cable.cut();
    server.close();
  };
  return cable;
}

export function metadata(fields) {
  const made = new grpc.Metadata();
  for (const [name, value] of Object.entries(fields)) for (const one of [value].flat()) made.add(name, one);
  return made;
}

// A client with a connection of its own.
export function connect(port, authority, { credentials = grpc.credentials.createInsecure(), ...options } = {}) {
  return new Client(`127.0.0.1:${port}`, credentials, {
    'grpc.default_authority': authority,
    'grpc.ssl_target_name_override': authority,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': -1,
    'grpc.enable_retries': 0,
    ...options,
  });
}

// {message, head, status} of a call with one answer; never rejects.
export function ask(client, name, message, fields = {}, options = {}) {
  return new Promise((resolve) => {
    const got = {};
    const call = client[name](message, metadata(fields), options, (error, answer) => {
      got.error = error;
      got.message = answer;
    });
    call.on('metadata', (head) => (got.head = head));
    call.on('status', (status) => resolve(Object.assign(got, { status })));
  });
}

// {messages, status} of a call with many answers, when it is over.
export function collect(call) {
  const got = { messages: [] };
  call.on('metadata', (head) => (got.head = head));
  call.on('data', (message) => got.messages.push(message));
  call.on('error', (error) => (got.error = error));
  return new Promise((resolve) => call.on('status', (status) => resolve(Object.assign(got, { status }))));
}

// What the client's own records say of its connection's keepalive.
export async function keepalivesOf(client) {
  const handlers = grpc.getChannelzHandlers();
  const get = (name, request) =>
    new Promise((resolve, reject) => handlers[name]({ request }, (error, answer) => (error ? reject(error) : resolve(answer))));
  const { channel } = await get('GetChannel', { channel_id: client.getChannel().getChannelzRef().id });
  let sent = 0;
  for (const { subchannel_id } of channel.subchannel_ref) {
    const { subchannel } = await get('GetSubchannel', { subchannel_id });
    for (const { socket_id } of subchannel.socket_ref)
      sent += Number((await get('GetSocket', { socket_id })).socket.data.keep_alives_sent);
  }
  return sent;
}
