// Stand-in server while the real one is being written. Not shipped.
import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { connect } from 'node:net';
import { execFile } from 'node:child_process';
import { randomUUID as uuid } from 'node:crypto';
import { WebSocketServer } from 'ws';
const PORT = Number(process.env.PORT ?? 5180), VNC = Number(process.env.VNC ?? 5977), DISPLAY = process.env.VNC_DISPLAY ?? ':77';
const dist = new URL('../dist/', import.meta.url).pathname;
const iso = (ms = 0) => new Date(Date.now() + ms).toISOString();
const users = [], sessions = [], trash = [], recoveries = [], invites = [], uploads = new Map(), streams = new Set(), cookies = new Map();
const files = new Map(); // path -> {kind,data,modifiedAt}
const put = (p, data, ago = 0) => files.set(p, { kind: data ? 'file' : 'folder', data, modifiedAt: iso(-ago) });
const svgPng = readFileSync(new URL('./sample.png', import.meta.url));
put('Brushes', null); put('portrait.xcf', Buffer.alloc(48_300_000), 3600e3); put('sunset over the hills.png', svgPng, 86400e3 * 2); put('notes.txt', Buffer.from('hello'), 86400e3 * 40); put('Brushes/oil.gbr', Buffer.alloc(1200));
recoveries.push({ id: 'r1', name: 'portrait.xcf', original: 'portrait.xcf', savedAt: iso(-7200e3), size: 4.2e7, sessionId: null }, { id: 'r2', name: 'Untitled', original: null, savedAt: iso(-7100e3), size: 1.2e6, sessionId: null });
for (const [r, st, d, ago] of [['user', 'stopped', 3000e3, 1], ['expired', 'stopped', 7200e3, 2], ['crashed', 'error', 800e3, 4], ['idle', 'stopped', 4000e3, 12]])
  sessions.push({ id: uuid(), userId: 'x', application: 'gimp', status: st, step: null, stage: null, createdAt: iso(-86400e3 * ago), startedAt: iso(-86400e3 * ago + 2000), endedAt: iso(-86400e3 * ago + d), endReason: r, endDetail: null, expiresAt: null, endpoint: '', resources: { cpu: 2, memory: 2e9 }, idleSeconds: null });
