// Stands before Pixerve, passes everything on, and does to what comes to show pictures what a test says: `gate.mjs PORT HOST:PORT`.
//
//   POST /gate/hold?after=3   from now on pictures wait, but for the first three
//   POST /gate/release        what waits passes, and whatever comes
//   POST /gate/seen           { seen: [{ path, accept, type, status, location, bytes }], waiting }: the requests for pictures since
//                             this was asked last without `?keep`, and how many of all wait
import { createServer, request as ask } from 'node:http';

const [, , port, to] = process.argv;
const [hostname, toPort] = to.split(':');
const isPicture = (path) => /^\/(files|image|private)\//.test(path);
let passing = Infinity;
let waiting = [];
let seen = [];

function pass(request, response, note) {
  const { method, url: path } = request;
  // A connection each: one that is kept may be closed by the server at the moment when it is used again.
  const headers = { ...request.headers, connection: 'close' };
  const passed = ask({ hostname, port: toPort, method, path, headers, agent: false }, (answer) => {
    const { connection, ...told } = answer.headers;
    Object.assign(note, { type: told['content-type'], status: answer.statusCode, location: told['content-location'] });
    response.writeHead(answer.statusCode, told);
    answer.on('data', (bytes) => { note.bytes += bytes.length; });
    answer.pipe(response);
  });
  passed.on('error', () => response.destroy());
  response.on('close', () => passed.destroy());
  request.pipe(passed);
}

const commands = {
  '/gate/hold': (query) => { passing = Number(query.get('after')); },
  '/gate/release': () => {
    passing = Infinity;
    waiting.splice(0).forEach((go) => go());
  },
  '/gate/seen': (query) => {
    const told = { seen, waiting: waiting.length };
    if (!query.has('keep')) seen = [];
    return told;
  },
};

createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://gate');
  const command = commands[pathname];
  if (command) return response.end(JSON.stringify(command(searchParams) ?? {}));
  const note = { path: request.url, accept: request.headers.accept, bytes: 0 };
  const go = () => pass(request, response, note);
  if (!isPicture(request.url)) return go();
  seen.push(note);
  if (passing <= 0) return waiting.push(go);
  passing -= 1;
  return go();
}).listen(port, '127.0.0.1');
