// Writes the page from openapi.json. All text of it becomes text nodes: nothing in a description is markup.
'use strict';

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];
const STATUS = {
  200: 'OK', 201: 'Created', 202: 'Accepted', 204: 'No Content', 206: 'Partial Content', 303: 'See Other', 304: 'Not Modified', 400: 'Bad Request',
  401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 408: 'Request Timeout', 409: 'Conflict', 410: 'Gone', 412: 'Precondition Failed',
  413: 'Content Too Large', 414: 'URI Too Long', 415: 'Unsupported Media Type', 416: 'Range Not Satisfiable', 422: 'Unprocessable Content',
  429: 'Too Many Requests', 431: 'Request Header Fields Too Large', 500: 'Internal Server Error', 503: 'Service Unavailable', 507: 'Insufficient Storage',
};
let api;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes ?? {})) made.setAttribute(attribute, value);
  made.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== ''));
  return made;
}

const code = (text) => element('code', {}, text);

// A line of text in which `this` is code.
const inline = (text) => text.split('`').map((part, i) => (i % 2 ? code(part) : part));

// Paragraphs, and lists whose lines begin with a dash.
function prose(text) {
  return (text ?? '').split(/\n\n/).filter(Boolean).map((block) => {
    const lines = block.split('\n');
    const intro = lines.filter((line) => !line.startsWith('- ')).join(' ');
    const items = lines.filter((line) => line.startsWith('- '));
    return [
      intro && element('p', {}, inline(intro)),
      items.length ? element('ul', {}, items.map((line) => element('li', {}, inline(line.slice(2))))) : undefined,
    ];
  });
}

const resolve = (thing) => (thing?.$ref ? thing.$ref.slice(2).split('/').reduce((at, name) => at?.[name.replaceAll('~1', '/')], api) : thing);
const nameOf = (reference) => reference.slice(reference.lastIndexOf('/') + 1);
const isAbsent = (schema) => schema.$ref?.endsWith('/Absent') || schema.type === 'null';
const separated = (things, separator) => things.flatMap((thing, i) => (i ? [separator, thing] : [thing]));

// What a schema is, in a line.
function kind(schema) {
  if (schema === undefined || schema === true || Object.keys(schema).length === 0) return 'anything';
  if (schema.$ref) return element('a', { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref));
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum) return separated(schema.enum.map((value) => code(JSON.stringify(value))), ' | ');
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives && !schema.properties) return separated(alternatives.filter((one) => !isAbsent(one)).map(kind), ' | ');
  if (schema.allOf && !schema.properties) return separated(schema.allOf.filter((one) => one.$ref).map(kind), ' & ');
  const types = [schema.type ?? (schema.properties ? 'object' : 'anything')].flat();
  const bounds = [
    schema.format, schema.contentMediaType,
    schema.minimum !== undefined && schema.maximum !== undefined ? `${schema.minimum} to ${schema.maximum}` : undefined,
    schema.default !== undefined ? `default ${JSON.stringify(schema.default)}` : undefined,
  ].filter(Boolean);
  const words = types.map((type) => (type === 'array' ? ['list of ', kind(schema.items)] : type));
  return [separated(words, ' or '), bounds.length ? ` (${bounds.join(', ')})` : ''];
}

// The fields that a schema has of its own, alternatives and parts included.
function fields(schema) {
  const parts = [...(schema.allOf ?? []), ...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].filter((part) => !part.$ref);
  const inner = [schema.items, schema.additionalProperties].filter((part) => part && typeof part === 'object' && !part.$ref);
  const tables = [...parts, ...inner].flatMap(fields);
  if (!schema.properties) return tables;
  const needed = schema.required ?? [];
  const rows = Object.entries(schema.properties).map(([name, field]) => element('tr', {},
    element('th', { scope: 'row' }, element('code', needed.includes(name) ? { class: 'needed', title: 'always there' } : {}, name)),
    element('td', {}, kind(field)),
    element('td', {}, inline(field.description ?? ''), field.pattern ? element('div', { class: 'quiet' }, code(field.pattern)) : '', field.$ref ? [] : fields({ ...field, description: '' })),
  ));
  return [element('table', {}, element('tbody', {}, rows)), ...tables];
}

function contents(content) {
  return Object.entries(content ?? {}).map(([type, { schema, encoding }]) => [
    element('p', {}, code(type), ': ', kind(schema)),
    Object.entries(encoding ?? {}).map(([part, { contentType }]) => element('p', { class: 'quiet' }, 'part ', code(part), ': ', code(contentType ?? ''))),
    schema?.$ref ? [] : fields(schema ?? {}),
  ]);
}

// Which token an operation asks for.
function token(security) {
  if (!security) return 'none needed';
  const scheme = ([name, scopes]) => [code(name), scopes.length ? [' with the scope ', separated(scopes.map(code), ', ')] : ''];
  const needed = separated(security.map(Object.entries).filter((way) => way.length).map((way) => way.map(scheme)), ' or ');
  return [needed, security.some((way) => !Object.keys(way).length) ? '; may be left out' : ''];
}

