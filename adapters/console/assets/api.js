// api calls the public HTTP API. The access token lives in this module alone; the refresh token is in
// a cookie that no script can read.
import { account } from './state.js';

const base = '/api/v1';
const margin = 30_000; // ms before its end at which an access token is replaced

let token = '';
let tokenEnds = 0; // by this machine's clock
let offset = 0; // ms that the server's clock is ahead of this machine's

// ApiError is an answer that tells of a failure, or the lack of an answer.
export class ApiError extends Error {
  constructor(status, body, requestId, retryAfter) {
    super(body?.error?.message || 'The server did not answer. Check the network, then try again.');
    this.name = 'ApiError';
    this.status = status; // 0: there was no answer
    this.code = body?.error?.code || (status ? 'UNEXPECTED_ANSWER' : 'NO_ANSWER');
    this.fields = Object.fromEntries((body?.error?.details || []).map((d) => [d.field, d.message]));
    this.requestId = body?.requestId || requestId || '';
    this.retryAfter = retryAfter || 0; // s
  }
}

// serverNow returns the time of the server in ms.
export const serverNow = () => Date.now() + offset;

// send makes one request. It returns the decoded body and the response.
async function send(method, path, { body, form, headers, signal, keepalive } = {}) {
  const all = { Accept: 'application/json', ...headers };
  if (body !== undefined) all['Content-Type'] = 'application/json';
  let response;
  let answer;
  try {
    response = await fetch(base + path, {
      method, headers: all, body: form || (body === undefined ? undefined : JSON.stringify(body)),
      signal, keepalive, credentials: 'same-origin', cache: 'no-store', redirect: 'error',
    });
    answer = await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(response?.status || 0, null, response?.headers.get('X-Request-Id'));
  }
  if (!response.ok) {
    throw new ApiError(response.status, answer, response.headers.get('X-Request-Id'), Number(response.headers.get('Retry-After')));
  }
  if (answer.timestamp) offset = Date.parse(answer.timestamp) - Date.now();
  return answer;
}

// A mark tells later visits that there may be a cookie. Browsers that keep no mark ask the server.
const mark = 'switchyard.signed-in';

function setMark(isSet) {
  try {
    if (isSet) localStorage.setItem(mark, '1');
    else localStorage.removeItem(mark);
  } catch {
    // start asks the server instead
  }
}

function mayHaveCookie() {
  try {
    return localStorage.getItem(mark) !== null;
  } catch {
    return true;
  }
}

function keep(tokens) {
  setMark(true);
  token = tokens.token;
  tokenEnds = Date.now() + tokens.expiresIn * 1000;
  account.set({ phase: 'in', user: tokens.user });
}

// forget drops the tokens of this page.
function forget() {
  setMark(false);
  token = '';
  tokenEnds = 0;
  account.set({ phase: 'out', user: null });
}

const channel = 'BroadcastChannel' in globalThis ? new BroadcastChannel('switchyard') : null;
channel?.addEventListener('message', (e) => {
  if (e.data === 'signed out' && account.get().phase === 'in') forget();
});

// The pages of a browser share one refresh token. A lock lets one refresh at a time; where browsers
// have no locks (without TLS), the server forgives a repeat within ten seconds.
const exclusively = (fn) => (navigator.locks ? navigator.locks.request('switchyard-refresh', fn) : fn());

let refreshing = null;

// refresh gets a new access token by the cookie. Calls at the same time share one request.
export function refresh() {
  refreshing ||= exclusively(() =>
    send('POST', '/auth/refresh?cookie=true', { headers: { 'X-Requested-With': 'console' }, keepalive: true }),
  ).then((answer) => keep(answer.data)).finally(() => { refreshing = null; });
  return refreshing;
}

const isSignedOut = (error) => error instanceof ApiError && (error.status === 401 || error.code === 'ACCOUNT_DEACTIVATED');

// refuseToken forgets the access token after the server has refused it.
export function refuseToken() {
  token = '';
}

// accessToken returns a token that is good for a while.
export async function accessToken() {
  if (token && Date.now() < tokenEnds - margin) return token;
  try {
    await refresh();
  } catch (error) {
    if (isSignedOut(error)) forget();
    throw error;
  }
  return token;
}

const query = (values = {}) => {
  const list = Object.entries(values).filter(([, v]) => v !== undefined && v !== null && v !== '');
  return list.length ? '?' + new URLSearchParams(list) : '';
};

// call makes a request as the signed-in user and returns the whole answer. A token that the server no
// longer accepts is replaced once.
export async function call(method, path, options = {}) {
  const at = path + query(options.query);
  for (let attempt = 0; ; attempt++) {
    const bearer = await accessToken();
    try {
      return await send(method, at, { ...options, headers: { ...options.headers, Authorization: 'Bearer ' + bearer } });
    } catch (error) {
      if (error.status !== 401 || attempt > 0 || !error.code?.startsWith('AUTH_TOKEN')) throw error;
      if (token === bearer) token = '';
    }
  }
}

const data = async (promise) => (await promise).data;

export const get = (path, values, options) => data(call('GET', path, { ...options, query: values }));
export const post = (path, body, options) => data(call('POST', path, { ...options, body }));
export const put = (path, body, options) => data(call('PUT', path, { ...options, body }));
export const del = (path, options) => data(call('DELETE', path, options));

// blob fetches what is not JSON, such as the media of a message.
export async function blob(path, options = {}) {
  const response = await fetch(base + path, {
    ...options, headers: { Authorization: 'Bearer ' + (await accessToken()) }, credentials: 'same-origin',
  });
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null), response.headers.get('X-Request-Id'));
  return response.blob();
}

// publicPost calls a route of sign-in, which needs no token.
export const publicPost = (path, body) => send('POST', path, { body });

export async function signIn(email, password) {
  keep((await send('POST', '/auth/login?cookie=true', { body: { email, password } })).data);
}

export async function register(name, email, password) {
  keep((await send('POST', '/auth/register?cookie=true', { body: { name, email, password } })).data);
}

export async function signOut() {
  try {
    await call('POST', '/auth/logout?cookie=true');
  } catch (error) {
    if (!isSignedOut(error)) throw error;
  }
  channel?.postMessage('signed out');
  forget();
}

// leave drops the tokens after the server has ended the sign-in.
export function leave() {
  channel?.postMessage('signed out');
  forget();
}

// start signs in by the cookie, if there is one.
export async function start() {
  if (!mayHaveCookie()) {
    forget();
    return;
  }
  try {
    await refresh();
  } catch (error) {
    if (isSignedOut(error)) forget();
    else account.set({ phase: 'unreachable', user: null, error });
  }
}

export function setUser(user) {
  account.set({ ...account.get(), user: { ...account.get().user, ...user } });
}
