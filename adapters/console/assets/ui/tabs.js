// tabs draws the parts of a page as links, so that each has an address.
import { html, useLayoutEffect, useRef } from '../lib.js';
import { Icon } from './icon.js';

// Tabs takes [name, text, icon], the name that is chosen, and href(name).
export function Tabs({ label, list, value, href }) {
  const box = useRef(null);
  useLayoutEffect(() => {
    const on = box.current.querySelector('.on');
    if (on) box.current.scrollLeft += on.getBoundingClientRect().left - box.current.getBoundingClientRect().left - 16;
  }, [value]);
  return html`<nav class="tabs" aria-label=${label} ref=${box}>${list.map(([name, text, icon]) => html`<a key=${name} href=${href(name)}
    class=${name === value ? 'on' : ''} aria-current=${name === value ? 'page' : undefined}><${Icon} name=${icon} size="18" /><span>${text}</span></a>`)}</nav>`;
}
