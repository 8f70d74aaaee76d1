// One statement on a SQLite database, by Python's own module: Node 18 has none.
import { execFileSync } from 'node:child_process';

const script = 'import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2])\nc.commit()\nc.close()';

export function execute(file, statement) {
  execFileSync('python3', ['-c', script, file, statement]);
}
