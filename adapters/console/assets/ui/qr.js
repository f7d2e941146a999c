// qr draws a code to scan, with a ring of the seconds that it has left.
import { html, useRef } from '../lib.js';
import { serverNow } from '../api.js';
import { useTicker } from '../load.js';

const radius = 17;
const around = 2 * Math.PI * radius;

// Ring shows how much of a time is left. The whole time is the longest that was seen for this code.
export function Ring({ expiresAt, of: code }) {
  useTicker(1000, Boolean(expiresAt));
  const seen = useRef({ code: null, whole: 0 });
  if (!expiresAt) return null;
  const left = Math.max(0, Date.parse(expiresAt) - serverNow());
  if (seen.current.code !== code) seen.current = { code, whole: left };
  seen.current.whole = Math.max(seen.current.whole, left);
  const seconds = Math.ceil(left / 1000);
  const share = seen.current.whole ? left / seen.current.whole : 0;
  return html`<div class="ring" role="timer" aria-label=${seconds > 0 ? `New code in ${seconds} seconds` : 'A new code is coming'}>
    <svg width="40" height="40" viewBox="0 0 40 40" aria-hidden="true" focusable="false"><circle class="ring-ground" cx="20" cy="20" r=${radius} />
      <circle class="ring-left" cx="20" cy="20" r=${radius} stroke-dasharray=${around} stroke-dashoffset=${around * (1 - share)} transform="rotate(-90 20 20)" />
      <text x="20" y="24.5" text-anchor="middle">${seconds}</text></svg>
    <span aria-hidden="true">${seconds > 0 ? 'Renews by itself' : 'New code is coming…'}</span></div>`;
}

export function QRCode({ qr }) {
  return html`<div class="qr"><div class="qr-picture"><img src=${qr.qrCode} alt="QR code to scan with WhatsApp" width="264" height="264" /></div>
    <${Ring} expiresAt=${qr.expiresAt} of=${qr.qrString} /></div>`;
}