function parameters(all) {
  if (!all.length) return [];
  const rows = all.map(resolve).map((parameter) => element('tr', {},
    element('th', { scope: 'row' }, element('code', parameter.required ? { class: 'needed', title: 'needed' } : {}, parameter.name), ' ', element('span', { class: 'quiet' }, parameter.in)),
    element('td', {}, kind(parameter.schema)),
    element('td', {}, inline(parameter.description ?? '')),
  ));
  return [element('h4', {}, 'Parameters'), element('table', {}, element('tbody', {}, rows))];
}

function response([status, given]) {
  const answer = resolve(given);
  const [first] = (answer.description ?? '').split('\n');
  const codes = [...(answer.description ?? '').matchAll(/^- `(\w+)`/gm)].map((match) => match[1]);
  const said = codes.length ? separated(codes.map(code), ' ') : inline(first);
  const headers = Object.entries(answer.headers ?? {}).map(([name, header]) => element('li', {}, code(name), ': ', inline(resolve(header).description ?? '')));
  return element('details', {},
    element('summary', {}, element('strong', {}, status), ` ${STATUS[status] ?? ''} `, element('span', { class: 'quiet' }, said)),
    codes.length ? prose(answer.description) : [],
    contents(answer.content),
    Object.entries(answer.links ?? {}).map(([name, link]) => element('p', { class: 'quiet' }, 'Leads to ', element('a', { href: `#${link.operationId}` }, name))),
    headers.length ? [element('p', { class: 'quiet' }, 'Headers'), element('ul', { class: 'quiet' }, headers)] : [],
  );
}

function operation(path, method, shared, described) {
  const body = resolve(described.requestBody);
  return element('section', { id: described.operationId, 'data-find': `${method} ${path} ${JSON.stringify(described)}`.toLowerCase() },
    element('h3', {}, element('span', { class: `method ${method}` }, method), ' ', path),
    element('p', { class: 'summary' }, inline(described.summary ?? '')),
    prose(described.description),
    path.startsWith('/') ? element('p', { class: 'quiet' }, 'Authorization: ', token(described.security)) : [],
    parameters([...(described.parameters ?? []), ...shared]),
    body ? [element('h4', {}, 'Body'), prose(body.description), contents(body.content)] : [],
    element('h4', {}, 'Answers'),
    Object.entries(described.responses).map(response),
  );
}

function schema([name, described]) {
  const line = described.properties || described.allOf ? [] : element('p', {}, kind(described));
  return element('section', { id: `schema-${name}`, 'data-find': `${name} ${JSON.stringify(described)}`.toLowerCase() },
    element('h3', {}, name), prose(described.description), line,
    described.allOf ? element('p', {}, kind({ allOf: described.allOf })) : [],
    described.pattern ? element('p', { class: 'quiet' }, code(described.pattern)) : [],
    fields(described),
  );
}

function group(title, description, sections, links) {
  document.querySelector('#contents').append(element('h2', {}, title), element('ul', {}, links.map((link) => element('li', {}, link))));
  document.querySelector('#description').append(element('h2', {}, title), ...prose(description).flat(Infinity).filter(Boolean), ...sections);
}

function operations(paths) {
  return Object.entries(paths ?? {}).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({ path, method, shared: item.parameters ?? [], described: item[method] })));
}

function write() {
  document.querySelector('#version').textContent = api.info.version;
  document.querySelector('#description').replaceChildren(...prose(api.info.description).flat(Infinity).filter(Boolean));
  const link = ({ path, method, described }) => element('a', { href: `#${described.operationId}` }, element('span', { class: `method ${method}` }, method), path);
  const section = ({ path, method, shared, described }) => operation(path, method, shared, described);
  const all = operations(api.paths);
  for (const { name, description } of api.tags) {
    const tagged = all.filter(({ described }) => described.tags?.includes(name));
    group(name, description, tagged.map(section), tagged.map(link));
  }
  const callbacks = operations(api.webhooks);
  group('Callbacks', 'What this server sends to the address that a job names.', callbacks.map(section), callbacks.map(link));
  const schemas = Object.entries(api.components.schemas);
  group('Schemas', 'A field with a star is always there.', schemas.map(schema), schemas.map(([name]) => element('a', { href: `#schema-${name}` }, name)));
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll('section')) {
    const hidden = !words.every((word) => section.dataset.find.includes(word));
    section.hidden = hidden;
    document.querySelector(`nav a[href="#${CSS.escape(section.id)}"]`).parentElement.hidden = hidden;
  }
}

async function show() {
  const main = document.querySelector('#description');
  try {
    const answer = await fetch('openapi.json');
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    api = await answer.json();
    write();
  } catch (error) {
    main.replaceChildren(element('p', { role: 'alert' }, `The description can't be shown: ${error.message}. `, element('a', { href: '' }, 'Try again')));
  }
  main.removeAttribute('aria-busy');
  document.querySelector('#find').addEventListener('input', ({ target }) => find(target.value));
  // What the address names wasn't there when the browser looked for it.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

show();
