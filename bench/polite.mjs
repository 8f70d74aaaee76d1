// polite.mjs PORT RATE SECONDS FIELDS   asks at a constant rate over one connection of HTTP/2 and prints {asked, answered, failed, p50_ms,
// p99_ms, max_ms} as JSON. A request counts from when it was due. FIELDS is the request, as JSON.
import http2 from 'node:http2';

const LATE_MS = 5000; // an answer that takes longer is none
const TICK_MS = 2;

const [port, rate, seconds] = process.argv.slice(2, 5).map(Number);
const fields = JSON.parse(process.argv[5]);
const times = [];
let asked = 0;
let failed = 0;
let session = null;

// Anew when it was ended, as real clients do.
function connected() {
  if (session && !session.destroyed && !session.closed) return session;
  session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  return session;
}

function ask(due) {
  let status;
  asked++;
  let stream;
  try {
    stream = connected().request(fields);
  } catch {
    failed++;
    return;
  }
  stream.setTimeout(LATE_MS, () => stream.close());
  stream.on('response', (head) => (status = head[':status']));
  stream.on('error', () => {});
  stream.on('close', () => {
    if (status === 200 && stream.rstCode === 0) times.push(performance.now() - due);
    else failed++;
  });
  stream.resume();
}

const at = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? null;

function report() {
  times.sort((a, b) => a - b);
  const result = { asked, answered: times.length, failed: asked - times.length };
  Object.assign(result, { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1) });
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}

const begin = performance.now();
const all = rate * seconds;
const ticking = setInterval(() => {
  const due = Math.min(all, Math.floor(((performance.now() - begin) * rate) / 1000));
  while (asked < due) ask(begin + (asked * 1000) / rate);
  if (asked < all) return;
  clearInterval(ticking);
  const deadline = setTimeout(report, LATE_MS);
  const waiting = setInterval(() => {
    if (times.length + failed < asked) return;
    clearInterval(waiting);
    clearTimeout(deadline);
    report();
  }, TICK_MS);
}, TICK_MS);
