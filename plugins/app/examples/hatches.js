// Hatches inside a Node app, with Node's standard library alone: docs/hatchkit.md has the protocol.
// Copy it beside the app, then: require('./hatches').hatch({name: 'rebuild-index', …}, async ({shop}) => …).
// SPDX-License-Identifier: MIT
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');

const MAX_BODY = 1024 * 1024, MAX_HEAD = 16 * 1024, MAX_CONNECTIONS = 64;
const STATUS = {'malformed': 400, 'hatch-unknown': 404, 'method': 405, 'too-large': 413, 'params-invalid': 422,
                'hatch-failed': 500, 'hatch-timeout': 504};
const hatches = new Map();

class Problem extends Error {
  constructor(code, detail, more = {}) {
    super(detail);
    this.code = code;
    this.more = more;
  }
}

// `about`: {name, title, documentation, effect, parameters: {name: schema}, required: [name], timeout_ms, mark}.
function hatch(about, run) {
  hatches.set(about.name, {run, about: {
    name: about.name,
    title: about.title,
    documentation: about.documentation || about.title,
    effect: about.effect || 'act',
    parameters: {type: 'object', properties: about.parameters || {}, required: about.required || [],
                 additionalProperties: false},
    timeout_ms: about.timeout_ms || 30000,
    ...(about.mark ? {mark: about.mark} : {}),
  }});
}

function isOf(type, value) {
  switch (type) {
    case 'string': case 'boolean': return typeof value === type;
    case 'number': return typeof value === 'number';
    case 'integer': return Number.isInteger(value);
    case 'array': return Array.isArray(value);
    case 'object': return value !== null && typeof value === 'object' && !Array.isArray(value);
    default: return true;
  }
}

function checked(schema, text) {
  let params;
  try {
    params = text.trim() === '' ? {} : JSON.parse(text);
  } catch {
    throw new Problem('malformed', 'the body is not JSON');
  }
  if (!isOf('object', params)) throw new Problem('malformed', 'the body is not an object of parameters');
  const errors = [];
  for (const name of Object.keys(params)) {
    const own = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined;
    if (!own) errors.push({pointer: '/' + name, detail: 'unknown'});
    else if (!isOf(own.type, params[name])) errors.push({pointer: '/' + name, detail: 'must be of type ' + own.type});
  }
  for (const name of schema.required)
    if (!Object.hasOwn(params, name)) errors.push({pointer: '/' + name, detail: 'is required'});
  if (errors.length > 0)
    throw new Problem('params-invalid', errors[0].pointer + ': ' + errors[0].detail, {errors});
  for (const [name, own] of Object.entries(schema.properties))
    if (!Object.hasOwn(params, name) && 'default' in own) params[name] = own.default;
  return params;
}

function bodyOf(request) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    let size = 0;
    if (Number(request.headers['content-length'] || 0) > MAX_BODY)
      return reject(new Problem('too-large', 'the body is larger than 1 MiB'));
    request.on('data', piece => {
      size += piece.length;
      if (size > MAX_BODY) return reject(new Problem('too-large', 'the body is larger than 1 MiB'));
      pieces.push(piece);
    });
    request.on('end', () => resolve(new TextDecoder('utf-8').decode(Buffer.concat(pieces))));
    request.on('error', reject);
    request.on('close', () => reject(new Error('the caller left')));
  });
}

async function run(entry, params) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Problem('hatch-timeout', 'it has not ended; it goes on')), entry.about.timeout_ms);
    timer.unref();
  });
  const begun = performance.now();
  try {
    const result = await Promise.race([Promise.resolve().then(() => entry.run(params)), late]);
    return {result: result === undefined ? null : result, ms: performance.now() - begun};
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('hatch-failed', String(error && error.message || error), {traceback: String(error && error.stack)});
  } finally {
    clearTimeout(timer);
  }
}

async function answer(request) {
  const target = request.url.split('?')[0];
  if (target === '/hatches') {
    if (request.method !== 'GET') throw new Problem('method', 'GET /hatches lists');
    return {protocol: 1, process: {pid: process.pid, program: process.argv.slice(1, 3).join(' '), language: 'node ' + process.version},
            hatches: [...hatches.values()].map(entry => entry.about)};
  }
  if (!target.startsWith('/hatches/')) throw new Problem('hatch-unknown', 'there are GET /hatches and POST /hatches/NAME');
  if (request.method !== 'POST') throw new Problem('method', 'POST runs a hatch; nothing runs by ' + request.method);
  const entry = hatches.get(target.slice('/hatches/'.length));
  const body = await bodyOf(request);
  if (!entry) throw new Problem('hatch-unknown', 'there is no such hatch');
  return run(entry, checked(entry.about.parameters, body));
}

function folder() {
  if (process.env.HATCH_DIR) return process.env.HATCH_DIR;
  try {
    fs.accessSync('/run/hatch-app', fs.constants.W_OK);
    return '/run/hatch-app';
  } catch {
    return '/tmp/hatch-app-' + process.geteuid();
  }
}

// Opens the socket. Whatever goes wrong is told on stderr and never stops the app. Node cannot ask who calls, so the
// folder must be private or shared by a group.
function open() {
  try {
    const own = folder();
    fs.mkdirSync(own, {recursive: true, mode: 0o700});
    const info = fs.lstatSync(own);
    if (!info.isDirectory() || (info.mode & 0o007) !== 0)
      throw new Error(own + ' can be entered by everybody; hatches need a private folder');
    if (own.startsWith('/tmp/') && info.uid !== process.geteuid()) throw new Error(own + ' is somebody else\'s');
    const file = path.join(own, process.pid + '.sock');
    fs.rmSync(file, {force: true});  // of an earlier process of this number
    const server = http.createServer({maxHeaderSize: MAX_HEAD, requestTimeout: 10000}, (request, response) => {
      answer(request).then(body => [200, 'application/json', body], error => {
        const code = error instanceof Problem ? error.code : 'malformed';
        const status = STATUS[code];
        return [status, 'application/problem+json', {status, code, detail: error.message || code, ...(error.more || {})}];
      }).then(([status, type, body]) => {
        let text;
        try {
          text = JSON.stringify(body);
        } catch (error) {  // a result that holds itself, or a BigInt
          [status, type] = [500, 'application/problem+json'];
          text = JSON.stringify({status, code: 'hatch-failed', detail: 'the result is no JSON: ' + error.message});
        }
        response.writeHead(status, {'Content-Type': type, 'Content-Length': Buffer.byteLength(text), 'Connection': 'close'});
        response.end(text);
      }).catch(() => response.destroy());
    });
    server.maxConnections = MAX_CONNECTIONS;
    server.on('error', error => console.error('hatches are closed:', error.message));
    // The mode is the folder's matter; unref: an app with nothing left to do ends.
    server.listen({path: file, readableAll: true, writableAll: true}, () => server.unref());
    process.on('exit', () => fs.rmSync(file, {force: true}));
    return server;
  } catch (error) {
    console.error('hatches are closed:', error.message);
  }
}

module.exports = {hatch, open};

if (require.main === module) {
  hatch({name: 'echo', title: 'Give the text back', effect: 'observe', parameters: {text: {type: 'string'}},
         required: ['text']}, ({text}) => text);
  hatch({name: 'fail', title: 'Fail on purpose'}, () => { throw new Error('on purpose'); });
  open();
  setInterval(() => {}, 1 << 30);  // the app
}
