// button draws what starts something. Icons never stand without a name.
import { html } from '../lib.js';
import { Icon } from './icon.js';

// Button has the variants primary, secondary, quiet and danger.
export function Button({ variant = 'secondary', icon, isBusy, isSmall, label, children, class: extra = '', ...rest }) {
  const name = ['button', variant, isSmall && 'small', !children && 'bare', extra].filter(Boolean).join(' ');
  return html`<button type="button" class=${name} aria-busy=${isBusy ? 'true' : undefined} aria-label=${label}
    title=${children ? undefined : label} ...${rest} disabled=${rest.disabled || isBusy}>
    ${isBusy ? html`<${Icon} name="loader-circle" class="spin" size=${isSmall ? 16 : 18} />` : icon && html`<${Icon} name=${icon} size=${isSmall ? 16 : 18} />`}
    ${children && html`<span>${children}</span>`}
  </button>`;
}

// LinkButton looks like a button and goes somewhere.
export function LinkButton({ variant = 'secondary', icon, href, isSmall, children, class: extra = '', ...rest }) {
  return html`<a class=${['button', variant, isSmall && 'small', extra].filter(Boolean).join(' ')} href=${href} ...${rest}>
    ${icon && html`<${Icon} name=${icon} size=${isSmall ? 16 : 18} />`}<span>${children}</span>
  </a>`;
}
