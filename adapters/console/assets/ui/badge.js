// badge shows states by word, colour and shape.
import { html } from '../lib.js';
import { Icon } from './icon.js';

// states are those of a session, by the words of the API.
export const states = {
  INIT: { word: 'Starting', tone: 'amber', icon: 'hourglass' },
  QR_REQUIRED: { word: 'Scan to link', tone: 'amber', icon: 'qr-code' },
  CONNECTED: { word: 'Connected', tone: 'green', icon: 'circle-check' },
  RECONNECTING: { word: 'Reconnecting', tone: 'amber', icon: 'refresh-cw' },
  DISCONNECTED: { word: 'Stopped', tone: 'grey', icon: 'circle-stop' },
  ERROR: { word: 'Failed', tone: 'red', icon: 'octagon-x' },
};

export const stateOf = (status) => states[status] || { word: status, tone: 'grey', icon: 'circle-dashed' };

// isUnderWay reports whether a session is on its way to another state by itself.
export const isUnderWay = (status) => ['INIT', 'QR_REQUIRED', 'RECONNECTING'].includes(status);

const receipts = {
  PENDING: { word: 'Waiting', tone: 'amber', icon: 'clock' },
  SENT: { word: 'Sent', tone: 'grey', icon: 'check' },
  DELIVERED: { word: 'Delivered', tone: 'grey', icon: 'check-check' },
  READ: { word: 'Read', tone: 'accent', icon: 'check-check' },
  FAILED: { word: 'Failed', tone: 'red', icon: 'circle-alert' },
  RECEIVED: { word: 'Received', tone: 'grey', icon: 'download' },
};

export const receiptOf = (status) => receipts[status] || { word: status, tone: 'grey', icon: 'circle-dashed' };

// Badge draws a word with its colour and shape.
export function Badge({ tone = 'grey', icon, children, ...rest }) {
  return html`<span class=${'badge ' + tone} ...${rest}>${icon && html`<${Icon} name=${icon} size="14" />`}<span>${children}</span></span>`;
}

export function StateBadge({ status }) {
  const s = stateOf(status);
  return html`<${Badge} tone=${s.tone} icon=${s.icon} data-status=${status}>${s.word}<//>`;
}

export function ReceiptBadge({ status }) {
  const r = receiptOf(status);
  return html`<${Badge} tone=${r.tone} icon=${r.icon} data-receipt=${status}>${r.word}<//>`;
}