const quota = () => ({ usedBytes: [...files.values()].reduce((n, f) => n + (f.data?.length ?? 0), 3.1e9), quotaBytes: 20e9, mechanism: 'image', exceeded: false });
const push = (name, data) => { for (const s of streams) s.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`); };
const change = (s, p) => { Object.assign(s, p); push('session', s); };
const entry = (p) => { const f = files.get(p); return { name: p.split('/').pop(), path: p, kind: f.kind, size: f.data?.length ?? 0, modifiedAt: f.modifiedAt, mediaType: /png|jpe?g/.test(p) ? 'image/png' : null, thumbnail: p.endsWith('.png') }; };
const problem = (res, status, code, detail, extra = {}) => send(res, status, { type: 'about:blank', title: code, status, detail, code, requestId: uuid(), ...extra }, 'application/problem+json');
const CSP = "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
function send(res, status, body, type = 'application/json', headers = {}) {
  res.writeHead(status, { 'content-type': type, 'content-security-policy': CSP, ...headers });
  res.end(body === undefined ? undefined : type.includes('json') ? JSON.stringify(body) : body);
}
const types = { html: 'text/html; charset=utf-8', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', png: 'image/png', webp: 'image/webp' };
const server = createServer(async (req, res) => {
  const url = new URL(req.url, 'http://x'), p = url.pathname, q = url.searchParams, m = req.method;
  if (!p.startsWith('/api/')) {
    const f = dist + (p === '/' || !/\.\w+$/.test(p) ? 'index.html' : p.slice(1));
    return existsSync(f) ? send(res, 200, readFileSync(f), types[f.split('.').pop()]) : send(res, 404, '', 'text/plain');
  }
  const chunks = []; for await (const c of req) chunks.push(c);
  const raw = Buffer.concat(chunks);
  const b = /json/.test(req.headers['content-type'] ?? '') && raw.length ? JSON.parse(raw) : {};
  const cookie = Object.fromEntries((req.headers.cookie ?? '').split('; ').map((c) => c.split('=')));
  const user = cookies.get(cookie.gimp_access);
  const path = p.slice('/api/v1'.length), is = (mm, r) => m === mm && (r instanceof RegExp ? r.exec(path) : path === r);
  const login = (u, st) => { const t = uuid(); cookies.set(t, u); send(res, st, { accessToken: t, refreshToken: t, tokenType: 'Bearer', expiresAt: iso(7200e3), user: u }, 'application/json', { 'set-cookie': `gimp_access=${t}; HttpOnly; SameSite=Strict; Path=/` }); };
  let g;
  if (is('GET', '/auth/config')) return send(res, 200, { registration: 'open', smtp: false, firstUser: users.length === 0, version: '0.1.0' });
  if (is('POST', '/auth/register')) { if (b.email.includes('taken')) return problem(res, 422, 'validation', 'Some fields need attention.', { errors: [{ field: 'email', message: 'There is an account with this address already.' }] }); const u = { id: uuid(), email: b.email, firstName: b.firstName ?? null, lastName: b.lastName ?? null, role: users.length ? 'user' : 'admin', isActive: true, createdAt: iso(), updatedAt: iso(), password: b.password }; users.push(u); return login(u, 201); }
  if (is('POST', '/auth/login')) { const u = users.find((x) => x.email === b.email && x.password === b.password); return u ? login(u, 200) : problem(res, 401, 'auth.badCredentials', 'The e-mail address or the password is wrong.'); }
  if (is('POST', '/auth/refresh')) return problem(res, 401, 'auth.required', 'Sign in.');
  if (is('POST', '/auth/password/forgot')) return send(res, 202);
  if (is('POST', '/auth/password/reset')) return problem(res, 400, 'auth.badToken', 'This link has been used or is too old.');
  if (!user) return problem(res, 401, 'auth.required', 'Sign in to go on.');
  if (is('POST', '/auth/logout')) { cookies.delete(cookie.gimp_access); return send(res, 204); }
  if (is('GET', '/users/profile')) return send(res, 200, user);
  if (is('PUT', '/users/profile')) { Object.assign(user, b); return send(res, 200, user); }
  if (is('PUT', '/users/password')) return b.currentPassword === user.password ? send(res, 204) : problem(res, 422, 'validation', 'Some fields need attention.', { errors: [{ field: 'currentPassword', message: 'This is not your password.' }] });
  if (is('GET', '/users/signins')) return send(res, 200, { signIns: [{ id: 'a', createdAt: iso(-3e6), lastUsedAt: iso(-1e4), address: '127.0.0.1', userAgent: req.headers['user-agent'], current: true }, { id: 'b', createdAt: iso(-9e8), lastUsedAt: iso(-3e8), address: '192.0.2.7', userAgent: 'Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1', current: false }] });
  if (is('DELETE', /^\/users\/signins\/(.+)$/)) return send(res, 204);
  if (is('GET', '/events')) { res.writeHead(200, { 'content-type': 'text/event-stream' }); streams.add(res); res.write(`event: sessions\ndata: ${JSON.stringify({ sessions: sessions.filter((s) => ['starting', 'running'].includes(s.status)) })}\n\n`); res.on('close', () => streams.delete(res)); return; }
  if (is('POST', '/sessions')) {
    const other = sessions.find((s) => ['starting', 'running'].includes(s.status)); if (other) return problem(res, 409, 'session.exists', 'A session is running.', { sessionId: other.id });
    const s = { id: uuid(), userId: user.id, application: 'gimp', status: 'starting', step: 'creatingWorkspace', stage: null, createdAt: iso(), startedAt: null, endedAt: null, endReason: null, endDetail: null, expiresAt: iso(7200e3), endpoint: '', resources: { cpu: 2, memory: 2e9 }, idleSeconds: 0 };
    sessions.unshift(s); const d = Number(process.env.STEP ?? 500);
    setTimeout(() => change(s, { step: 'startingDisplay' }), d); setTimeout(() => change(s, { step: 'startingGimp' }), 2 * d);
    setTimeout(() => change(s, { step: 'ready', status: 'running', startedAt: iso() }), 4 * d);
    return send(res, 201, s);
  }
  if (is('GET', '/sessions')) return send(res, 200, { sessions: sessions.slice(0, 8), nextCursor: null });
  if ((g = /^\/sessions\/([^/]+)(\/\w+)?$/.exec(path))) {
    const s = sessions.find((x) => x.id === g[1]); if (!s) return problem(res, 404, 'notFound', 'There is no such session.');
    if (m === 'GET') return send(res, 200, s);
    if (m === 'DELETE') { change(s, { stage: 'save' }); setTimeout(() => change(s, { status: 'stopped', stage: null, endedAt: iso(), endReason: 'user' }), 1500); return send(res, 202, s); }
    if (g[2] === '/extend') { change(s, { expiresAt: iso(7200e3) }); return send(res, 200, s); }
    if (g[2] === '/open') return send(res, 204);
    if (g[2] === '/screen') { const n = `${b.width}x${b.height}`; return execFile('sh', ['-c', `export DISPLAY=${DISPLAY}; O=$(xrandr | awk '/ connected/{print $1}'); xrandr --newmode ${n} 100 ${b.width} ${b.width} ${b.width} ${b.width} ${b.height} ${b.height} ${b.height} ${b.height}; xrandr --addmode $O ${n}; xrandr --output $O --mode ${n}`], (e) => { if (e) console.log('xrandr', String(e)); send(res, 200, b); }); }
  }
  if (is('GET', '/files')) { const d = q.get('path') ?? ''; if (d && !files.has(d)) return problem(res, 404, 'files.notFound', 'There is no such folder.'); return send(res, 200, { path: d, entries: [...files.keys()].filter((k) => (k.includes('/') ? k.slice(0, k.lastIndexOf('/')) : '') === d).map(entry) }); }
  if (is('POST', '/files/folder')) { if (files.has(b.path)) return problem(res, 409, 'files.exists', 'Exists.'); put(b.path, null); return send(res, 201, entry(b.path)); }
  if (is('POST', '/files/move')) { if (files.has(b.to)) return problem(res, 409, 'files.exists', 'Exists.'); files.set(b.to, files.get(b.from)); files.delete(b.from); return send(res, 200, entry(b.to)); }
  if (is('POST', '/files/trash')) { const f = files.get(b.path); files.delete(b.path); trash.push({ id: uuid(), name: b.path.split('/').pop(), originalPath: b.path, deletedAt: iso(), size: f.data?.length ?? 0, kind: f.kind, f }); return send(res, 204); }
  if (is('GET', '/files/trash')) return send(res, 200, { entries: trash.map(({ f, ...t }) => t) });
  if (is('DELETE', '/files/trash')) { trash.length = 0; return send(res, 204); }
  if ((g = /^\/files\/trash\/([^/]+)(\/restore)?$/.exec(path))) { const i = trash.findIndex((t) => t.id === g[1]); const [t] = trash.splice(i, 1); if (!g[2]) return send(res, 204); files.set(t.originalPath, t.f); return send(res, 200, entry(t.originalPath)); }
  if (is('GET', '/files/content') || is('GET', '/files/thumbnail')) return send(res, 200, files.get(q.get('path')).data, 'image/png');
  if (is('POST', '/files/uploads')) { if (files.has(b.path) && !b.overwrite) return problem(res, 409, 'files.exists', 'There is a file of this name.'); const id = uuid(); uploads.set(id, { ...b, data: [], offset: 0 }); return send(res, 201, { id, offset: 0, chunkSize: 1 << 20 }); }
  if ((g = /^\/files\/uploads\/([^/]+)$/.exec(path))) {
    const u = uploads.get(g[1]); if (!u) return problem(res, 404, 'notFound', 'No such upload.');
    if (m === 'HEAD') return send(res, 204, undefined, 'text/plain', { 'upload-offset': u.offset, 'upload-length': u.size });
    if (m === 'DELETE') { uploads.delete(g[1]); return send(res, 204); }
    await new Promise((r) => setTimeout(r, Number(process.env.SLOW ?? 0)));
    if (Number(req.headers['upload-offset']) !== u.offset) return problem(res, 409, 'upload.offset', 'Wrong offset.');
    u.data.push(raw); u.offset += raw.length;
    if (u.offset >= u.size) { uploads.delete(g[1]); put(u.path, Buffer.concat(u.data)); push('quota', quota()); return send(res, 201, entry(u.path), 'application/json', { 'upload-offset': u.offset }); }
    return send(res, 204, undefined, 'text/plain', { 'upload-offset': u.offset });
  }
  if (is('GET', '/workspace')) return send(res, 200, quota());
  if (is('GET', '/workspace/recoveries')) return send(res, 200, { recoveries });
  if ((g = /^\/workspace\/recoveries\/([^/]+)$/.exec(path)) && m === 'DELETE') { recoveries.splice(recoveries.findIndex((r) => r.id === g[1]), 1); return send(res, 204); }
  if (is('GET', '/admin/users')) return send(res, 200, { users: users.map((u) => ({ ...u, lastSignInAt: iso(-3e5), sessions: 1, usedBytes: 3.1e9, quotaBytes: 20e9 })).concat([{ id: 'q', email: 'a.very.long.address.of.somebody@example.org', firstName: 'Margarethe', lastName: 'von Hohenstein', role: 'user', isActive: false, createdAt: iso(-9e9), updatedAt: iso(), lastSignInAt: null, sessions: 0, usedBytes: null, quotaBytes: null }]), nextCursor: null });
  if (is('PATCH', /^\/admin\/users\/(.+)$/)) return send(res, 200, { ...user, ...b });
  if (is('POST', /reset-link$/)) return send(res, 200, { link: 'https://paint.example.org/reset#token=2c5cba0c-1c1e-4c5e-b7ea-8a3a0f1a1d11' });
  if (is('POST', /sign-out$/)) return send(res, 204);
  if (is('POST', '/admin/invites')) { const i = { code: 'K7QM-3XPA', link: 'https://paint.example.org/register?invite=K7QM-3XPA', email: b.email ?? null, createdAt: iso(), expiresAt: iso(3.6e6 * (b.expiresInHours ?? 72)), usedAt: null }; invites.push(i); return send(res, 201, i); }
  if (is('GET', '/admin/invites')) return send(res, 200, { invites });
  if (is('GET', '/admin/sessions')) return send(res, 200, { sessions: sessions.map((s) => ({ ...s, email: users[0].email })), nextCursor: null });
  if (is('DELETE', /^\/admin\/sessions\/(.+)$/)) return send(res, 202);
  if (is('GET', '/admin/machine')) return send(res, 200, { cores: 2, load1: 0.74, memoryTotal: 25.2e9, memoryAvailable: 14.1e9, diskTotal: 480e9, diskAvailable: 61e9, sessionsRunning: 3, sessionLimit: 8, protections: [{ name: 'Own uid per user', on: true, detail: 'uids 200000 to 265535' }, { name: 'Network cut off', on: true, detail: 'network namespace' }, { name: 'System call filter', on: false, detail: 'no filter is loaded; add --seccomp to turn it on' }, { name: 'Memory limit', on: true, detail: 'cgroup v1' }], version: '0.1.0', uptimeSeconds: 93_000 });
  if (is('GET', '/admin/audit')) return send(res, 200, { entries: [{ at: iso(-1e5), kind: 'signIn', userId: user.id, email: user.email, address: '127.0.0.1', detail: null }, { at: iso(-2e5), kind: 'signInFailed', userId: null, email: 'mallory@example.org', address: '203.0.113.9', detail: 'wrong password' }], nextCursor: null });
  if (is('POST', '/_notice')) { push('notice', b); return send(res, 204); }
  problem(res, 404, 'notFound', 'No such address: ' + path);
});
const wss = new WebSocketServer({ noServer: true, handleProtocols: () => 'binary' });
const live = new Set();
server.on('upgrade', (req, sock, head) => {
  if (process.env.BLOCK === '1') return sock.destroy();
  wss.handleUpgrade(req, sock, head, (ws) => { const t = connect(VNC, '127.0.0.1'); live.add(ws); t.setNoDelay(true); t.on('data', (d) => ws.send(d)); ws.on('message', (d) => t.write(d)); t.on('close', () => ws.close()); t.on('error', () => ws.close()); ws.on('close', () => { live.delete(ws); t.destroy(); }); });
});
process.on('SIGUSR2', () => { for (const ws of live) ws.terminate(); });
server.listen(PORT, '127.0.0.1', () => console.log('mock on', PORT));
