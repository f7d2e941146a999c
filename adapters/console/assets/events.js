// events reads the live stream of the signed-in user, one for the whole console, and hands its
// events to the pages. It resumes after the last event when the connection breaks.
import { useEffect, useRef } from './lib.js';
import { createStore } from './state.js';
import { accessToken, ApiError, refuseToken } from './api.js';

const silence = 40_000; // ms without a byte; the server sends some every 15 s
const longestPause = 15_000;

// stream tells how fresh the page is: {state: 'off' | 'connecting' | 'live' | 'cut', since}.
export const stream = createStore({ state: 'off', since: Date.now() });

const setState = (state) => {
  if (stream.get().state !== state) stream.set({ state, since: Date.now() });
};

const listeners = new Set(); // of events
const resets = new Set(); // of those who have to read everything anew

// parser returns a function that takes pieces of a stream and calls fn with each event in them.
export function parser(fn) {
  let rest = '';
  let event = { type: 'message', data: '', id: '' };
  const line = (text) => {
    if (text === '') {
      if (event.data || event.id) fn(event);
      event = { type: 'message', data: '', id: '' };
      return;
    }
    const colon = text.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event.type = value;
    if (field === 'id') event.id = value;
    if (field === 'data') event.data += (event.data ? '\n' : '') + value;
  };
  return (piece) => {
    const lines = (rest + piece).split('\n');
    rest = lines.pop();
    for (const text of lines) line(text.replace(/\r$/, ''));
  };
}

let position = ''; // of the last event
let running = null; // aborts the stream that is open; null: none is

async function read(signal) {
  const headers = { Accept: 'text/event-stream', Authorization: 'Bearer ' + (await accessToken()) };
  if (position) headers['Last-Event-ID'] = position;
  const timeout = new AbortController();
  let watch = setTimeout(() => timeout.abort(), silence);
  const stop = () => timeout.abort();
  signal.addEventListener('abort', stop);
  globalThis.addEventListener?.('offline', stop);
  try {
    const response = await fetch('/api/v1/events', { headers, signal: timeout.signal, cache: 'no-store', credentials: 'same-origin' });
    if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null));
    const isFirst = !position;
    setState('live');
    if (isFirst) for (const fn of [...resets]) fn();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const feed = parser(dispatch);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => timeout.abort(), silence);
      feed(value);
    }
  } finally {
    clearTimeout(watch);
    signal.removeEventListener('abort', stop);
    globalThis.removeEventListener?.('offline', stop);
  }
}

function dispatch({ type, data, id }) {
  if (id) position = id;
  if (!data) return;
  let event;
  try {
    event = JSON.parse(data);
  } catch {
    return;
  }
  if (type === 'error') return; // the server closes the stream; the loop goes on from here
  for (const fn of [...listeners]) fn(event);
}

async function loop(signal) {
  let pause = 500;
  while (!signal.aborted) {
    const began = Date.now();
    if (stream.get().state === 'off') setState('connecting');
    try {
      await read(signal);
    } catch (error) {
      if (error.code === 'EVENTS_EXPIRED') position = '';
      if (error.status === 401) refuseToken();
    }
    if (signal.aborted) return;
    setState('cut');
    if (Date.now() - began > 5000) pause = 500;
    await sleep(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, longestPause);
  }
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      globalThis.removeEventListener?.('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    globalThis.addEventListener?.('online', done);
  });
}

let isWanted = false;
const patience = 20_000; // ms for which a page that is out of view keeps its stream

function resume() {
  if (!isWanted || running) return;
  running = new AbortController();
  loop(running.signal);
}

function pause() {
  running?.abort();
  running = null;
  setState('off');
}

// A page out of view closes its stream, and goes on where it stopped when it is looked at again:
// without TLS a browser has six connections to a server, for all of its tabs together.
let hiding = 0;
globalThis.document?.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(pause, patience);
  else resume();
});
globalThis.addEventListener?.('pagehide', pause);
globalThis.addEventListener?.('pageshow', resume);

// openStream begins to read. It does nothing if the stream is open.
export function openStream() {
  isWanted = true;
  resume();
}

// closeStream ends the stream and forgets its position, which belongs to a user.
export function closeStream() {
  isWanted = false;
  pause();
  position = '';
}

// useEvents calls onEvent with every event, and onReset when events may have been missed: once the
// stream is open, and after it could not go on where it broke off.
export function useEvents(onEvent, onReset) {
  const latest = useRef({});
  latest.current = { onEvent, onReset };
  useEffect(() => {
    const hear = (e) => latest.current.onEvent?.(e);
    const reset = () => latest.current.onReset?.();
    listeners.add(hear);
    resets.add(reset);
    return () => {
      listeners.delete(hear);
      resets.delete(reset);
    };
  }, []);
}
