// A service that does what a story wants: it keeps the lines of the header that it receives, and answers with
// the lines that it is given.
import { createServer } from 'node:http';

export class StandIn {
  // The lines of the header in each request, by path.
  #received = new Map();

  // What the next answers have in the header, for the ID that came; null hangs up without an answer.
  echoes = (id) => [id];

  static async open(header = 'X-Transaction-ID') {
    const standIn = new StandIn();
    standIn.header = header;
    const server = createServer((request, response) => standIn.#answer(request, response));
    await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
    return Object.assign(standIn, { server, url: `http://127.0.0.1:${server.address().port}` });
  }

  #answer(request, response) {
    const lines = request.rawHeaders.filter((_, at) => at % 2 === 1 && this.#names(request.rawHeaders[at - 1]));
    this.#received.set(request.url, lines);
    const echoed = this.echoes(lines[0]);
    if (!echoed) {
      request.socket.destroy();
      return;
    }
    response.writeHead(200, echoed.flatMap((id) => [this.header, id]));
    response.end('from the stand-in\n');
  }

  #names(name) {
    return name.toLowerCase() === this.header.toLowerCase();
  }

  // The values of the header's lines in the request for a path.
  received(path) {
    return this.#received.get(path);
  }

  async stop() {
    const closed = new Promise((done) => { this.server.close(done); });
    this.server.closeAllConnections();
    await closed;
  }
}
