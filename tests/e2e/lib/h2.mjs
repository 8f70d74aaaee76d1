// HTTP/2 by hand: frames as bytes, for clients that no library would be. Start with `open` and `frame`.
import { once } from 'node:events';
import net from 'node:net';
import { within } from './wait.mjs';

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

export const END_STREAM = 1;
export const END_HEADERS = 4;
export const ACK = 1;
export const CANCEL = 8;
export const ENHANCE_YOUR_CALM = 11;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const NOTHING = Buffer.alloc(0);

export function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function frame(type, flags, id, payload = NOTHING) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

export function setting(id, value) {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value, 2);
  return bytes;
}

// RFC 7541 section 5.1, with a prefix of 7 bits.
function lengthOf(text) {
  if (text.length < 127) return [text.length];
  const bytes = [127];
  let rest = text.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(128 | rest % 128);
  return [...bytes, rest];
}

const stringOf = (text) => [Buffer.from(lengthOf(text)), Buffer.from(text, 'latin1')];

// A literal; kind 0x00: not indexed, 0x40: into the table.
export function field(name, value, kind = 0) {
  return Buffer.concat([Buffer.from([kind]), ...stringOf(name), ...stringOf(value)]);
}

export function block(fields, kind) {
  return Buffer.concat(Object.entries(fields).map(([name, value]) => field(name, value, kind)));
}

export function headers(id, fields, flags = END_STREAM | END_HEADERS) {
  return frame(HEADERS, flags, id, Buffer.isBuffer(fields) ? fields : block(fields));
}

// A connection on which the test writes what it likes. `goaway` is the code of the one that came, `failure` what
// ended it other than orderly.
export class H2Socket {
  // isBare: neither preface nor SETTINGS. settings: those of the client. reads: false to take nothing that comes. isPolite: answers
  // SETTINGS and PING.
  static async open(port, { isBare = false, settings = NOTHING, reads = true, isPolite = false } = {}) {
    const made = new H2Socket();
    made.socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    made.isClosed = false;
    made.pending = NOTHING;
    made.resets = [];
    made.answers = []; // streams whose answer has begun
    made.ends = []; // and is whole
    made.isPolite = isPolite;
    made.sent = 0;
    made.ended = new Promise((resolve) => made.socket.on('close', resolve)).then(() => (made.isClosed = true));
    made.socket.on('error', (error) => (made.failure = error)); // and the end tells
    if (reads) made.socket.on('data', (data) => made.#take(data));
    await once(made.socket, 'connect');
    if (!isBare) made.write(PREFACE, frame(SETTINGS, 0, 0, settings));
    return made;
  }

  #take(data) {
    this.pending = Buffer.concat([this.pending, data]);
    while (this.pending.length >= 9) {
      const end = 9 + this.pending.readUIntBE(0, 3);
      if (this.pending.length < end) return;
      this.#see(this.pending[3], this.pending[4], this.pending.readUInt32BE(5), this.pending.subarray(9, end));
      this.pending = this.pending.subarray(end);
    }
  }

  #see(type, flags, id, payload) {
    if (this.isPolite && (type === SETTINGS || type === PING) && !(flags & ACK)) this.write(frame(type, ACK, 0, type === PING ? payload : NOTHING));
    if ((type === HEADERS || type === DATA) && flags & END_STREAM) this.ends.push(id);
    if (type === GOAWAY) this.goaway = payload.readUInt32BE(4);
    if (type === SETTINGS) this.hasSettings = true;
    if (type === RST_STREAM) this.resets.push({ id, code: payload.readUInt32BE(0) });
    if (type === HEADERS) this.answers.push(id);
  }

  write(...frames) {
    if (!this.isClosed) this.socket.write(Buffer.concat(frames));
  }

  // round(i) is a buffer; at most so many of them, with what came read in between.
  async flood(rounds, round) {
    for (let i = 0; i < rounds && !this.isClosed && this.goaway === undefined; i++) {
      this.sent++;
      if (!this.socket.write(round(i))) await Promise.race([once(this.socket, 'drain').catch(() => {}), this.ended]);
      else if (i % 64 === 63) await new Promise(setImmediate);
    }
  }

  whenEnded(what = 'the end of the connection') {
    return within(what, this.ended);
  }

  close() {
    this.socket.destroy();
  }
}
