// logo draws the name of the product: one line that splits into three, as tracks do in a yard.
import { html } from '../lib.js';

export function Logo({ isSmall }) {
  return html`<span class=${'logo' + (isSmall ? ' small' : '')}><svg width="28" height="28" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect class="logo-ground" width="32" height="32" rx="8" /><path class="logo-track" fill="none" stroke-width="2.5" stroke-linecap="round"
      d="M6 16h6M12 16c5 0 4-8 10-8h4M12 16h14M12 16c5 0 4 8 10 8h4" /></svg><span class="logo-name">Switchyard</span></span>`;
}
