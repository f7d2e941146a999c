// copy puts texts on the clipboard.
import { html, useState, useEffect } from '../lib.js';
import { Icon } from './icon.js';
import { Button } from './button.js';

// copyText copies a text. Pages without TLS have no clipboard of their own and use a selection.
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'hidden';
  (document.querySelector('dialog[open]') || document.body).append(area);
  area.select();
  const isDone = document.execCommand('copy');
  area.remove();
  if (!isDone) throw new Error('The browser does not let the page copy; select the text and copy it yourself.');
}

function useCopied() {
  const [outcome, setOutcome] = useState('');
  useEffect(() => {
    if (!outcome) return undefined;
    const timer = setTimeout(() => setOutcome(''), 2000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const copy = (text) => copyText(text).then(() => setOutcome('Copied'), () => setOutcome('Not copied: select the text instead'));
  return [outcome, copy];
}

// CopyText is a short text, such as an id, that a click copies.
export function CopyText({ text, name }) {
  const [outcome, copy] = useCopied();
  return html`<button type="button" class="copy-text" onClick=${() => copy(text)} title=${'Copy the ' + name}>
    <code>${text}</code><${Icon} name=${outcome === 'Copied' ? 'check' : 'copy'} size="14" /><span class="hidden">Copy the ${name}</span>
    <span class="hidden" role="status">${outcome}</span></button>`;
}

// Secret shows a text that is shown once.
export function Secret({ text, name }) {
  const [outcome, copy] = useCopied();
  return html`<div class="secret"><code class="grow" data-secret=${name}>${text}</code>
    <${Button} isSmall icon=${outcome === 'Copied' ? 'check' : 'copy'} onClick=${() => copy(text)}>${outcome || 'Copy'}<//>
    <span class="hidden" role="status">${outcome}</span></div>`;
}
