// attacker.mjs PORT NAME FIELDS   one attack of the table (tests/e2e/lib/h2-attacks.mjs), on a few connections at a time, each begun anew when
// it has ended or has sent its rounds, until SIGTERM; then prints {connections, ended, rounds} as JSON. FIELDS is the request, as
// JSON.
import { attacks } from '../tests/e2e/lib/h2-attacks.mjs';
import { H2Socket } from '../tests/e2e/lib/h2.mjs';

const AT_A_TIME = 4;
const AT_REST_MS = 200; // for a server that lets its rounds be

const [port, name, request] = process.argv.slice(2);
const attack = attacks.find((one) => one.name === name);
const get = JSON.parse(request);
const fields = { get, large: get };
const sum = { connections: 0, ended: 0, rounds: 0 };
// Made once: what an attack costs is to be the server's.
const rounds = Array.from({ length: attack.rounds }, (_, i) => attack.round(i, fields));

async function attackOn() {
  for (;;) {
    const socket = await H2Socket.open(Number(port), { settings: attack.settings }).catch(() => null);
    if (!socket) continue;
    sum.connections++;
    await socket.flood(attack.rounds, (i) => rounds[i]);
    sum.rounds += socket.sent;
    await Promise.race([socket.ended, new Promise((resolve) => setTimeout(resolve, AT_REST_MS))]);
    if (socket.isClosed || socket.goaway !== undefined) sum.ended++;
    socket.close();
  }
}

process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(sum)}\n`, () => process.exit(0));
});
for (let i = 0; i < AT_A_TIME; i++) attackOn();
process.stdout.write('ready\n');
