// icon draws an icon of Lucide. Icons decorate a label unless they have one of their own.
import { html } from '../lib.js';
import shapes from '../vendor/lucide.js';

export function Icon({ name, size = 20, label, class: extra = '' }) {
  return html`<svg class=${'icon ' + extra} width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor"
    stroke-width="2" stroke-linecap="round" stroke-linejoin="round" role=${label ? 'img' : undefined}
    aria-label=${label} aria-hidden=${label ? undefined : 'true'} focusable="false">
    ${(shapes[name] || []).map(([tag, attributes]) => html`<${tag} ...${attributes} />`)}
  </svg>`;
}
