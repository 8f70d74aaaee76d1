// A backend that can be told to fail: on a port that stays its own.
import http from 'node:http';

export const MODES = ['well', 'refuses', 'hangs', 'fails'];
const SICK_PATH = '/sick';
const FAILURE = 502;

// What is asked below this path fails as told, what is asked elsewhere is answered, unless nothing is.
export const sickBackend = { base_path: SICK_PATH };

export class Fickle {
  static async start() {
    const fickle = new Fickle();
    await fickle.#listen(0);
    fickle.port = fickle.server.address().port;
    return fickle;
  }

  constructor() {
    this.mode = 'well';
    this.reached = 0; // requests that it was to fail
    this.held = [];
  }

  #listen(port) {
    this.server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => this.#answer(request, response));
    return new Promise((resolve, reject) => {
      this.server.on('error', reject);
      this.server.listen(port, '127.0.0.1', resolve);
    });
  }

  #close() {
    for (const response of this.held.splice(0)) response.destroy();
    return new Promise((resolve) => {
      this.server.close(resolve);
      this.server.closeAllConnections();
    });
  }

  #answer(request, response) {
    request.resume();
    const isSick = this.mode !== 'well' && request.url.startsWith(SICK_PATH);
    if (isSick) this.reached++;
    if (isSick && this.mode === 'hangs') this.held.push(response);
    else response.writeHead(isSick ? FAILURE : 200, { 'content-length': 2 }).end('ok');
  }

  async be(mode) {
    if (mode === 'refuses') await this.#close();
    else if (this.mode === 'refuses') await this.#listen(this.port);
    this.mode = mode;
  }

  async stop() {
    if (this.mode !== 'refuses') await this.#close();
  }
}
