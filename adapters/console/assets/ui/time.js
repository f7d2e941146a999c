// time writes times and lengths of time for people, by the clock of the server.
import { html } from '../lib.js';
import { serverNow } from '../api.js';
import { useTicker } from '../load.js';

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const dayAndTime = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const shortDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

export const fullTime = (at) => full.format(new Date(at));
export const clockTime = (at) => clock.format(new Date(at));
export const shortTime = (at) => dayAndTime.format(new Date(at));
export const dayOf = (at) => day.format(new Date(at));
export const shortDayOf = (at) => shortDay.format(new Date(at));

// lengthOf writes a length of time in ms by its largest unit.
export function lengthOf(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min';
  if (s < 86400) return Math.floor(s / 3600) + ' h';
  return Math.floor(s / 86400) + ' d';
}

export function ago(at) {
  const ms = serverNow() - Date.parse(at);
  if (ms < 5000 && ms > -5000) return 'just now';
  if (ms < 0) return 'in ' + lengthOf(-ms);
  return lengthOf(ms) + ' ago';
}

// Ago is a time that ages. The exact time is in its title.
export function Ago({ at, none = 'never' }) {
  useTicker(at && serverNow() - Date.parse(at) < 120_000 ? 1000 : 15_000, Boolean(at));
  if (!at) return html`<span class="muted">${none}</span>`;
  return html`<time dateTime=${at} title=${fullTime(at)}>${ago(at)}</time>`;
}

const numbers = new Intl.NumberFormat();
export const count = (n) => numbers.format(n);
export const plural = (n, one, many = one + 's') => count(n) + ' ' + (n === 1 ? one : many);

// Country codes have one to three digits; these have one or two.
const codes = /^(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;
const groupings = { 7: [3, 4], 9: [3, 3, 3], 10: [3, 3, 4], 11: [3, 4, 4] };

// phone writes an international number in groups.
export function phone(number) {
  if (!number) return '';
  const digits = number.replace(/@s\.whatsapp\.net$/, '');
  if (!/^\d{7,15}$/.test(digits)) return digits;
  const code = codes.exec(digits)?.[0] || digits.slice(0, 3);
  let rest = digits.slice(code.length);
  const groups = [];
  for (const n of groupings[rest.length] || [4, 4, 4, 4]) {
    if (rest) groups.push(rest.slice(0, n));
    rest = rest.slice(n);
  }
  return '+' + [code, ...groups].join(' ');
}

export function bytes(n) {
  if (n === null || n === undefined) return '';
  if (n < 1024) return n + ' B';
  if (n < 1 << 20) return (n / 1024).toFixed(0) + ' kB';
  return (n / (1 << 20)).toFixed(1) + ' MB';
}
