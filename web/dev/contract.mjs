// Writes the REST contract of docs/architecture.md as OpenAPI until the server generates its own.
import { writeFileSync } from 'node:fs';
const S = (type, extra = {}) => ({ type, ...extra });
const str = S('string'), int = S('integer'), num = S('number'), bool = S('boolean');
const nul = (s) => ({ type: [s.type, 'null'], ...(s.enum ? { enum: [...s.enum, null] } : {}) });
const en = (...v) => S('string', { enum: v });
const arr = (items) => ({ type: 'array', items });
const ref = (n) => ({ $ref: `#/components/schemas/${n}` });
// keys ending in ? are optional
const obj = (props) => ({
  type: 'object',
  properties: Object.fromEntries(Object.entries(props).map(([k, v]) => [k.replace(/\?$/, ''), v])),
  required: Object.keys(props).filter((k) => !k.endsWith('?')),
});
const ext = (n, props) => ({ allOf: [ref(n), obj(props)] });
const step = en('creatingWorkspace', 'startingDisplay', 'startingGimp', 'ready');
const stage = en('save', 'quit', 'terminate', 'kill', 'display');
const status = en('starting', 'running', 'stopped', 'error');
const reason = en('user', 'expired', 'idle', 'crashed', 'evicted', 'admin');
const screen = { width: int, height: int, scale: num };
const schemas = {
  Problem: obj({ type: str, title: str, status: int, 'detail?': str, code: str, 'requestId?': str, 'sessionId?': str, 'errors?': arr(ref('FieldError')) }),
  FieldError: obj({ field: str, message: str }),
  User: obj({ id: str, email: str, firstName: nul(str), lastName: nul(str), role: en('user', 'admin'), isActive: bool, createdAt: str, updatedAt: str }),
  Login: obj({ accessToken: str, refreshToken: str, tokenType: str, expiresAt: str, user: ref('User') }),
  AuthConfig: obj({ registration: en('open', 'invite', 'closed'), smtp: bool, firstUser: bool, version: str }),
  SignIn: obj({ id: str, createdAt: str, lastUsedAt: str, address: nul(str), userAgent: nul(str), current: bool }),
  SignIns: obj({ signIns: arr(ref('SignIn')) }),
  Screen: obj(screen),
  SessionStatus: status, StartStep: step, EndStage: stage, EndReason: reason,
  Resources: obj({ cpu: num, memory: int }),
  Session: obj({ id: str, userId: str, application: str, status: ref('SessionStatus'), step: nul(step), stage: nul(stage), createdAt: str, startedAt: nul(str), endedAt: nul(str), endReason: nul(reason), endDetail: nul(str), expiresAt: nul(str), endpoint: str, resources: ref('Resources'), idleSeconds: nul(int) }),
  SessionList: obj({ sessions: arr(ref('Session')), nextCursor: nul(str) }),
  StatusRestart: obj({ at: str, what: str, cause: str }),
  Capabilities: obj({ vnc: bool, resize: bool, openFiles: bool, penUnavailable: nul(str) }),
  SessionDetail: obj({ status: ref('SessionStatus'), step: nul(step), stage: nul(stage), detail: nul(str), idleSeconds: nul(int), viewers: int, gimpVersion: nul(str), capabilities: ref('Capabilities'), restarts: arr(ref('StatusRestart')), expiresAt: nul(str) }),
  Notice: obj({ sessionId: str, kind: en('expiring', 'idle', 'restarted', 'overQuota'), detail: str, at: str }),
  Entry: obj({ name: str, path: str, kind: en('file', 'folder'), size: int, modifiedAt: str, mediaType: nul(str), thumbnail: bool }),
  Listing: obj({ path: str, entries: arr(ref('Entry')) }),
  TrashEntry: obj({ id: str, name: str, originalPath: str, deletedAt: str, size: int, kind: en('file', 'folder') }),
  Trash: obj({ entries: arr(ref('TrashEntry')) }),
  Upload: obj({ id: str, offset: int, chunkSize: int }),
  Quota: obj({ usedBytes: int, quotaBytes: int, mechanism: en('projectQuota', 'image', 'watcher'), exceeded: bool }),
  Recovery: obj({ id: str, name: str, original: nul(str), savedAt: str, size: int, sessionId: nul(str) }),
  Recoveries: obj({ recoveries: arr(ref('Recovery')) }),
  AdminUser: ext('User', { lastSignInAt: nul(str), sessions: int, usedBytes: nul(int), quotaBytes: nul(int) }),
  AdminUsers: obj({ users: arr(ref('AdminUser')), nextCursor: nul(str) }),
  Invite: obj({ code: str, link: str, email: nul(str), createdAt: str, expiresAt: str, usedAt: nul(str) }),
  Invites: obj({ invites: arr(ref('Invite')) }),
  AdminSession: ext('Session', { email: str }),
  AdminSessions: obj({ sessions: arr(ref('AdminSession')), nextCursor: nul(str) }),
  Protection: obj({ name: str, on: bool, detail: str }),
  Machine: obj({ cores: int, load1: num, memoryTotal: int, memoryAvailable: int, diskTotal: int, diskAvailable: int, sessionsRunning: int, sessionLimit: int, protections: arr(ref('Protection')), version: str, uptimeSeconds: int }),
  AuditEntry: obj({ at: str, kind: str, userId: nul(str), email: nul(str), address: nul(str), detail: nul(str) }),
  Audit: obj({ entries: arr(ref('AuditEntry')), nextCursor: nul(str) }),
};
const json = (schema) => ({ 'application/json': { schema: typeof schema === 'string' ? ref(schema) : schema } });
const q = (...names) => names.map((n) => ({ name: n, in: 'query', required: false, schema: n === 'limit' ? int : str }));
const paths = {};
function op(method, path, { body, query = [], ok = 204, out, header = [] } = {}) {
  const params = [...path.matchAll(/\{(\w+)\}/g)].map((m) => ({ name: m[1], in: 'path', required: true, schema: str }));
  (paths['/api/v1' + path] ??= {})[method] = {
    parameters: [...params, ...q(...query), ...header.map((n) => ({ name: n, in: 'header', required: true, schema: int }))],
    ...(body ? { requestBody: { required: true, content: json(body) } } : {}),
    responses: {
      [ok]: { description: 'ok', ...(out ? { content: json(out) } : {}) },
      default: { description: 'problem', content: { 'application/problem+json': { schema: ref('Problem') } } },
    },
  };
}
op('post', '/auth/register', { body: obj({ email: str, password: str, 'firstName?': str, 'lastName?': str, 'inviteCode?': str }), ok: 201, out: 'Login' });
op('post', '/auth/login', { body: obj({ email: str, password: str }), ok: 200, out: 'Login' });
op('post', '/auth/refresh', { body: obj({ 'refreshToken?': str }), ok: 200, out: 'Login' });
op('post', '/auth/logout', { body: obj({ 'everywhere?': bool }) });
op('post', '/auth/password/forgot', { body: obj({ email: str }), ok: 202 });
op('post', '/auth/password/reset', { body: obj({ token: str, password: str }) });
op('get', '/auth/config', { ok: 200, out: 'AuthConfig' });
op('get', '/users/profile', { ok: 200, out: 'User' });
op('put', '/users/profile', { body: obj({ 'email?': str, 'firstName?': str, 'lastName?': str, 'currentPassword?': str }), ok: 200, out: 'User' });
op('put', '/users/password', { body: obj({ currentPassword: str, newPassword: str }) });
op('get', '/users/signins', { ok: 200, out: 'SignIns' });
op('delete', '/users/signins/{id}');
op('post', '/sessions', { body: obj({ 'application?': str, 'resources?': ref('Resources'), 'screen?': ref('Screen') }), ok: 201, out: 'Session' });
op('get', '/sessions', { query: ['limit', 'cursor'], ok: 200, out: 'SessionList' });
op('get', '/sessions/{id}', { ok: 200, out: 'Session' });
op('get', '/sessions/{id}/status', { ok: 200, out: 'SessionDetail' });
op('delete', '/sessions/{id}', { ok: 202, out: 'Session' });
op('post', '/sessions/{id}/extend', { ok: 200, out: 'Session' });
op('put', '/sessions/{id}/screen', { body: 'Screen', ok: 200, out: 'Screen' });
op('post', '/sessions/{id}/open', { body: obj({ 'path?': str, 'recoveryId?': str }) });
op('get', '/files', { query: ['path'], ok: 200, out: 'Listing' });
op('post', '/files/folder', { body: obj({ path: str }), ok: 201, out: 'Entry' });
op('post', '/files/move', { body: obj({ from: str, to: str }), ok: 200, out: 'Entry' });
op('post', '/files/trash', { body: obj({ path: str }) });
op('get', '/files/trash', { ok: 200, out: 'Trash' });
op('delete', '/files/trash');
op('post', '/files/trash/{id}/restore', { ok: 200, out: 'Entry' });
op('delete', '/files/trash/{id}');
op('post', '/files/uploads', { body: obj({ path: str, size: int, 'overwrite?': bool }), ok: 201, out: 'Upload' });
op('delete', '/files/uploads/{id}');
op('get', '/workspace', { ok: 200, out: 'Quota' });
op('get', '/workspace/recoveries', { ok: 200, out: 'Recoveries' });
op('delete', '/workspace/recoveries/{id}');
op('get', '/admin/users', { query: ['query', 'cursor'], ok: 200, out: 'AdminUsers' });
op('patch', '/admin/users/{id}', { body: obj({ 'role?': en('user', 'admin'), 'isActive?': bool, 'quotaGb?': num }), ok: 200, out: 'User' });
op('post', '/admin/users/{id}/sign-out');
op('post', '/admin/users/{id}/reset-link', { ok: 200, out: obj({ link: str }) });
op('post', '/admin/invites', { body: obj({ 'email?': str, 'expiresInHours?': int }), ok: 201, out: 'Invite' });
op('get', '/admin/invites', { ok: 200, out: 'Invites' });
op('get', '/admin/sessions', { query: ['status', 'cursor'], ok: 200, out: 'AdminSessions' });
op('delete', '/admin/sessions/{id}', { ok: 202 });
op('get', '/admin/machine', { ok: 200, out: 'Machine' });
op('get', '/admin/audit', { query: ['cursor'], ok: 200, out: 'Audit' });
const doc = { openapi: '3.1.0', info: { title: 'GIMP Streaming Platform', version: '1' }, paths, components: { schemas } };
writeFileSync(new URL('./openapi.json', import.meta.url), JSON.stringify(doc, null, 2));
